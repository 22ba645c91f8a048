"""`dinoseg train` with several data folders, and with a run to begin with."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.training.folders import make_data

SMALL = (
    *("--method", "linear", "--backbone", "untrained-vitt16", "--set", "train.epochs=1", "--set"),
    *("train.views=1", "--set", "train.min_bank=0", "--set", "model.preprocessing.size=32"),
)


def test_several_folders_and_a_beginning(run: Run, tmp_path: Path) -> None:
    one, two = make_data(tmp_path / "one"), make_data(tmp_path / "two", seed=3)
    words = (*SMALL, "--set", f"cache.folder={tmp_path / 'features'}")
    ended = run("train", one, two, "--out", tmp_path / "both", *words, "--json")
    assert ended.code == 0, ended.err
    assert (tmp_path / "both" / "splits" / "two.json").is_file()
    ended = run("evaluate", tmp_path / "both", two, "--split", "test", "--out", tmp_path / "report")
    assert ended.code == 0, ended.err
    ended = run("train", one, two, "--out", tmp_path / "next", "--init", tmp_path / "both", *words)
    assert ended.code == 0, ended.err
    assert f"the decoder begins as that of {tmp_path / 'both'}" in ended.err
    ended = run("train", one, two, "--out", tmp_path / "draws", *words, "--shots", 1, "--draws", 2)
    assert ended.code == 2
    assert ended.error.startswith("--draws takes one data folder")

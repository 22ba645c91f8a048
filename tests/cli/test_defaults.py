"""Method and backbone have the defaults of Python and say so; some options stand for settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.cli.options import DEFAULT_BACKBONE, DEFAULT_METHOD
from dinoseg.config.training import Training
from dinoseg.data.phantoms.phantoms import write_phantoms
from tests.cli.conftest import Run

TOLD = (
    f"--method {DEFAULT_METHOD}, the default; `dinoseg info methods` lists the others",
    f"--backbone {DEFAULT_BACKBONE}, the default; `dinoseg info backbones` lists the others",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data"), kind="dermoscopy", count=12, size=(64, 80))


def test_defaults_are_those_of_python() -> None:
    assert (Training().method, Training().backbone) == (DEFAULT_METHOD, DEFAULT_BACKBONE)


def test_defaults_that_were_taken_are_said(run: Run, data: Path, tmp_path: Path) -> None:
    """There are no weights here, so that the names in the errors are those that were taken."""
    ended = run("train", data, "--out", tmp_path / "run")
    assert ended.code == 4
    assert DEFAULT_BACKBONE in ended.error
    assert ended.err.splitlines()[1:3] == list(TOLD)
    ended = run("curve", data, "--shots", 1, "--out", tmp_path / "curve")
    assert ended.code == 4
    assert DEFAULT_BACKBONE in ended.error
    assert ended.err.splitlines()[1:3] == [TOLD[0].replace("--method", "--methods"), TOLD[1]]
    ended = run("import", tmp_path / "none.pth", "--method", "linear", "--out", tmp_path / "run")
    assert TOLD[1] in ended.err.splitlines()


def test_what_was_given_is_not_called_a_default(run: Run, data: Path, tmp_path: Path) -> None:
    words = ["--method", "linear", "--backbone", "nothing", "--out", tmp_path / "run"]
    assert "the default" not in run("train", data, *words).err


def test_size_epochs_and_rate_stand_for_settings(run: Run, data: Path, tmp_path: Path) -> None:
    words = ["--method", "linear", "--backbone", "untrained-vitt16", "--out", tmp_path / "run"]
    words += ["--set", "train.views=1", "--set", "train.min_bank=1", "--set", "train.min_epoch_samples=1"]
    assert run("train", data, *words, "--size", 48, "--epochs", 3, "--lr", 2e-3).code == 0
    told = run("info", tmp_path / "run", "--json").json
    assert told["settings"]["preprocessing"]["size"] == 48
    assert (told["training"]["train"]["epochs"], told["training"]["train"]["lr"]) == (3, 2e-3)
    assert told["epochs"] == 3


@pytest.mark.parametrize(
    ("option", "setting"),
    [("--size", "model.preprocessing.size"), ("--epochs", "train.epochs"), ("--lr", "train.lr")],
)
@pytest.mark.parametrize("verb", ["train", "curve"])
def test_both_ways_at_once_are_one_line(
    run: Run, data: Path, tmp_path: Path, verb: str, option: str, setting: str
) -> None:
    more = ["--shots", 1] if verb == "curve" else []
    ended = run(verb, data, "--out", tmp_path / "out", *more, option, 32, "--set", f"{setting}=32")
    assert ended.code == 2
    assert ended.error == f"{setting} is given with --set and with an option of its own; leave one out"

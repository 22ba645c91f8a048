"""`dinoseg data check` and `data groups` on folders of images: copies, proposals, what is not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.data.samples import blob, make_dataset, picture, save, write_lines

TINY = ["--method", "linear", "--backbone", "untrained-vitt16", "--threads", "1"]
SETTINGS = ["train.epochs=1", "train.views=1", "train.min_bank=0", "train.min_epoch_samples=0"]


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Six cases of which two show one image."""
    data = make_dataset(tmp_path / "data")
    save(data / "images/c6.png", picture(1))
    return data


def test_check_draws_copies_where_it_is_told_to(run: Run, copies: Path, tmp_path: Path) -> None:
    facts = run("data", "check", copies, "--pictures", tmp_path / "alike", "--json").json
    assert facts["pictures"] == [str(tmp_path / "alike/duplicates_1.png")]
    assert (tmp_path / "alike/duplicates_1.png").is_file()
    assert [(copy["first"], copy["second"], copy["bits"]) for copy in facts["copies"]] == [("c1", "c6", None)]
    assert facts["intensities"] == [{"bits": 8, "images": 6, "lowest": 0, "highest": 255}]
    again = run("data", "check", copies, "--pictures", tmp_path / "alike")
    assert again.code == 1
    assert "duplicates_1.png exists already" in again.error
    (copies / "images/c6.png").unlink()
    save(copies / "images/c6.png", picture(6))
    ended = run("data", "check", copies, "--pictures", tmp_path / "none")
    assert (ended.code, (tmp_path / "none").exists()) == (0, False)
    assert "pictures: no images look alike" in ended.out


def test_groups_are_shown_and_proposed(run: Run, copies: Path) -> None:
    ended = run("data", "groups", copies)
    assert (ended.code, ended.out) == (0, f"{copies}: 6 cases in 6 groups\n")
    assert not (copies / "groups_suggested.csv").exists()
    facts = run("data", "groups", copies, "--suggest", "--json").json
    assert facts["proposal"] == str(copies / "groups_suggested.csv")
    assert (facts["proposed_groups"], facts["joined_cases"]) == (5, 2)
    again = run("data", "groups", copies, "--suggest")
    assert again.code == 1
    assert "groups_suggested.csv exists already" in again.error
    write_lines(copies / "groups.csv", ["case,group", *(f"c{n},p{n // 4}" for n in range(1, 7))])
    mine = (copies / "groups.csv").read_bytes()
    refused = run("data", "groups", copies, "--suggest", "--out", copies / "groups.csv")
    assert refused.code == 1
    assert (copies / "groups.csv").read_bytes() == mine
    assert "p0: 3 cases" in run("data", "groups", copies).out


def test_a_place_for_no_proposal_is_refused(run: Run, copies: Path) -> None:
    ended = run("data", "groups", copies, "--out", copies / "x.csv")
    assert (ended.code, ended.error) == (2, "--out names the proposal that --suggest writes; add --suggest")


def test_train_says_what_is_not_used(run: Run, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    save(data / "reader2/c1.png", blob())
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    sets += ["--set", "model.preprocessing.size=32", "--set", "train.warmup_epochs=0"]
    ended = run("train", data, "--out", tmp_path / "run", *TINY, *sets)
    assert ended.code == 0
    assert f"{data / 'reader2'}/ holds 1 image and is not used" in ended.err

"""`dinoseg curve` and `dinoseg train --draws`: words in, tables and one JSON object out."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from dinoseg.cli.curve import parse_shots
from dinoseg.cli.options import ScoredSplitName
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.errors import UsageError
from dinoseg.training import learn_curve
from tests.cli.conftest import Run

SMALL = ["--set", "model.preprocessing.size=32", "--set", "train.views=1", "--set", "train.min_bank=1"]
SMALL += ["--set", "train.min_epoch_samples=1", "--set", "train.epochs=1", "--backbone", "untrained-vitt16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data"), kind="dermoscopy", count=12, size=(40, 48))


def test_curve_shows_a_row_per_line_of_the_picture(run: Run, data: Path, tmp_path: Path) -> None:
    words = ["curve", data, "--shots", "3,1", "--methods", "linear", "--draws", 1, "--out", tmp_path / "c"]
    ended = run(*words, *SMALL)
    assert ended.code == 0
    rows = [line.split()[:2] for line in ended.out.splitlines() if line.startswith(" linear")]
    assert rows == [["linear", "1"], ["linear", "3"]]
    assert "needs 3 draws" in ended.out  # one draw has no interval
    assert f"picture: {tmp_path / 'c' / 'curve.png'}" in ended.out
    assert "all runs: 2/2" in ended.err
    assert "every run is scored on the test split" in ended.err
    assert run(*words, *SMALL).code == 1
    again = run(*words, *SMALL, "--resume", "--json")
    assert again.code == 0
    assert [item["shots"] for item in again.json["repeats"]] == [1, 3]
    assert again.json["repeats"][0]["spreads"]["dice"]["sd"] is None
    assert again.json["split"] == "test"
    assert "training" not in again.err
    changed = run(*words, *SMALL, "--resume", "--set", "train.lr=0.5")
    assert changed.code == 1
    assert "train.lr" in changed.error


def test_draws_of_a_training(run: Run, data: Path, tmp_path: Path) -> None:
    words = ["train", data, "--method", "linear", "--shots", 1, "--draws", 2, "--split", "val", *SMALL]
    ended = run(*words, "--seed", 4, "--out", tmp_path / "d", "--json")
    assert ended.code == 0
    repeats = ended.json["repeats"]
    assert ended.json["split"] == "val"
    assert [draw["seed"] for draw in repeats["draws"]] == [4, 5]
    dice = [draw["scores"]["dice"] for draw in repeats["draws"]]
    assert repeats["spreads"]["dice"]["mean"] == pytest.approx(sum(dice) / 2)
    shown = run(*words, "--seed", 4, "--out", tmp_path / "d", "--resume")
    assert shown.code == 0
    assert "t-interval over draws" in shown.out
    assert f"{repeats['spreads']['dice']['mean']:.3f}" in shown.out
    assert f"-> {tmp_path / 'd' / 'draw-1'}" in shown.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--shots", "1,x"],
            2,
            "--shots takes whole numbers from 1 up with commas, such as 1,5; given '1,x'",
        ),
        (["--shots", "0"], 2, "--shots takes whole numbers"),
        (["--shots", "2,2"], 2, "the list of shots names 2 twice"),
        (["--shots", "99"], 3, "99 shots; the training split holds 1 to"),
        (["--methods", "linear,unet"], 2, "'unet' is unknown"),
        (["--methods", ","], 2, "the list of methods names nothing"),
        (["--draws", "0"], 2, "--draws"),
    ],
)
def test_wrong_words_are_one_line(
    run: Run, data: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    usual = ["curve", data, "--shots", "1", "--methods", "linear", "--out", tmp_path / "c", *SMALL]
    ended = run(*usual, *words)
    assert ended.code == code
    assert message in ended.error
    assert not (tmp_path / "c").exists()


def test_options_of_draws_do_not_stand_alone(run: Run, data: Path, tmp_path: Path) -> None:
    usual = ["train", data, "--method", "linear", "--out", tmp_path / "d", *SMALL]
    ended = run(*usual, "--draws", 2)
    assert (ended.code, "say of how many with --shots K" in ended.error) == (2, True)
    ended = run(*usual, "--shots", 2, "--split", "val")
    assert (ended.code, "--split says what --draws scores" in ended.error) == (2, True)
    for words in (["--shots-from", "first"], ["--shot-unit", "group"]):
        ended = run(*usual, *words)
        assert (ended.code, f"{words[0]} says how shots are taken" in ended.error) == (2, True)
    assert not (tmp_path / "d").exists()


def test_shots_are_read() -> None:
    assert parse_shots("1, 5,10") == [1, 5, 10]
    with pytest.raises(UsageError, match="given ''"):
        parse_shots("")


def test_splits_that_can_be_scored_are_those_of_the_function() -> None:
    wanted = typing.get_type_hints(learn_curve)["split"]
    assert set(typing.get_args(ScoredSplitName)) == set(typing.get_args(typing.get_args(wanted)[0]))

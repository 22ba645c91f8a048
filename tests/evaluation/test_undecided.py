"""A case of which nobody decided a pixel has no score: neither a perfect one nor a bad one."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoseg.config import ClassPostprocessing, PostprocessingSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.errors import DataError
from dinoseg.evaluation import Evaluation, choose_postprocessing, evaluate
from dinoseg.evaluation.cleaning import CANDIDATES, try_candidates
from dinoseg.evaluation.definitions import UNDECIDED_TEXT
from dinoseg.evaluation.metrics import leave_out, score_case
from dinoseg.inference.masks.postprocessing import clean_mask
from dinoseg.progress import Silent
from tests.inference.models import BINARY, make_glass, make_vit

CASES = ("seen", "missed", "clear", "ignored")
HEADER = "classes: {0: background, 1: lesion}\nvalues: {0: 0, 1: 1}\nignore: 255\n"


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def write_case(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for kind, array in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array.astype(np.uint8)).save(folder / kind / f"{name}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One lesion seen, one missed, one image left clear, and one of which nobody decided anything."""
    square = np.zeros((32, 32), np.uint8)
    square[8:20, 8:20] = 1
    empty = np.zeros_like(square)
    folder = tmp_path / "data"
    write_case(folder, "seen", 40 + 180 * square, square)
    write_case(folder, "missed", empty + 40, square)
    write_case(folder, "clear", empty + 40, empty)
    write_case(folder, "ignored", 40 + 180 * square, np.full_like(square, 255))
    (folder / "dataset.yaml").write_text(HEADER)
    return folder


def score(data: Path, cases: tuple[str, ...], tmp_path: Path, notes: Notes | None = None) -> Evaluation:
    splits = tmp_path / "splits.json"
    save_splits(splits, Splits(train=(), val=(), test=cases, seed=None, unit="case"))
    return evaluate(make_glass(BINARY), data, splits=splits, out=tmp_path / "report", progress=notes)


def test_it_is_in_no_mean_and_counted_beside(data: Path, tmp_path: Path) -> None:
    notes = Notes()
    found = score(data, CASES, tmp_path, notes)
    row = found.headline
    assert [one.outcome for one in found.scores] == ["scored", "missed", "both_empty", "undecided"]
    assert all(math.isnan(value) for value in (found.scores[3].dice, found.scores[3].hd95))
    assert row.metric("dice").interval.mean == pytest.approx(2 / 3)  # 1, 0 and 1; not 3 / 4
    assert row.metric("hd95").cases == row.metric("dice").cases == row.cases == 3
    assert (row.undecided, row.groups, row.both_empty, row.with_target) == (1, 3, 1, 2)
    assert row.metric("dice").mean_with_target == pytest.approx(0.5)
    assert any(line.startswith("1 of 4 cases have no decided pixel") for line in notes.lines)


def test_the_report_says_so(data: Path, tmp_path: Path) -> None:
    score(data, CASES, tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert '<th scope="col">Undecided</th>' in page
    assert "1 left empty, 1 undecided" in page
    assert UNDECIDED_TEXT in page
    lines = (tmp_path / "report" / "cases.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["dice"] for row in rows] == ["1.0", "0.0", "1.0", ""]
    stored = json.loads((tmp_path / "report" / "summary.json").read_text())["classes"][0]
    assert (stored["cases"], stored["undecided"]) == (3, 1)


def test_where_targets_are_empty_the_mean_over_the_others_comes_first(data: Path, tmp_path: Path) -> None:
    score(data, CASES, tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert '<h3>Dice</h3><p class="value">0.500</p><p class="below">all cases 0.667: ' in page
    assert "1 empty: 0 false alarms, 1 left empty" in page
    assert page.index("Dice, target present") < page.index('<th scope="col">Dice</th>')


def test_without_empty_targets_there_is_one_mean(data: Path, tmp_path: Path) -> None:
    score(data, CASES[:2], tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    assert "mean of 2 cases" in page
    assert "all cases 0.5" not in page


def test_cases_that_nobody_annotated_are_not_scored_at_all(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nobody decided a pixel of any of the 1 cases"):
        score(data, CASES[3:], tmp_path)


def test_leaving_out_says_whether_anything_is_left() -> None:
    target = np.full((2, 3, 3), IGNORE_ID, np.uint8)
    prediction = np.ones_like(target)
    assert not leave_out(prediction, target)
    assert not prediction.any()
    target[:] = IGNORE_ID
    target[1, 0, 0] = 0
    assert leave_out(prediction, target)


def test_regions_are_undecided_as_well() -> None:
    empty = np.zeros((4, 4), np.uint8)
    scores = score_case(
        empty,
        empty,
        classes={0: "background", 1: "a", 2: "b"},
        spacing=None,
        tolerance=2,
        case="x",
        group="x",
        regions={"both": (1, 2)},
        decided=False,
    )
    assert [one.outcome for one in scores] == ["undecided"] * 3


def test_trials_clean_what_is_ignored_but_do_not_count_it() -> None:
    rng = np.random.default_rng(0)
    prediction = (rng.random((24, 24)) < 0.6).astype(np.uint8)
    target = (rng.random((24, 24)) < 0.5).astype(np.uint8)
    target[:, 9:15] = IGNORE_ID
    trial = try_candidates(prediction, target, 1, cell=1.0, ignore=IGNORE_ID)
    decided = target != IGNORE_ID
    for step, dice in zip(CANDIDATES, trial.dice, strict=True):
        cleaned = prediction.copy()
        clean_mask(cleaned, PostprocessingSettings(dimensions=2, unit="px", classes={1: step}), cell=None)
        ours, wanted = (cleaned == 1) & decided, target == 1
        assert dice == pytest.approx(2 * (ours & wanted).sum() / (ours.sum() + wanted.sum())), step
    assert len(set(trial.dice)) > 3
    nobody = try_candidates(prediction, np.full_like(target, IGNORE_ID), 1, cell=1.0, ignore=IGNORE_ID)
    assert np.isnan(nobody.dice).all()


def test_postprocessing_is_chosen_by_the_decided_cases(data: Path, tmp_path: Path) -> None:
    model = make_glass(BINARY)
    make_vit("linear", BINARY, size=32).save(tmp_path / "run" / "model")
    model.run = tmp_path / "run"
    places = Splits(train=(), val=CASES, test=(), seed=None, unit="case")
    save_splits(tmp_path / "run" / "splits.json", places)
    (found,) = choose_postprocessing(model, data).classes
    assert found.before == pytest.approx(2 / 3)
    assert found.steps == ClassPostprocessing()

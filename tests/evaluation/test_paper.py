"""The method statement and the checklist say what is known, and leave blanks where nothing is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dinoseg.evaluation import evaluate
from dinoseg.evaluation.paper.checklist import fill_checklist
from dinoseg.evaluation.paper.statement import BLANK, write_statement
from dinoseg.evaluation.paper.study import Study, read_training
from dinoseg.evaluation.scoring.scorer import score
from dinoseg.methods import METHODS
from tests.training.folders import make_data, train_small

pytestmark = pytest.mark.usefixtures("home")

STUDY = Study(
    data="polyps",
    kind="images",
    cases=20,
    groups=8,
    split="test",
    classes=("polyp",),
    protocol="native",
    tolerance="2 px",
    unscored=0,
    seed=3,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    train_small(data, root / "run", root / "cache", method="linear", seed=7)
    return root / "run"


def test_what_is_known_is_told_and_what_is_not_is_a_blank() -> None:
    text = " ".join(write_statement(STUDY))
    for part in ("20 images of 8 groups", "class polyp", "the test split", "2 px (NSD)", "(seed 3)", BLANK):
        assert part in text
    assert "Training." not in text
    assert "one by one" not in text
    other = " ".join(
        write_statement(replace(STUDY, protocol="paper", unscored=2, leaks="the model knew 1 of 20"))
    )
    for part in (
        "not comparable",
        "left out of the distances",
        "2 cases could not",
        "The model knew 1 of 20.",
    ):
        assert part in other


def test_the_checklist_has_44_items_and_visible_blanks() -> None:
    items = fill_checklist(STUDY)
    assert [item.number for item in items] == list(range(1, 45))
    answers = {item.number: item.answer for item in items}
    assert "8 groups" in answers[35]
    assert answers[11] == answers[36] == answers[44] == ""  # nobody but a person knows
    assert (
        "not external" in {item.number: item.answer for item in fill_checklist(replace(STUDY, leaks="x"))}[33]
    )


def test_a_run_folder_tells_of_the_training(data: Path, run: Path, tmp_path: Path) -> None:
    evaluate(run, data, out=tmp_path / "report")
    told = json.loads((tmp_path / "report" / "summary.json").read_text())["method"]
    for part in (
        "cases for training",
        METHODS["linear"].title,
        "learning rate 0.001",
        "2 epochs",
        "the seed 7",
        "dinoseg ",
        "torch ",
    ):
        assert part in " ".join(told), part
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count('class="blank"') >= 15
    assert re.search(
        r"<th scope=\"row\">19\. .*?</th><td[^>]*>.*? training, .*? validation, .*? test</td>", page
    )
    study = replace(STUDY, training=read_training(run))
    answers = {item.number: item.answer for item in fill_checklist(study)}
    assert answers[26] == "highest mean Dice on validation"
    assert "seed 7" in answers[24]
    assert read_training(tmp_path) is None  # imported: no blank statement is worth an error


def test_masks_of_anybody_have_a_statement_too(data: Path, tmp_path: Path) -> None:
    score(data / "masks", data, out=tmp_path / "report")
    told = " ".join(json.loads((tmp_path / "report" / "summary.json").read_text())["method"])
    assert "given masks" in told
    assert "Training." not in told

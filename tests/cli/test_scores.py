"""`score` and `compare` as people type them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from dinoseg.cli.compare import Metric
from dinoseg.cli.score import read_classes
from dinoseg.errors import UsageError
from dinoseg.evaluation.definitions import METRICS
from tests.cli.conftest import Run
from tests.evaluation.reports import write_dice
from tests.evaluation.test_scoring import MASKS, TARGETS, write_images

A, B = [0.9, 0.8, 0.85, 0.7], [0.8, 0.7, 0.86, 0.6]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_images(tmp_path / "masks", MASKS), write_images(tmp_path / "labels", TARGETS)


def test_score_shows_the_tables_of_evaluate(run: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "labels" / "metadata.csv").write_text(
        "case,site\n" + "".join(f"{name},{'ab'[place % 2]}\n" for place, name in enumerate(TARGETS))
    )
    ended = run("score", *folders, "--classes", "1=polyp", "--out", tmp_path / "report")
    assert ended.code == 0
    for part in ("95 % interval", "polyp", "lesions", "strata", "site: a", str(tmp_path / "report")):
        assert part in ended.out
    stored = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    told = run("score", *folders, "--classes", "1=polyp", "--json").json
    assert told["classes"] == stored["classes"]
    assert told["strata"] == stored["strata"]
    assert [row["column"] for row in told["strata"]] == ["site"]


def test_a_label_without_a_mask_ends_with_3(run: Run, folders: tuple[Path, Path]) -> None:
    (folders[0] / "case2.png").unlink()
    ended = run("score", *folders)
    assert ended.code == 3
    assert ended.error == "1 cases could not be scored and are in no mean"
    assert "case2 failed and is in no mean" in ended.err


def test_observers(run: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    model = write_images(tmp_path / "net", MASKS)
    ended = run("score", "--observers", *folders, "--model", model, "--out", tmp_path / "out")
    assert ended.code == 0
    assert "net (model)" in ended.out
    assert "model minus observers: " in ended.out
    told = run("score", "--observers", *folders, "--json").json
    assert told["pairs"][0]["dice"]["mean"] == pytest.approx(60 / 72)
    assert told["model"] is None


def test_compare_on_the_terminal_and_as_json(run: Run, tmp_path: Path) -> None:
    places = [write_dice(tmp_path / "a", A), write_dice(tmp_path / "b", B)]
    ended = run("compare", *places, "--out", tmp_path / "out")
    assert ended.code == 0
    for part in ("a - b", "not told apart", "4 cases, fewer than 50", "cases needed", str(tmp_path / "out")):
        assert part in ended.out
    told = run("compare", *places, "--json").json
    stored = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert told["comparisons"] == stored["comparisons"]
    assert told["page"] is None


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["compare", "a"], 2, "two or more reports, given 1"),
        (["compare", "a", "nowhere"], 1, "nowhere does not exist"),
        (["compare", "a", "a"], 2, "is given twice"),
        (["compare", "a", "c"], 3, "2 only in a (c2; c3)"),
        (["compare", "a", "b", "--class", "x"], 3, "has no class 'x'; it has lesion"),
        (["compare", "a", "b", "--metric", "auc"], 2, "auc"),
        (["score", "masks", "labels", "labels"], 2, "given 3 folders; to compare annotators add --observers"),
        (["score", "masks", "labels", "--model", "a"], 1, "a holds no model"),
        (["score", "masks", "labels", "--classes", "liver"], 2, "accepted are values and names"),
        (["score", "masks", "labels", "--match-iou", "1"], 2, "match_iou 1.0 is not accepted"),
        (["score", "masks", "labels", "--observers", "--tolerance", "2"], 2, "--observers compares Dice"),
        (["score", "masks", "nowhere"], 3, "nowhere does not exist"),
        (["score", "masks", "labels", "--metadata", "labels/none.csv"], 3, "none.csv cannot be read"),
    ],
)
def test_mistakes_are_one_line(
    run: Run,
    folders: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    part: str,
) -> None:
    place = folders[0].parent
    monkeypatch.chdir(place)
    write_dice(place / "a", A), write_dice(place / "b", B), write_dice(place / "c", A[:2])
    ended = run(*words)
    assert (ended.code, part in ended.error) == (code, True), ended.err


def test_classes_as_they_are_typed() -> None:
    assert read_classes("1=liver, 2+3 = tumour") == {"liver": (1,), "tumour": (2, 3)}
    for text in ("1=", "=a", "a=1", "1=a,2=a", "1=a,", "1++2=a"):
        with pytest.raises(UsageError, match="accepted are values and names"):
            read_classes(text)


def test_choices_are_the_scores() -> None:
    assert get_args(Metric) == METRICS

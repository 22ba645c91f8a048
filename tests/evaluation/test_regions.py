"""Regions: unions of classes, scored for themselves. Every number here is counted by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dinoseg.config import RangeIntensity
from dinoseg.errors import LabelError
from dinoseg.evaluation import ClassScore, Evaluation, evaluate
from dinoseg.evaluation.definitions import REGIONS_TEXT
from dinoseg.evaluation.examples import choose_examples, describe
from dinoseg.evaluation.metrics import score_case
from dinoseg.evaluation.summary import MEAN_NAME, REGIONS_NAME, headline, summarise
from dinoseg.model.segmenter import Segmenter
from tests.data.volume_folders import describe as describe_raw
from tests.data.volume_folders import write_nifti
from tests.inference.models import make_glass

CLASSES = {0: "background", 1: "whole (1)", 2: "core (2)", 3: "active"}
REGIONS = {"whole": (1, 2, 3), "core": (2, 3), "active": (3,)}
# One pixel high, so that every pixel of a mask is on its surface.
TARGET = [0, 1, 1, 2, 2, 3, 0, 0]
FOUND = [0, 1, 2, 1, 2, 2, 3, 0]
IGNORE = 4
PIXEL = 0.8  # mm along the strip
ROW = (1, 10, slice(4, 12))


def scored(
    found: list[int],
    target: list[int],
    *,
    regions: Mapping[str, tuple[int, ...]] = REGIONS,
    classes: Mapping[int, str] = CLASSES,
    case: str = "a",
) -> list[ClassScore]:
    masks = [np.array([ids], np.uint8) for ids in (found, target)]
    return score_case(
        *masks, classes=classes, spacing=None, tolerance=0.5, case=case, group=case, regions=regions
    )


def values(score: ClassScore) -> tuple[float, ...]:
    return (score.dice, score.iou, score.hd95, score.assd, score.nsd)


def test_a_region_is_scored_as_the_union_of_its_classes() -> None:
    first, second, active, whole, core = scored(FOUND, TARGET)
    assert values(whole) == pytest.approx((10 / 11, 5 / 6, 0.75, 1 / 11, 10 / 11))
    assert values(core) == pytest.approx((4 / 7, 2 / 5, 1.0, 3 / 7, 4 / 7))
    assert values(active) == pytest.approx((0, 0, 1, 1, 0))
    assert (first.dice, second.dice) == pytest.approx((2 / 4, 2 / 5))
    assert (whole.target_size, whole.prediction_size, whole.outcome) == (5, 6, "scored")


def test_a_region_that_is_one_class_stands_once() -> None:
    found = [(s.class_id, s.class_name, s.kind, s.region) for s in scored(FOUND, TARGET)]
    assert found == [
        (1, "whole (1)", "class", ()),
        (2, "core (2)", "class", ()),
        (3, "active", "class and region", (3,)),
        (None, "whole", "region", (1, 2, 3)),
        (None, "core", "region", (2, 3)),
    ]
    again = scored(FOUND, TARGET, regions={"one": (3, 2, 3), "other": (2, 3)})
    assert [(s.class_name, s.region) for s in again if s.region] == [("one", (2, 3))]
    plain = scored(FOUND, TARGET, regions={})
    assert [(s.kind, s.region) for s in plain] == [("class", ())] * 3


@pytest.mark.parametrize(
    ("found", "target", "outcomes", "dice"),
    [
        ([0, 0, 0], [1, 2, 0], ("missed", "missed", "missed"), 0),
        ([2, 2, 0], [1, 1, 0], ("missed", "false_alarm", "scored"), 1),
        ([0, 1, 0], [0, 0, 0], ("false_alarm", "both_empty", "false_alarm"), 0),
        ([0, 0, 0], [0, 0, 0], ("both_empty", "both_empty", "both_empty"), 1),
    ],
)
def test_the_policy_for_empty_masks_looks_at_the_union(
    found: list[int], target: list[int], outcomes: tuple[str, ...], dice: float
) -> None:
    classes = {0: "background", 1: "one", 2: "two"}
    scores = scored(found, target, classes=classes, regions={"both": (1, 2)})
    assert tuple(score.outcome for score in scores) == outcomes
    assert scores[-1].dice == dice
    diagonal = 10**0.5
    assert scores[-1].hd95 == pytest.approx(diagonal if outcomes[-1] in ("missed", "false_alarm") else 0)


@pytest.mark.parametrize("ids", [(0, 1), (1, 9), ()])
def test_what_is_no_region(ids: tuple[int, ...]) -> None:
    with pytest.raises(LabelError, match=r"region 'odd' unites the ids .*accepted are \[1, 2, 3\]"):
        scored(FOUND, TARGET, regions={"odd": ids})


def test_the_headline_is_the_mean_over_regions() -> None:
    rows = summarise([*scored(FOUND, TARGET), *scored(TARGET, TARGET, case="b")], seed=0)
    assert [(row.title, row.kind) for row in rows] == [
        ("whole (1)", "class"),
        ("core (2)", "class"),
        ("active (class and region)", "class and region"),
        (MEAN_NAME, "mean"),
        ("whole (region)", "region"),
        ("core (region)", "region"),
        (REGIONS_NAME, "mean"),
    ]
    assert headline(rows) is rows[-1]
    dice = rows[-1].metric("dice")
    first = (10 / 11 + 4 / 7 + 0) / 3
    assert dice.interval.mean == pytest.approx((first + 1) / 2)
    assert dice.median == pytest.approx((first + 1) / 2)
    assert dice.sd == pytest.approx((1 - first) / 2**0.5)
    assert rows[3].metric("dice").interval.mean == pytest.approx(((0.5 + 0.4 + 0) / 3 + 1) / 2)
    assert (rows[-1].class_id, rows[-1].region, rows[-1].with_target) == (None, (), 6)


def test_a_single_region_is_the_headline() -> None:
    rows = summarise(scored(FOUND, TARGET, regions={"whole": (1, 2, 3)}), seed=0)
    assert [row.class_name for row in rows] == ["whole (1)", "core (2)", "active", MEAN_NAME, "whole"]
    assert headline(rows) is rows[-1]
    rows = summarise(scored(FOUND, TARGET, regions={"active": (3,)}), seed=0)
    assert headline(rows).class_name == "active"
    assert [row.class_name for row in rows][-1] == MEAN_NAME


def test_examples_are_ranked_by_their_regions() -> None:
    swapped = [0, 2, 2, 1, 1, 3, 0, 0]  # its classes are worse than those of FOUND, its union is perfect
    regions = {"whole": (1, 2, 3)}
    scores = [
        *scored(swapped, TARGET, case="a", regions=regions),
        *scored(FOUND, TARGET, case="b", regions=regions),
    ]
    assert [(e.case, e.dice) for e in choose_examples(scores)] == [("b", pytest.approx(10 / 11)), ("a", 1.0)]
    assert describe(scores[:4]).endswith(
        "active: Dice 1.00, HD95 0.0 px; whole (region): Dice 1.00, HD95 0.0 px"
    )


@pytest.fixture
def model() -> Segmenter:
    return make_glass(CLASSES, size=32, intensity=RangeIntensity(minimum=0, maximum=1000))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """nnU-Net raw with regions; slices have the model's size, so that it finds what is drawn."""
    root = tmp_path / "Dataset001_Tumour"
    strips = {
        "p1": (FOUND, TARGET),
        "p2": ([0, 1, 1, 2, 2, 3, 3, 0], [0, 1, 1, 2, 2, 3, IGNORE, 0]),
        "p3": ([0] * 8, [1, 2, 0, 0, 0, 0, 0, 0]),
    }
    for case, (found, target) in strips.items():
        shown, label = np.zeros((2, 3, 32, 32), np.int16)
        shown[ROW], label[ROW] = found, target
        write_nifti(root / f"imagesTr/{case}_0000.nii.gz", 125 + 250 * shown)
        write_nifti(root / f"labelsTr/{case}.nii.gz", label)
    labels = {"background": 0, **{name: list(ids) for name, ids in REGIONS.items()}, "ignore": IGNORE}
    content = {"channel_names": {"0": "MRI"}, "labels": labels, "regions_class_order": [1, 2, 3]}
    describe_raw(root, {**content, "numTraining": 3, "file_ending": ".nii.gz"})
    return root


@pytest.fixture
def found(model: Segmenter, data: Path, tmp_path: Path) -> Evaluation:
    return evaluate(model, data, split="all", tolerance=0.5, out=tmp_path / "report")


DICE = {"whole": (10 / 11, 1, 0), "core": (4 / 7, 1, 0), "active": (0, 1, 1)}


def test_regions_of_an_nnunet_data_set(found: Evaluation) -> None:
    scores = {(score.case, score.class_name): score for score in found.scores}
    for region, expected in DICE.items():
        assert tuple(scores[case, region].dice for case in ("p1", "p2", "p3")) == pytest.approx(expected)
    whole = (10 / 11, 5 / 6, 0.75 * PIXEL, PIXEL / 11, 10 / 11)
    assert values(scores["p1", "whole"]) == pytest.approx(whole, abs=1e-6)
    assert scores["p3", "whole"].outcome == scores["p3", "core"].outcome == "missed"
    assert scores["p3", "active"].outcome == "both_empty"
    # Of the seventh pixel nobody decided whether it is tumour: it is in no union.
    assert (scores["p2", "whole"].target_size, scores["p2", "whole"].prediction_size) == (5, 5)
    assert len(found.scores) == 3 * 5
    row = found.headline
    assert (row.class_name, row.missed, row.with_target) == (REGIONS_NAME, 2, 8)
    per_region = [sum(dice) / 3 for dice in DICE.values()]
    assert row.metric("dice").interval.mean == pytest.approx(sum(per_region) / 3)
    assert REGIONS_TEXT in found.policy


def _read(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert f"# {REGIONS_TEXT}" in lines
    return list(csv.DictReader(line for line in lines if not line.startswith("# ")))


def test_tables_mark_what_is_a_region(found: Evaluation, tmp_path: Path) -> None:
    cases = [row for row in _read(tmp_path / "report" / "cases.csv") if row["case"] == "p1"]
    assert [(row["class_id"], row["class_name"], row["kind"], row["region"]) for row in cases] == [
        ("1", "whole (1)", "class", ""),
        ("2", "core (2)", "class", ""),
        ("3", "active", "class and region", "3"),
        ("", "whole", "region", "1+2+3"),
        ("", "core", "region", "2+3"),
    ]
    assert float(cases[3]["dice"]) == pytest.approx(10 / 11, abs=1e-6)
    rows = [row for row in _read(tmp_path / "report" / "summary.csv") if row["metric"] == "dice"]
    assert [(row["class_id"], row["kind"], row["class_name"]) for row in rows[2:]] == [
        ("3", "class and region", "active"),
        ("all", "mean", MEAN_NAME),
        ("", "region", "whole"),
        ("", "region", "core"),
        ("all", "mean", REGIONS_NAME),
    ]
    assert float(rows[4]["mean"]) == pytest.approx(sum(DICE["whole"]) / 3, abs=1e-6)
    stored = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert [(row["kind"], row["region"]) for row in stored["classes"]][4:] == [
        ("region", [1, 2, 3]),
        ("region", [2, 3]),
        ("mean", []),
    ]
    assert REGIONS_TEXT in stored["policy"]


def test_the_page_says_what_a_region_is_made_of(found: Evaluation) -> None:
    page = found.report.read_text(encoding="utf-8")
    assert "By class and region" in page
    assert "Mean over regions: mean where the target shows it; below it that of all 3 cases" in page
    assert ">whole<small>region: whole (1) + core (2) + active</small></th>" in page
    assert ">active<small>class and region</small></th>" in page
    assert page.count('<tr class="total">') == 2
    assert "whole (region): mean 0.64" in page  # what the chart shows, in words
    assert "whole (region): missed, Dice 0.00" in page


def test_without_regions_nothing_is_said_of_them(model: Segmenter, data: Path, tmp_path: Path) -> None:
    content = json.loads((data / "dataset.json").read_text())
    content["labels"] = {"background": 0, "whole (1)": 1, "core (2)": 2, "active": 3, "ignore": IGNORE}
    describe_raw(data, content)
    found = evaluate(model, data, split="all", out=tmp_path / "plain")
    assert [row.kind for row in found.summaries] == ["class"] * 3 + ["mean"]
    assert found.headline.class_name == MEAN_NAME
    assert REGIONS_TEXT not in found.policy
    page = found.report.read_text(encoding="utf-8")
    assert 'id="classes">By class</h2>' in page
    assert "region</small>" not in page
    assert "over regions" not in page

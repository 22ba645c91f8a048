from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation.metrics import ClassScore, Outcome
from dinoseg.evaluation.summary import MEAN_NAME, headline, summarise

SIZES: dict[Outcome, tuple[int, int]] = {
    "scored": (10, 12),
    "missed": (10, 0),
    "false_alarm": (0, 12),
    "both_empty": (0, 0),
}


def made(case: str, dice: float, hd95: float, outcome: Outcome = "scored", class_id: int = 1) -> ClassScore:
    target, prediction = SIZES[outcome]
    return ClassScore(
        case=case,
        group=case[0],
        class_id=class_id,
        class_name=f"class {class_id}",
        dice=dice,
        iou=dice / (2 - dice),
        hd95=hd95,
        assd=hd95 / 2,
        nsd=dice,
        outcome=outcome,
        target_size=target,
        prediction_size=prediction,
        unit="px",
    )


SCORES = [
    made("a1", 0.8, 4.0),
    made("a2", 0.6, 6.0),
    made("b1", 0.0, 100.0, "missed"),
    made("c1", 1.0, 0.0, "both_empty"),
    made("d1", 0.0, 100.0, "false_alarm"),
]


def test_table_by_hand() -> None:
    (row,) = summarise(SCORES, seed=0)
    assert (row.class_id, row.class_name, row.cases, row.groups) == (1, "class 1", 5, 4)
    assert (row.with_target, row.missed, row.false_alarms, row.both_empty) == (3, 1, 1, 1)
    dice, hd95 = row.metric("dice"), row.metric("hd95")
    assert dice.interval.mean == pytest.approx(2.4 / 5)
    assert dice.median == 0.6
    assert dice.sd == pytest.approx(np.std([0.8, 0.6, 0, 1, 0], ddof=1))
    assert dice.mean_with_target == pytest.approx(1.4 / 3)
    assert hd95.interval.mean == pytest.approx(210 / 5)
    assert hd95.mean_with_target == pytest.approx(110 / 3)
    assert 0 <= dice.interval.low < dice.interval.mean < dice.interval.high <= 1
    assert dice.cases == hd95.cases == 5


def test_paper_protocol_drops_distances_of_empty_sides_only() -> None:
    (row,) = summarise(SCORES, seed=0, protocol="paper")
    (native,) = summarise(SCORES, seed=0)
    assert row.metric("hd95").interval.mean == 5.0
    assert row.metric("hd95").cases == 2
    assert row.metric("dice") == native.metric("dice")
    assert (row.missed, row.false_alarms) == (1, 1)


def test_paper_protocol_with_nothing_left_has_no_distance() -> None:
    (row,) = summarise([made("a", 0.0, 50.0, "missed")], seed=0, protocol="paper")
    assert row.metric("hd95").cases == 0
    assert math.isnan(row.metric("hd95").interval.mean)
    assert row.metric("dice").interval.mean == 0.0


def test_mean_over_classes_is_taken_within_each_case() -> None:
    second = [
        replace(score, class_id=2, class_name="class 2", dice=dice)
        for score, dice in zip(SCORES, (0.4, 0.2, 0.5, 0.0, 1.0), strict=True)
    ]
    first_row, second_row, both = summarise([*SCORES, *second], seed=0)
    assert (first_row.class_name, second_row.class_name) == ("class 1", "class 2")
    assert (both.class_id, both.class_name, both.cases) == (None, MEAN_NAME, 5)
    per_case = np.array([0.6, 0.4, 0.25, 0.5, 0.5])
    assert both.metric("dice").interval.mean == pytest.approx(per_case.mean())
    assert both.metric("dice").sd == pytest.approx(per_case.std(ddof=1))
    assert both.metric("dice").mean_with_target == pytest.approx(per_case[:3].mean())
    assert (both.missed, both.with_target) == (2, 6)
    assert headline([first_row, second_row, both]) is both


def test_mean_over_present_classes_skips_absent_ones() -> None:
    rows = summarise([made("a", 0.5, 3.0), made("a", 1.0, 0.0, "both_empty", class_id=2)], seed=0)
    assert rows[-1].metric("dice").interval.mean == 0.75
    assert rows[-1].metric("dice").mean_with_target == 0.5
    assert math.isnan(rows[1].metric("dice").mean_with_target)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="no scores"):
        summarise([], seed=0)
    with pytest.raises(UsageError, match="exactly once"):
        summarise([SCORES[0], SCORES[0]], seed=0)
    with pytest.raises(UsageError, match="class 2: every case"):
        summarise([*SCORES, made("a1", 0.5, 1.0, class_id=2)], seed=0)
    with pytest.raises(DataError, match="no common mean"):
        summarise([SCORES[0], replace(SCORES[1], unit="mm")], seed=0)

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dinoseg.evaluation.examples import choose_examples, class_colours, describe, draw_example
from dinoseg.evaluation.metrics import ClassScore, Outcome

CLASSES = {0: "background", 1: "lesion"}


def made(case: str, dice: float, outcome: Outcome = "scored", class_id: int = 1) -> ClassScore:
    return ClassScore(
        case, case, class_id, f"class {class_id}", dice, dice, 7.25, 2.0, 0.5, outcome, 9, 9, "px"
    )


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def test_worst_median_and_best_in_order() -> None:
    scores = [made(f"c{number:02}", number / 20) for number in range(20)]
    chosen = choose_examples(scores[::-1], each=2)
    assert [(e.role, e.case) for e in chosen] == [
        ("worst", "c00"),
        ("worst", "c01"),
        ("median", "c09"),
        ("median", "c10"),
        ("best", "c18"),
        ("best", "c19"),
    ]


@pytest.mark.parametrize("count", range(1, 12))
def test_no_case_is_shown_twice(count: int) -> None:
    chosen = choose_examples([made(f"c{number:02}", number / 20) for number in range(count)], each=3)
    assert len({e.case for e in chosen}) == len(chosen) == min(count, 3 * max(1, count // 3))
    assert [e.dice for e in chosen] == sorted(e.dice for e in chosen)


def test_empty_cases_show_nothing_and_misses_come_first() -> None:
    scores = [made("a", 1.0, "both_empty"), made("b", 0.9), made("c", 0.0, "missed"), made("d", 0.95)]
    assert [e.case for e in choose_examples(scores)] == ["c", "b", "d"]
    assert choose_examples(scores[:1]) == []


def test_rank_is_the_mean_over_classes() -> None:
    scores = [made("a", 0.9), made("b", 0.5), made("a", 0.0, "missed", 2), made("b", 0.6, class_id=2)]
    assert [(e.case, e.dice) for e in choose_examples(scores)] == [("a", 0.45), ("b", 0.55)]


def test_description() -> None:
    assert describe([made("a", 0.876)]) == "Dice 0.88, HD95 7.2 px"
    assert describe([made("a", 0.0, "missed")]) == "missed, Dice 0.00"
    both = [made("a", 0.5), made("a", 0.0, "false_alarm", 2), made("a", 1.0, "both_empty", 3)]
    assert describe(both) == "class 1: Dice 0.50, HD95 7.2 px; class 2: false alarm, Dice 0.00"
    assert describe([made("a", 1.0, "both_empty")]) == "empty, and left empty"


def test_picture_shows_target_and_prediction_where_they_are() -> None:
    image = np.full((1, 40, 80), 0.5, np.float32)
    target, prediction = np.zeros((40, 80), np.uint8), np.zeros((40, 80), np.uint8)
    target[10:30, 5:25] = 1
    prediction[10:30, 50:75] = 1
    drawn = opened(draw_example(image, target, prediction, classes=CLASSES))
    assert drawn.shape == (280, 560, 3)
    ground, filled, inside = drawn[20, 280], drawn[140, 100], drawn[140, 437]
    assert np.abs(ground - 128).max() <= 4
    assert np.abs(inside - 128).max() <= 4
    assert filled[2] > filled[0] + 40, "the target is filled with the blue of the first class"
    assert drawn[140, 345:360].min(axis=1).max() > 150, "a light line at the left side of the prediction"


def test_picture_of_a_volume_is_its_most_wrong_slice_in_proportion() -> None:
    image = np.zeros((1, 3, 10, 10), np.float32)
    image[:, 1] = 900.0
    target, prediction = np.zeros((3, 10, 10), np.uint8), np.zeros((3, 10, 10), np.uint8)
    target[0, 0, 0] = 1
    prediction[1, 3:7, 3:7] = 1
    drawn = opened(draw_example(image, target, prediction, classes=CLASSES, spacing=(5.0, 1.0, 2.0)))
    assert drawn.shape == (280, 560, 3)
    assert drawn[10, 10].min() >= 250, "slice 1 is the bright one"


def test_colours_differ() -> None:
    colours = class_colours({0: "background", **{number: str(number) for number in range(1, 8)}})
    assert 0 not in colours
    assert len(set(colours.values())) == 7

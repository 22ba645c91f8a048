from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from dinoseg.errors import UsageError
from dinoseg.evaluation.lesion_summary import split_thirds, summarise_lesions
from dinoseg.evaluation.lesions import Lesion, LesionScore, score_lesions
from dinoseg.evaluation.metrics import score_case
from dinoseg.evaluation.stretches import find_stretches
from dinoseg.evaluation.summary import summarise
from tests.evaluation.test_report import make_scores, read, written


def flood(mask: np.ndarray) -> list[frozenset[tuple[int, ...]]]:
    """The components of a mask, pixel by pixel, in the order of their first pixel."""
    left = {tuple(int(axis) for axis in place) for place in np.argwhere(mask)}
    found = []
    while left:
        front, members = [min(left)], set()
        while front:
            place = front.pop()
            if place in left:
                left.remove(place)
                members.add(place)
                for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
                    front.append((*place[:axis], place[axis] + step, *place[axis + 1 :]))
        found.append(frozenset(members))
    return found


def brute_force(prediction: np.ndarray, target: np.ndarray, match_iou: float) -> tuple[int, int, list[float]]:
    """Predicted, matched, and the Dice of every component of the target."""
    predicted, wanted = flood(prediction), flood(target)
    pairs = [
        (len(one & other) / len(one | other), -place, -index)
        for place, other in enumerate(wanted)
        for index, one in enumerate(predicted)
        if one & other and len(one & other) / len(one | other) > match_iou
    ]
    partner: dict[int, int] = {}
    for _, place, index in sorted(pairs, reverse=True):
        if -place not in partner and -index not in partner.values():
            partner[-place] = -index
    dice = [0.0] * len(wanted)
    for place, index in partner.items():
        one, other = predicted[index], wanted[place]
        dice[place] = 2 * len(one & other) / (len(one) + len(other))
    return len(predicted), len(partner), dice


@pytest.mark.parametrize("shape", [(13, 17), (6, 7, 8)])
@pytest.mark.parametrize("match_iou", [0.0, 0.25])
def test_equal_to_brute_force(shape: tuple[int, ...], match_iou: float) -> None:
    rng = np.random.default_rng(0)
    matched = 0
    for _ in range(25):
        target = rng.random(shape) < rng.uniform(0.1, 0.6)
        prediction = target ^ (rng.random(shape) < 0.15)
        found = score_lesions(prediction, target, spacing=None, match_iou=match_iou)
        dice = [lesion.dice for lesion in found.lesions]
        assert (found.predicted, found.matched, dice) == brute_force(prediction, target, match_iou)
        assert [lesion.size for lesion in found.lesions] == [len(item) for item in flood(target)]
        matched += found.matched
    assert matched > 100


def picture(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_splitting_and_merging_cost() -> None:
    whole, split = picture("#####", "....."), picture("##.##", ".....")
    two_pieces = score_lesions(split, whole, spacing=None)
    assert (two_pieces.matched, two_pieces.false_positives, two_pieces.recall) == (1, 1, 1.0)
    one_piece = score_lesions(whole, split, spacing=None)
    assert (one_piece.precision, one_piece.recall, one_piece.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert one_piece.dice == pytest.approx((2 * 2 / 7 + 0) / 2)


def test_the_highest_iou_matches_first() -> None:
    target, prediction = picture("######..", "......##"), picture("#.####..", "........")
    found = score_lesions(prediction, target, spacing=None)
    assert found.lesions == (Lesion(6, pytest.approx(8 / 10)), Lesion(2, 0.0))


def test_corners_do_not_join_and_sizes_are_physical() -> None:
    target = picture("#.", ".#")
    found = score_lesions(target, target, spacing=(0.5, 2.0))
    assert found == LesionScore((Lesion(1.0, 1.0), Lesion(1.0, 1.0)), 2, 2, "mm²")
    assert score_lesions(target[None], target[None], spacing=(1, 1, 3)).unit == "mm³"
    assert score_lesions(target, target, spacing=None).unit == "px"


def test_empty_sides() -> None:
    full, empty = np.ones((2, 2), bool), np.zeros((2, 2), bool)
    none = score_lesions(empty, empty, spacing=None)
    assert none.f1 == 1.0
    assert math.isnan(none.precision)
    assert math.isnan(none.recall)
    missed, alarm = score_lesions(empty, full, spacing=None), score_lesions(full, empty, spacing=None)
    assert (missed.recall, missed.f1, missed.dice) == (0.0, 0.0, 0.0)
    assert (alarm.precision, alarm.f1, alarm.false_positives) == (0.0, 0.0, 1)


def test_match_iou_out_of_range() -> None:
    mask = np.ones((2, 2), bool)
    with pytest.raises(UsageError, match=r"match_iou 1 is not accepted"):
        score_lesions(mask, mask, spacing=None, match_iou=1)


def test_score_case_scores_the_whole_grid() -> None:
    target, prediction = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    target[0, 0:3] = 1
    prediction[0, 1:3], prediction[8, 8] = 1, 1
    (score,) = score_case(
        prediction, target, classes={1: "a"}, spacing=None, tolerance=1, case="c", group="g"
    )
    assert score.lesions == LesionScore((Lesion(3, pytest.approx(0.8)),), 2, 1, "px")
    (strict,) = score_case(
        prediction, target, classes={1: "a"}, spacing=None, tolerance=1, case="c", group="g", match_iou=0.9
    )
    assert strict.lesions is not None
    assert strict.lesions.matched == 0


def some(*dice: float, predicted: int, size: float = 4.0) -> LesionScore:
    lesions = tuple(Lesion(size * (place + 1), value) for place, value in enumerate(dice))
    return LesionScore(lesions, predicted, sum(value > 0 for value in dice), "px")


def test_lesions_of_all_cases_are_pooled() -> None:
    cases = [some(0.5, 0.0, predicted=3), some(predicted=1), some(0.9, predicted=1)]
    found = summarise_lesions(cases, ["a", "b", "c"], seed=0)
    assert found is not None
    assert (found.lesions, found.predicted, found.matched) == (3, 5, 2)
    means = {name: interval.mean for name, interval in found.means.items()}
    assert means == pytest.approx(
        {
            "lesion_precision": 2 / 5,
            "lesion_recall": 2 / 3,
            "lesion_f1": 4 / 8,
            "false_positives_per_case": 3 / 3,
            "lesion_dice": 1.4 / 3,
        }
    )
    assert found.recall.low <= 2 / 3 <= found.recall.high


def test_intervals_are_those_of_whole_groups() -> None:
    def recall_width(groups: list[str]) -> float:
        rng = np.random.default_rng(0)
        kind = np.repeat(rng.random(20) < 0.5, 5)
        found = summarise_lesions([some(float(hit), predicted=1) for hit in kind], groups, seed=0)
        assert found is not None
        return found.recall.high - found.recall.low

    by_patient = recall_width([f"p{place // 5}" for place in range(100)])
    assert by_patient > 1.8 * recall_width([f"c{place}" for place in range(100)])


def test_by_size_of_lesion() -> None:
    cases = [some(0.0, 0.5, 1.0, predicted=2, size=size) for size in (1.0, 1.1, 1.2)]
    found = summarise_lesions(cases, ["a", "b", "c"], seed=0)
    assert found is not None
    assert [(band.name, band.lesions, band.matched) for band in found.sizes] == [
        ("small", 3, 0),
        ("medium", 3, 3),
        ("large", 3, 3),
    ]
    assert [band.dice.mean for band in found.sizes] == [0.0, 0.5, 1.0]
    assert (found.sizes[0].low, found.sizes[0].high) == (1.0, 1.2)


def test_equal_sizes_are_in_one_third() -> None:
    assert split_thirds(np.array([5.0, 1.0, 5.0, 5.0, 9.0, 1.0])).tolist() == [1, 0, 1, 1, 2, 0]
    same = summarise_lesions([some(0.5, predicted=1)] * 4, list("abcd"), seed=0)
    assert same is not None
    assert same.sizes == ()


def _find_intervals(value: object) -> Iterator[dict[str, float]]:
    if isinstance(value, dict):
        if set(value) == {"mean", "low", "high"}:
            yield value
        for item in value.values():
            yield from _find_intervals(item)


def test_lesions_stand_beside_the_pixel_scores(tmp_path: Path) -> None:
    scores = make_scores({0: "background", 1: "lesion", 2: "vessel"})
    page = written(tmp_path, scores).read_text(encoding="utf-8")
    _, cases = read(tmp_path / "cases.csv")
    assert [int(row["lesions_matched"]) for row in cases] == [score.lesions.matched for score in scores]
    empty = next(row for row in cases if row["prediction_size"] == "0")
    assert (empty["lesion_precision"], empty["lesion_recall"], empty["lesion_dice"]) == ("", "0.0", "0.0")
    _, rows = read(tmp_path / "summary.csv")
    stored = {(row["class_name"], row["metric"]): row["mean"] for row in rows}
    found = summarise(scores, seed=0)[0].lesions
    assert found is not None
    assert float(stored["lesion", "lesion_f1"]) == pytest.approx(found.f1.mean, abs=1e-6)
    assert ("mean over classes", "lesion_f1") not in stored
    document = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert document["classes"][0]["lesions"]["matched"] == found.matched
    assert list(_find_intervals(document["classes"][0]["lesions"]))
    assert '<h2 id="lesions">By lesion</h2>' in page
    assert f"{found.f1.mean:.3f}" in page.partition('id="lesions"')[2]
    assert any("matched one to one" in line for line in document["policy"])


@pytest.mark.parametrize("shape", [(40, 50), (1, 7), (7, 1), (9, 20, 21), (1, 5, 6), (5, 1, 6), (5, 6, 1)])
def test_components_are_those_of_scipy(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    for share in (0.0, 0.1, 0.4, 0.7, 1.0):
        mask = rng.random(shape) < share
        found = find_stretches(mask)
        labels, count = ndimage.label(mask)
        assert found.count == count
        assert found.sizes.tolist() == np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dinoseg.errors import LabelError, UsageError
from dinoseg.evaluation.metrics import ClassScore, image_diagonal, score_case

CLASSES = {0: "background", 1: "lesion"}
KVASIR = Path(__file__).parents[2] / "../shared/data/kvasir-seg/masks"
Mask = NDArray[np.uint8]


def score(
    prediction: Mask, target: Mask, *, spacing: tuple[float, ...] | None = None, tolerance: float = 2.0
) -> ClassScore:
    (only,) = score_case(
        prediction, target, classes=CLASSES, spacing=spacing, tolerance=tolerance, case="a", group="g"
    )
    return only


def values(found: ClassScore) -> list[float]:
    return [found.dice, found.iou, found.hd95, found.assd, found.nsd]


def blob(shape: tuple[int, ...], seed: int, level: float = 0.4) -> Mask:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return (noise / noise.std() > level).astype(np.uint8)


def monai_values(
    prediction: Mask, target: Mask, spacing: tuple[float, ...] | None, tolerance: float
) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from monai.metrics import (
            compute_average_surface_distance,
            compute_dice,
            compute_hausdorff_distance,
            compute_iou,
            compute_surface_dice,
        )

        pair = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, target)]
        kept = {"include_background": True}
        surface = kept | {"spacing": spacing}
        found = [
            compute_dice(*pair, **kept),
            compute_iou(*pair, **kept),
            compute_hausdorff_distance(*pair, percentile=95, **surface),
            compute_average_surface_distance(*pair, symmetric=True, **surface),
            compute_surface_dice(*pair, [tolerance], **surface),
        ]
        return [float(value) for value in found]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((61, 47), None),
        ((40, 90), (0.7, 0.3)),
        ((12, 30, 26), None),
        ((10, 31, 24), (5.0, 0.8, 1.1)),
    ],
)
def test_equal_to_monai(shape: tuple[int, ...], spacing: tuple[float, ...] | None, seed: int) -> None:
    target, prediction = blob(shape, seed), blob(shape, seed + 100)
    tolerance = 1.0 if spacing else 2.0
    found = score(prediction, target, spacing=spacing, tolerance=tolerance)
    assert target[0].any(), "the blobs must touch the border to test it"
    np.testing.assert_allclose(values(found), monai_values(prediction, target, spacing, tolerance), rtol=2e-5)


@pytest.mark.parametrize("corner", [(0, 0), (0, 20), (25, 20)])
def test_equal_to_monai_at_the_border(corner: tuple[int, int]) -> None:
    target, prediction = np.zeros((40, 35), np.uint8), np.zeros((40, 35), np.uint8)
    target[corner[0] : corner[0] + 15, corner[1] : corner[1] + 15] = 1
    prediction[corner[0] : corner[0] + 12, :] = 1
    found = values(score(prediction, target))
    np.testing.assert_allclose(found, monai_values(prediction, target, None, 2.0), rtol=2e-5)


def test_two_squares_by_hand() -> None:
    # 3×3 squares, two columns apart: 8 surface pixels each (the centre is inside).
    target, prediction = np.zeros((9, 12), np.uint8), np.zeros((9, 12), np.uint8)
    target[2:5, 2:5] = 1
    prediction[2:5, 4:7] = 1
    found = score(prediction, target, tolerance=1.0)
    # Columns of the prediction are 4, 5, 6; the target's surface ends at column 4: distances
    # 0 three times, 1 twice (the centre of column 5 is inside), 2 three times; the other way the same.
    assert found.dice == pytest.approx(2 * 3 / 18)
    assert found.iou == pytest.approx(3 / 15)
    assert found.hd95 == pytest.approx(2.0)
    assert found.assd == pytest.approx((3 * 0 + 2 * 1 + 3 * 2) / 8)
    assert found.nsd == pytest.approx(5 / 8)
    assert (found.target_size, found.prediction_size, found.outcome, found.unit) == (9, 9, "scored", "px")


def test_two_pixels_by_hand() -> None:
    target, prediction = np.zeros((4, 8, 8), np.uint8), np.zeros((4, 8, 8), np.uint8)
    target[0, 1, 1] = 1
    prediction[2, 4, 5] = 1
    found = score(prediction, target, spacing=(6.0, 1.0, 2.0), tolerance=1.0)
    distance = math.hypot(2 * 6, 3 * 1, 4 * 2)
    assert values(found) == pytest.approx([0, 0, distance, distance, 0])
    assert (found.outcome, found.unit) == ("scored", "mm")


def test_percentile_interpolates_by_hand() -> None:
    # A row of 21 pixels against its first one: distances 0..20, their 95th percentile is 19.
    target, prediction = np.zeros((3, 30), np.uint8), np.zeros((3, 30), np.uint8)
    target[1, 2] = 1
    prediction[1, 2:23] = 1
    found = score(prediction, target)
    assert found.hd95 == pytest.approx(19.0)
    assert found.assd == pytest.approx((sum(range(21)) + 0) / 22)
    assert found.nsd == pytest.approx((3 + 1) / 22)


@pytest.mark.parametrize("spacing", [None, (0.5, 2.0)])
@pytest.mark.parametrize(
    ("predicted", "present", "outcome", "overlap"),
    [
        (False, False, "both_empty", 1.0),
        (False, True, "missed", 0.0),
        (True, False, "false_alarm", 0.0),
    ],
)
def test_policy_for_empty_masks(
    predicted: bool, present: bool, outcome: str, overlap: float, spacing: tuple[float, ...] | None
) -> None:
    shape = (30, 40)
    prediction, target = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    prediction[3:7, 5:9] = predicted
    target[10:20, 10:20] = present
    found = score(prediction, target, spacing=spacing)
    diagonal = 50.0 if spacing is None else math.hypot(15.0, 80.0)
    distance = 0.0 if outcome == "both_empty" else diagonal
    assert values(found) == pytest.approx([overlap, overlap, distance, distance, overlap])
    assert (found.outcome, found.prediction_size, found.target_size) == (
        outcome,
        16 * predicted,
        100 * present,
    )


def test_a_miss_is_never_better_than_any_prediction() -> None:
    target, prediction = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    target[0, 0] = 1
    missed = score(prediction, target)
    prediction[-1, -1] = 1
    worst = score(prediction, target)
    assert missed.hd95 > worst.hd95
    assert missed.assd > worst.assd


def test_classes_are_scored_apart_and_in_order() -> None:
    target = np.zeros((20, 20), np.uint8)
    target[2:6, 2:6], target[10:15, 10:15] = 3, 1
    prediction = np.where(target == 1, 1, 0).astype(np.uint8)
    prediction[18, 18] = 2
    classes = {0: "background", 3: "third", 1: "first", 2: "second"}
    found = score_case(prediction, target, classes=classes, spacing=None, tolerance=2, case="c", group="g")
    assert [(s.class_id, s.class_name, s.outcome, s.dice) for s in found] == [
        (3, "third", "missed", 0.0),
        (1, "first", "scored", 1.0),
        (2, "second", "false_alarm", 0.0),
    ]


@pytest.mark.parametrize("shape", [(50, 44), (9, 28, 22)])
def test_properties(shape: tuple[int, ...]) -> None:
    spacing = (2.5, 0.6, 0.9)[-len(shape) :]
    doubled = tuple(2 * size for size in spacing)
    for seed in range(6):
        target, prediction = blob(shape, seed), blob(shape, seed + 50)
        found = score(prediction, target, spacing=spacing, tolerance=1.5)
        swapped = score(target, prediction, spacing=spacing, tolerance=1.5)
        assert values(swapped) == pytest.approx(values(found), rel=1e-12)

        perfect = score(target, target, spacing=spacing, tolerance=0)
        assert values(perfect) == [1, 1, 0, 0, 1]

        far = score(prediction, target, spacing=doubled, tolerance=3.0)
        expected = [found.dice, found.iou, 2 * found.hd95, 2 * found.assd, found.nsd]
        assert values(far) == pytest.approx(expected, rel=1e-12)

        room = [(3, 7)] * len(shape)
        moved = score(np.pad(prediction, room), np.pad(target, room), spacing=spacing, tolerance=1.5)
        assert values(moved) == pytest.approx(values(found), rel=1e-12)

        flipped = score(np.flip(prediction), np.flip(target), spacing=spacing, tolerance=1.5)
        assert values(flipped) == pytest.approx(values(found), rel=1e-12)

        assert found.iou == pytest.approx(found.dice / (2 - found.dice))
        assert found.assd <= found.hd95 <= image_diagonal(shape, spacing)


def test_tolerance_is_inclusive_in_spite_of_rounding() -> None:
    target, prediction = np.zeros((5, 9), np.uint8), np.zeros((5, 9), np.uint8)
    target[2, 1] = prediction[2, 4] = 1
    assert 3 * 0.1 > 0.3
    assert score(prediction, target, spacing=(0.1, 0.1), tolerance=0.3).nsd == 1.0
    assert score(prediction, target, spacing=(0.1, 0.1), tolerance=0.299).nsd == 0.0


def test_single_slice_volume_scores_like_its_image() -> None:
    # Every voxel of a single slice is surface in 3D, so only the overlap agrees.
    target, prediction = blob((30, 30), 1), blob((30, 30), 2)
    flat, thick = score(prediction, target), score(prediction[None], target[None])
    assert (thick.dice, thick.iou, thick.target_size) == (flat.dice, flat.iou, flat.target_size)


def test_refusals() -> None:
    mask = np.zeros((6, 6), np.uint8)
    with pytest.raises(LabelError, match=r"prediction \(6, 6\) and target \(5, 6\)"):
        score(mask, mask[1:])
    with pytest.raises(LabelError, match=r"target holds the ids \[7\]"):
        score(mask, np.full_like(mask, 7))
    with pytest.raises(LabelError, match=r"prediction holds the ids \[2\]"):
        score_case(
            np.full_like(mask, 2),
            mask,
            classes={1: "a", 3: "b"},
            spacing=None,
            tolerance=1,
            case="a",
            group="g",
        )
    with pytest.raises(LabelError, match="uint8"):
        score(mask.astype(np.float32), mask)  # type: ignore[arg-type]
    with pytest.raises(LabelError, match=r"shape \(0, 6\)"):
        score(mask[:0], mask[:0])
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="tolerance"):
            score(mask, mask, tolerance=tolerance)
    for spacing in ((1.0,), (1.0, 0.0), (1.0, math.nan), (1.0, 1.0, 1.0)):
        with pytest.raises(UsageError, match="spacing"):
            score(mask, mask, spacing=spacing)


@pytest.mark.slow
@pytest.mark.skipif(not KVASIR.is_dir(), reason="the Kvasir-SEG masks are not beside the checkout")
def test_equal_to_monai_on_real_masks() -> None:
    from PIL import Image

    for number, path in enumerate(sorted(KVASIR.glob("*.png"))[:30]):
        target = (np.asarray(Image.open(path).convert("L")) > 127).astype(np.uint8)
        prediction = np.roll(target, (number, -2 * number), (0, 1))
        found = values(score(prediction, target))
        np.testing.assert_allclose(found, monai_values(prediction, target, None, 2.0), rtol=2e-5, atol=1e-7)

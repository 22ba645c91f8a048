"""Scores of lesions: the connected components of a mask, matched with those of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dinoseg.errors import UsageError
from dinoseg.evaluation.stretches import Stretches, find_overlaps, find_stretches
from dinoseg.evaluation.surfaces import Mask

SizeUnit = Literal["mm²", "mm³", "px"]

DEFAULT_IOU = 0.0
"""Two components match where their IoU is above this: any pixel in common is enough."""


@dataclass(frozen=True)
class Lesion:
    """One connected component of a target.

    Attributes:
        size: in the unit of its `LesionScore`.
        dice: with the predicted component that was matched to it; 0 where it was missed.
    """

    size: float
    dice: float


@dataclass(frozen=True)
class LesionScore:
    """The lesions of one class or region in one case.

    Attributes:
        lesions: of the target, in the order of their first pixel.
        predicted: components of the prediction.
        matched: pairs, each of one component of the target and one of the prediction.
        unit: of sizes: "mm²" or "mm³" where the spacing is known, else "px".
    """

    lesions: tuple[Lesion, ...]
    predicted: int
    matched: int
    unit: SizeUnit

    @property
    def false_positives(self) -> int:
        """Predicted components without a partner."""
        return self.predicted - self.matched

    @property
    def precision(self) -> float:
        """Share of the predicted components that have a partner; NaN where none is predicted."""
        return self.matched / self.predicted if self.predicted else math.nan

    @property
    def recall(self) -> float:
        """Share of the target's components that have a partner; NaN where there is none."""
        return self.matched / len(self.lesions) if self.lesions else math.nan

    @property
    def f1(self) -> float:
        """2 matched over the components of both; 1 where there is none on either side."""
        both = self.predicted + len(self.lesions)
        return 2 * self.matched / both if both else 1.0

    @property
    def dice(self) -> float:
        """Mean over the target's components, 0 for a missed one; NaN where there is none."""
        return self.dice_sum / len(self.lesions) if self.lesions else math.nan

    @property
    def dice_sum(self) -> float:
        """Sum over the target's components."""
        return sum(lesion.dice for lesion in self.lesions)

    @property
    def size(self) -> float:
        """Of all of the target, in `unit`."""
        return sum(lesion.size for lesion in self.lesions)


def score_lesions(
    prediction: Mask, target: Mask, *, spacing: tuple[float, ...] | None, match_iou: float = DEFAULT_IOU
) -> LesionScore:
    """Match the components of two masks one to one, those with the highest IoU first.

    A second piece of one lesion has no partner left, and neither has the second lesion under one
    piece: splitting and merging both cost.

    Args:
        prediction: (H, W) or (D, H, W); pixels belong together across an edge or a face.
        target: of the same shape. A crop that holds both masks gives the result of the whole image.
        spacing: size of a pixel in mm; None where it is unknown.
        match_iou: a pair needs an IoU above this, 0 <= match_iou < 1.

    Raises:
        UsageError: `match_iou` is out of range.
    """
    if not 0 <= match_iou < 1:
        raise UsageError(f"match_iou {match_iou} is not accepted; give a number of 0 or more and below 1")
    here, there = find_stretches(prediction), find_stretches(target)
    pairs = _match(here, there, match_iou)
    dice = np.zeros(there.count)
    for one, other, common in pairs:
        dice[other] = 2 * common / (here.sizes[one] + there.sizes[other])
    cell = math.prod(spacing) if spacing else 1.0
    return LesionScore(
        lesions=tuple(
            Lesion(int(size) * cell, float(score)) for size, score in zip(there.sizes, dice, strict=True)
        ),
        predicted=here.count,
        matched=len(pairs),
        unit="px" if spacing is None else "mm²" if target.ndim == 2 else "mm³",
    )


def _match(here: Stretches, there: Stretches, match_iou: float) -> list[tuple[int, int, int]]:
    """(prediction, target, pixels in common) of each pair, the highest IoU first."""
    taken_here: set[int] = set()
    taken_there: set[int] = set()
    pairs = []
    for iou, other, one, common in _rank(here, there):
        if -iou > match_iou and one not in taken_here and other not in taken_there:
            taken_here.add(one)
            taken_there.add(other)
            pairs.append((one, other, common))
    return pairs


def _rank(here: Stretches, there: Stretches) -> list[tuple[float, int, int, int]]:
    """(negative IoU, target, prediction, pixels in common) of the components that touch."""
    one, other, common = find_overlaps(here.starts, here.ends, there.starts, there.ends)
    codes = there.components[other] * here.count + here.components[one]
    touching, places = np.unique(codes, return_inverse=True)
    shared = np.bincount(places, weights=common, minlength=len(touching)).astype(np.int64)
    wanted, predicted = touching // max(here.count, 1), touching % max(here.count, 1)
    iou = shared / (here.sizes[predicted] + there.sizes[wanted] - shared)
    return sorted(zip((-iou).tolist(), wanted.tolist(), predicted.tolist(), shared.tolist(), strict=True))

"""Scores of lesions: the connected components of a mask, matched with those of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.errors import UsageError
from dinoseg.evaluation.surfaces import Mask

SizeUnit = Literal["mm²", "mm³", "px"]

DEFAULT_IOU = 0.0
"""Two components match where their IoU is above this: any pixel in common is enough."""


_TABLE = 1 << 20  # pairs of components that are counted in a table, which is faster than sorting


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
    found = _count_together(_number(prediction), _number(target))
    sizes_p, sizes_t = found.sizes(found.predicted), found.sizes(found.wanted)
    pairs = _match(found, sizes_p, sizes_t, match_iou)
    dice = np.zeros(len(sizes_t))
    for one, other, common in pairs:
        dice[other] = 2 * common / (sizes_p[one] + sizes_t[other])
    cell = math.prod(spacing) if spacing else 1.0
    return LesionScore(
        lesions=tuple(
            Lesion(int(size) * cell, float(score)) for size, score in zip(sizes_t[1:], dice[1:], strict=True)
        ),
        predicted=len(sizes_p) - 1,
        matched=len(pairs),
        unit="px" if spacing is None else "mm²" if target.ndim == 2 else "mm³",
    )


@dataclass(frozen=True, eq=False)
class _Counts:
    """How many pixels each pair of components has in common; component 0 is what lies outside.

    Attributes:
        predicted: (N,) component of the prediction.
        wanted: (N,) component of the target.
        common: (N,) pixels.
    """

    predicted: NDArray[np.int64]
    wanted: NDArray[np.int64]
    common: NDArray[np.int64]

    def sizes(self, side: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pixels of each component of one side."""
        return np.bincount(side, weights=self.common).astype(np.int64)


def _number(mask: Mask) -> NDArray[Any]:
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    return np.asarray(labels)


def _count_together(predicted: NDArray[Any], wanted: NDArray[Any]) -> _Counts:
    count = int(predicted.max()) + 1
    length = count * (int(wanted.max()) + 1)
    planes = [(predicted, wanted)] if predicted.ndim == 2 else zip(predicted, wanted, strict=True)
    # Plane by plane: the codes take eight bytes of every pixel.
    codes = (one.ravel() + other.ravel() * np.int64(count) for one, other in planes)
    if length <= _TABLE:
        table = sum((np.bincount(plane, minlength=length) for plane in codes), np.zeros(length, np.int64))
        found = np.flatnonzero(table)
        return _Counts(found % count, found // count, table[found])
    listed = [np.unique(plane, return_counts=True) for plane in codes]
    found, place = np.unique(np.concatenate([plane for plane, _ in listed]), return_inverse=True)
    common = np.bincount(place, weights=np.concatenate([numbers for _, numbers in listed]))
    return _Counts(found % count, found // count, common.astype(np.int64))


def _match(
    found: _Counts, sizes_p: NDArray[np.int64], sizes_t: NDArray[np.int64], match_iou: float
) -> list[tuple[int, int, int]]:
    """(prediction, target, pixels in common) of each pair."""
    touching = (found.predicted > 0) & (found.wanted > 0)
    one, other, common = found.predicted[touching], found.wanted[touching], found.common[touching]
    iou = common / (sizes_p[one] + sizes_t[other] - common)
    ranked = zip((-iou).tolist(), other.tolist(), one.tolist(), common.tolist(), strict=True)
    taken_p: set[int] = set()
    taken_t: set[int] = set()
    pairs = []
    for negative, there, here, shared in sorted(ranked):
        if -negative > match_iou and here not in taken_p and there not in taken_t:
            taken_p.add(here)
            taken_t.add(there)
            pairs.append((here, there, shared))
    return pairs

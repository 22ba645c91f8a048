"""What each way of cleaning a class would do to the Dice of one case, without cleaning it each time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import ClassPostprocessing
from dinoseg.inference.masks.components import Components, Mask, find_components
from dinoseg.inference.masks.postprocessing import (
    Ids,
    find_box,
    find_holes,
    keep_components,
    take_class,
)

SIZES = (0.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0)
"""Smallest components that are tried, in mm², mm³ or pixels."""

CANDIDATES: tuple[ClassPostprocessing, ...] = tuple(
    sorted(
        (
            ClassPostprocessing(minimum_size=size, largest_component=largest, fill_holes=fill)
            for size, largest, fill in itertools.product(SIZES, (False, True), (False, True))
        ),
        key=lambda step: (step.steps, step.minimum_size),
    )
)
"""Every combination of the steps, simplest first; the first one does nothing."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One class of one case.

    Attributes:
        dice: of each of `CANDIDATES`; 1 where prediction and target are both empty, NaN where the
            target decides no pixel.
        target_size: of the class in the target, in the unit of `SIZES`.
    """

    dice: NDArray[np.float64]
    target_size: float


def try_candidates(
    prediction: Ids, target: Ids, class_id: int, *, cell: float, ignore: int | None = None
) -> Trial:
    """Find the Dice of a class after each of `CANDIDATES`.

    Args:
        prediction: (H, W) or (D, H, W) class ids as predicted.
        target: class ids on the same grid.
        class_id: the class.
        cell: area or volume of a cell in the unit of `SIZES`.
        ignore: id in the target of what nobody decided: it is cleaned as all else and counts in no score.
    """
    if ignore is not None and bool((target == ignore).all()):
        return Trial(np.full(len(CANDIDATES), np.nan), 0.0)
    predicted, wanted = (ids[None] if ids.ndim == 2 else ids for ids in (prediction, target))
    total = sum(int(np.count_nonzero(plane == class_id)) for plane in wanted)
    box = find_box(predicted, class_id)
    if box is None:
        return Trial(np.full(len(CANDIDATES), float(total == 0)), total * cell)
    counter = _Counter(predicted[box], wanted[box], class_id, flat=prediction.ndim == 2, ignore=ignore)
    dice = [counter.count(step, cell).dice(total) for step in CANDIDATES]
    return Trial(np.array(dice), total * cell)


@dataclass(frozen=True)
class _Counts:
    """Voxels of a class in a prediction, and those of them that are in the target too."""

    predicted: int
    common: int

    def dice(self, wanted: int) -> float:
        """With a target of `wanted` voxels; 1 where both are empty."""
        both = self.predicted + wanted
        return 2 * self.common / both if both else 1.0


class _Counter:
    """Counts what a class would have after a step, from its components alone."""

    def __init__(self, predicted: Ids, wanted: Ids, class_id: int, *, flat: bool, ignore: int | None) -> None:
        self._flat = flat
        self._predicted = predicted
        self._class_id = class_id
        self._wanted = wanted
        self._ignore = ignore
        self._wants = partial(take_class, wanted, class_id)
        self._components = find_components(partial(take_class, predicted, class_id), len(predicted))
        self._sizes = np.zeros(len(self._components.sizes), np.int64)
        self._common = np.zeros_like(self._sizes)
        for index in range(len(predicted)):
            self._sizes += self._components.count(index, self._decided(index))
            self._common += self._components.count(index, self._wants(index))
        self._known: dict[tuple[bytes, bool], _Counts] = {}

    def count(self, step: ClassPostprocessing, cell: float) -> _Counts:
        """What is left after a step."""
        kept = keep_components(self._components, step, cell)
        key = (kept.tobytes(), step.fill_holes)
        if key not in self._known:  # many steps keep the same components
            holes = self._count_holes(kept) if step.fill_holes else _Counts(0, 0)
            self._known[key] = _Counts(
                predicted=int(self._sizes[kept].sum()) + holes.predicted,
                common=int(self._common[kept].sum()) + holes.common,
            )
        return self._known[key]

    def _count_holes(self, kept: NDArray[np.bool_]) -> _Counts:
        depth = len(self._predicted)
        holes = find_holes(lambda index: self._components.select(index, kept), depth, flat=self._flat)
        predicted = common = 0
        for index in range(depth) if holes.enclosed.any() else ():
            filled = self._fill(holes, index)
            predicted += int(np.count_nonzero(filled & self._decided(index)))
            common += int(np.count_nonzero(filled & self._wants(index)))
        return _Counts(predicted, common)

    def _decided(self, index: int) -> Mask:
        """Where the target of a slice says what there is: the only pixels that count."""
        plane = self._wanted[index]
        decided: Mask = np.ones(plane.shape, bool) if self._ignore is None else plane != self._ignore
        return decided

    def _fill(self, holes: Components, index: int) -> Mask:
        plane = self._predicted[index]
        # What was removed of the class is background by now; other classes are not filled.
        empty = (plane == 0) | (plane == self._class_id)
        filled: Mask = holes.select(index, holes.enclosed) & empty
        return filled

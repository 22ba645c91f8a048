"""Cleaning masks: small components, all but the largest one, holes; class by class, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import ClassPostprocessing, PostprocessingSettings
from dinoseg.errors import DataError
from dinoseg.inference.masks.components import Components, Mask, find_components

Ids = NDArray[np.uint8]


def clean_mask(
    mask: Ids, settings: PostprocessingSettings, *, cell: float | None, name: str = "the mask"
) -> None:
    """Apply the steps of every class to a mask, in place; memory beyond it is that of a few slices.

    What is removed becomes background, and only background is filled. Components hold together
    across edges (2D) or faces (3D).

    Args:
        mask: (H, W) or (D, H, W) class ids.
        settings: the steps.
        cell: area of a pixel in mm² or volume of a voxel in mm³; None where it is unknown.
        name: of the image, for errors.

    Raises:
        DataError: the settings were chosen for another kind of image, or in mm where `cell` is unknown.
    """
    _refuse_other_kind(mask, settings, cell, name)
    volume = mask[None] if mask.ndim == 2 else mask  # (H, W) -> (1, H, W)
    unit = 1.0 if settings.unit == "px" or cell is None else cell
    for class_id, step in settings.classes.items():
        box = find_box(volume, class_id) if step.steps else None
        if box is not None:
            _clean_class(volume[box], class_id, step, unit, flat=mask.ndim == 2)


def keep_components(components: Components, step: ClassPostprocessing, cell: float) -> NDArray[np.bool_]:
    """Which components stay: large enough, and the largest one where only that is wanted."""
    kept = components.sizes * cell >= step.minimum_size
    if step.largest_component and kept.any():
        largest = int(components.sizes.argmax())
        kept &= np.arange(len(kept)) == largest
    return kept


def find_box(volume: Ids, class_id: int) -> tuple[slice, slice, slice] | None:
    """The smallest slices of a volume (D, H, W) that hold all of a class, or None where there is none."""
    depth, height, width = volume.shape
    rows, columns = np.zeros(height, bool), np.zeros(width, bool)
    filled = []
    for index in range(depth):
        here = volume[index] == class_id
        if here.any():
            filled.append(index)
            rows |= here.any(axis=1)
            columns |= here.any(axis=0)
    if not filled:
        return None
    (row,), (column,) = rows.nonzero(), columns.nonzero()
    return (
        slice(filled[0], filled[-1] + 1),
        slice(int(row[0]), int(row[-1]) + 1),
        slice(int(column[0]), int(column[-1]) + 1),
    )


def take_class(volume: Ids, class_id: int, index: int) -> Mask:
    """Where slice `index` shows a class."""
    found: Mask = volume[index] == class_id
    return found


def find_holes(take: Callable[[int], Mask], depth: int, *, flat: bool) -> Components:
    """The components of everything else, of which the `enclosed` ones are holes."""
    return find_components(lambda index: ~take(index), depth, flat=flat)


def _clean_class(volume: Ids, class_id: int, step: ClassPostprocessing, cell: float, *, flat: bool) -> None:
    take = partial(take_class, volume, class_id)
    if step.minimum_size > 0 or step.largest_component:
        components = find_components(take, len(volume))
        removed = ~keep_components(components, step, cell)
        for index in range(len(volume)) if removed.any() else ():
            volume[index][components.select(index, removed)] = 0
    if step.fill_holes:
        holes = find_holes(take, len(volume), flat=flat)
        for index in range(len(volume)) if holes.enclosed.any() else ():
            plane = volume[index]
            plane[holes.select(index, holes.enclosed) & (plane == 0)] = class_id


def _refuse_other_kind(mask: Ids, settings: PostprocessingSettings, cell: float | None, name: str) -> None:
    kinds = {2: "images", 3: "volumes"}
    advice = "predict with --no-postprocessing, or choose again with `dinoseg evaluate`"
    if mask.ndim != settings.dimensions:
        chosen, given = kinds[settings.dimensions], kinds.get(mask.ndim, "arrays")
        raise DataError(f"{name}: the model's postprocessing was chosen on {chosen}, not {given}; {advice}")
    sized = any(step.minimum_size > 0 for step in settings.classes.values())
    if sized and settings.unit == "mm" and cell is None:
        raise DataError(
            f"{name} has no spacing, and the model's postprocessing counts in {settings.size_unit}; {advice}"
        )

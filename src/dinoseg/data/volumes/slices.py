"""Slices of a canonical volume, one at a time, and masks of slices stacked back into a volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.config.planes import Plane
from dinoseg.data.volumes.orientation import CANONICAL, find_orientation
from dinoseg.data.volumes.volume import Volume
from dinoseg.errors import UsageError

Context = Literal[1, 3]

PLANES: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}


def plane_axis(plane: Plane) -> int:
    """Which axis of (D, H, W) counts the slices of `plane`.

    Raises:
        UsageError: an unknown plane.
    """
    if plane not in PLANES:
        raise UsageError(f"plane {plane!r} is unknown; accepted are {', '.join(PLANES)}")
    return PLANES[plane]


def take_slice(volume: Volume, index: int, *, plane: Plane = "axial", context: Context = 1) -> NDArray[Any]:
    """Slice `index` of a canonical volume, upright.

    Args:
        volume: in canonical orientation.
        index: 0 is the topmost (axial), foremost (coronal) or rightmost (sagittal) slice.
        plane: direction of the cut.
        context: 3 puts the slice before and the one behind as channels around it; at the two ends the
            outermost slice is repeated.

    Returns:
        (C * context, H, W) of the volume's type: all channels of the first slice, then of the next.
        A view where context is 1.

    Raises:
        UsageError: not canonical, an unknown plane or context, or no such slice.
    """
    _check(volume, context)
    axis = plane_axis(plane) + 1
    count = volume.array.shape[axis]
    if not 0 <= index < count:
        raise UsageError(f"{volume.id} has no {plane} slice {index}; it has {count} (0 is the first)")
    reach = context // 2
    wanted = [min(max(index + step, 0), count - 1) for step in range(-reach, reach + 1)]
    slices = [volume.array[(slice(None),) * axis + (place,)] for place in wanted]  # (C, D, H, W) -> (C, H, W)
    return slices[0] if context == 1 else np.concatenate(slices)


def iter_slices(volume: Volume, *, plane: Plane = "axial", context: Context = 1) -> Iterator[NDArray[Any]]:
    """All slices of a canonical volume in order, each made when it is asked for; see `take_slice`.

    Raises:
        UsageError: not canonical, or an unknown plane or context.
    """
    _check(volume, context)
    count = volume.geometry.shape[plane_axis(plane)]
    return (take_slice(volume, index, plane=plane, context=context) for index in range(count))


def stack_slices(
    masks: Iterable[NDArray[Any]], *, plane: Plane = "axial", shape: tuple[int, int, int]
) -> NDArray[Any]:
    """Put masks of all slices back together: the inverse of `iter_slices`.

    Args:
        masks: one (H, W) for each slice in order; a generator is used up one by one.
        plane: direction of the cut.
        shape: (D, H, W) of the canonical volume.

    Returns:
        (D, H, W) of the type of the first mask.

    Raises:
        UsageError: a mask of another size or type, or too few or too many.
    """
    axis = plane_axis(plane)
    size = tuple(length for place, length in enumerate(shape) if place != axis)
    stacked: NDArray[Any] | None = None
    count = 0
    for count, mask in enumerate(masks, start=1):
        stacked = np.empty(shape, dtype=mask.dtype) if stacked is None else stacked
        if mask.shape != size or mask.dtype != stacked.dtype or count > shape[axis]:
            raise UsageError(
                f"mask {count} has {mask.shape} pixels of type {mask.dtype}; "
                f"accepted are {shape[axis]} of {size} and {stacked.dtype}"
            )
        stacked[(slice(None),) * axis + (count - 1,)] = mask
    if stacked is None or count != shape[axis]:
        raise UsageError(f"{count} masks for {shape[axis]} {plane} slices; give one for each")
    return stacked


def _check(volume: Volume, context: int) -> None:
    if context not in (1, 3):
        raise UsageError(f"context {context} is not accepted; give 1 (one slice) or 3 (with its neighbours)")
    if not find_orientation(volume.geometry).is_canonical:
        raise UsageError(
            f"{volume.id} runs towards {volume.geometry.directions}; slices are cut from {CANONICAL}: "
            "call to_canonical first"
        )

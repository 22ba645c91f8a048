"""`StoredVolume`: what every reader makes of a header, and how voxels get from there into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.geometry import Geometry
from dinoseg.data.volumes.streams import Block
from dinoseg.data.volumes.volume import MAX_ID, smallest_id_type
from dinoseg.errors import FileFormatError, LabelError, UsageError

_ROUNDING = 1e-3  # how far a label may be from a whole number once a header's slope was applied


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """A volume whose header was read and checked, and whose voxels were not touched yet.

    Attributes:
        path: the file.
        geometry: grid of (D, H, W).
        dtype: type of the numbers in the file.
        blocks: reads the chosen volumes of the fourth axis, slice by slice.
        count: length of the fourth axis (channels or times); 1 where there is none.
        slope: what a stored number is multiplied by.
        intercept: what is added then.
    """

    path: Path
    geometry: Geometry
    dtype: np.dtype[Any]
    blocks: Callable[[Sequence[int]], Iterator[Block]]
    count: int = 1
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers are not the values yet."""
        return self.slope != 1.0 or self.intercept != 0.0


def choose_volumes(
    stored: StoredVolume, *, channel: int | Sequence[int] | None, time: int | None
) -> tuple[int, ...]:
    """Which volumes of the fourth axis are wanted; a choice is only needed where there is one.

    Raises:
        FileFormatError: several volumes, and no choice.
        UsageError: channel and time at once, or an index that does not exist.
    """
    if channel is not None and time is not None:
        raise UsageError(f"{stored.path} has one axis to choose from; give channel or time, not both")
    if channel is None and time is None:
        if stored.count > 1:
            last = stored.count - 1
            raise FileFormatError(
                f"{stored.path} is 4D and holds {stored.count} volumes; "
                f"choose with channel (0 to {last}; one or several) or time (0 to {last})"
            )
        return (0,)
    wanted = channel if channel is not None else time
    chosen = (wanted,) if isinstance(wanted, int) else tuple(wanted or ())
    for index in chosen:
        if not 0 <= index < stored.count:
            name = "time" if channel is None else "channel"
            raise UsageError(f"{stored.path} has no {name} {index}; it holds {stored.count} (0 is the first)")
    if not chosen:
        raise UsageError(f"no channel of {stored.path} was chosen; give at least one of its {stored.count}")
    return chosen


def load_image(stored: StoredVolume, chosen: Sequence[int]) -> NDArray[Any]:
    """Voxels (C, D, H, W): integers as stored, everything else as float32.

    Numbers with a slope or intercept become float32 as well.
    """
    integer = stored.dtype.kind in "iu" and not stored.is_scaled
    dtype = stored.dtype.newbyteorder("=") if integer else np.dtype(np.float32)
    dtype = np.dtype(np.uint8) if stored.dtype.kind == "b" else dtype
    array = np.empty((len(chosen), *stored.geometry.shape), dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: refused later
        for block in stored.blocks(chosen):
            array[block.channel, block.start : block.start + len(block.array)] = _scale(block.array, stored)
    return array


def load_ids(stored: StoredVolume) -> NDArray[Any]:
    """Class ids (D, H, W) in uint8, or uint16 where they need it.

    Raises:
        LabelError: several volumes, fractions, or ids out of range.
    """
    if stored.count > 1:
        raise LabelError(
            f"{stored.path} is 4D and holds {stored.count} volumes; "
            "a label is one: export it as a single label map"
        )
    ids: NDArray[Any] = np.empty(stored.geometry.shape, dtype=np.uint8)
    for block in stored.blocks((0,)):
        plane = _whole_ids(_scale(block.array, stored), stored)
        wider = smallest_id_type(int(plane.max()))
        if wider.itemsize > ids.dtype.itemsize:
            ids = ids.astype(wider)
        ids[block.start : block.start + len(plane)] = plane
    return ids


def _scale(plane: NDArray[Any], stored: StoredVolume) -> NDArray[Any]:
    if not stored.is_scaled:
        return plane
    return np.asarray(plane.astype(np.float64) * stored.slope + stored.intercept)


def _whole_ids(plane: NDArray[Any], stored: StoredVolume) -> NDArray[Any]:
    if plane.dtype.kind == "f":
        plane = _round(plane, stored)
    lowest, highest = int(plane.min()), int(plane.max())
    wrong = lowest if lowest < 0 else highest
    if not 0 <= wrong <= MAX_ID:
        raise LabelError(f"{stored.path} holds the label {wrong}; accepted are 0 (background) to {MAX_ID}")
    return plane


def _round(plane: NDArray[Any], stored: StoredVolume) -> NDArray[Any]:
    rounded: NDArray[Any] = np.rint(plane)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(plane - rounded) <= (_ROUNDING if stored.is_scaled else 0.0))  # true for NaN as well
    if wrong.any():
        raise LabelError(
            f"{stored.path} holds the label {float(plane[wrong][0]):g}; labels are whole numbers "
            "(was it resampled by interpolation? use nearest neighbour)"
        )
    return rounded

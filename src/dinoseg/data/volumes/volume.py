"""`Volume` and `LabelVolume`: voxels with their place. Different types, so that no label is interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.geometry import Geometry, refuse_other_geometry
from dinoseg.errors import DataError, LabelError

MAX_ID = 65535


@dataclass(frozen=True, eq=False)
class Volume:
    """Intensities in the units of their file (Hounsfield units, MR signal, grey values).

    Attributes:
        array: (C, D, H, W), float32 or an integer type; kept as stored until a slice is asked for.
        geometry: the grid of (D, H, W).
        source: the file it came from.
        id: name of the case.

    Raises:
        DataError: another shape or type, or NaN or infinity among the voxels.
    """

    array: NDArray[Any]
    geometry: Geometry
    source: Path
    id: str

    def __post_init__(self) -> None:
        _check_grid(self.array, self.array.shape[1:], self.geometry, axes="(C, D, H, W)", name=self.id)
        if self.array.dtype != np.float32 and self.array.dtype.kind not in "iu":
            raise DataError(f"{self.id} has voxels of type {self.array.dtype}; accepted: float32, integers")
        if self.array.dtype.kind == "f" and not _is_finite(self.array):
            raise DataError(
                f"{self.source} holds NaN or infinite voxels; "
                "replace them, for example by the background's value"
            )

    @property
    def channels(self) -> int:
        """Length of the first axis."""
        return int(self.array.shape[0])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along (D, H, W) in `geometry.unit`."""
        return self.geometry.spacing

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), from (d, h, w, 1) to world mm."""
        return self.geometry.affine


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """Class ids; never interpolated, only looked up.

    Attributes:
        array: (D, H, W), an integer type, ids 0 (background) to 65535.
        geometry: the grid of (D, H, W).
        source: the file it came from, or that of the image it was predicted for.
        id: name of the case.

    Raises:
        LabelError: another shape or type, or ids out of range.
    """

    array: NDArray[Any]
    geometry: Geometry
    source: Path
    id: str

    def __post_init__(self) -> None:
        _check_grid(self.array, self.array.shape, self.geometry, axes="(D, H, W)", name=self.id)
        if self.array.dtype.kind not in "iu":
            raise LabelError(f"{self.id} has labels of type {self.array.dtype}; accepted are integers")
        refuse_ids_out_of_range(self.array, name=self.id)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along (D, H, W) in `geometry.unit`."""
        return self.geometry.spacing

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), from (d, h, w, 1) to world mm."""
        return self.geometry.affine


def check_same_geometry(image: Volume, label: LabelVolume) -> None:
    """Raise unless a label lies on the grid of its image, by the rule of `refuse_other_geometry`.

    Args:
        image: the image.
        label: its label, as read (before any reorientation of one of the two).

    Raises:
        LabelError: another shape, or corners too far apart; both geometries are in the message.
    """
    refuse_other_geometry(image.geometry, label.geometry, image_name=image.source, label_name=label.source)


def refuse_ids_out_of_range(ids: NDArray[Any], *, name: object) -> None:
    """Raise unless all ids are within 0..65535.

    Raises:
        LabelError: one is not.
    """
    lowest, highest = int(ids.min()), int(ids.max())
    wrong = lowest if lowest < 0 else highest
    if not 0 <= wrong <= MAX_ID:
        raise LabelError(f"{name} holds the label {wrong}; accepted are 0 (background) to {MAX_ID}")


def smallest_id_type(highest: int) -> np.dtype[Any]:
    """uint8 where it holds `highest`, otherwise uint16."""
    return np.dtype(np.uint8 if highest <= 255 else np.uint16)


def _check_grid(
    array: NDArray[Any], grid: tuple[int, ...], geometry: Geometry, *, axes: str, name: str
) -> None:
    if array.ndim != axes.count(",") + 1 or 0 in array.shape:
        raise DataError(f"{name} has the shape {array.shape}; accepted is {axes} without empty axes")
    if grid != geometry.shape:
        raise DataError(f"{name} has the shape {array.shape} {axes}, its geometry {geometry.shape}")


def _is_finite(array: NDArray[Any]) -> bool:
    # Both extremes carry a NaN along, and neither needs an array of flags.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(array.min()) and np.isfinite(array.max()))

"""Canonical orientation: slices inside are upright, whatever order and direction the file's axes have.

Canonical axes run towards inferior, posterior, left ("IPL"). So every plane shows what a radiologist
expects: axial with anterior at the top and the patient's right on the left, coronal with the head at
the top, sagittal with the head at the top and anterior on the left. Slice 0 is the topmost one.

Only whole axes are swapped and reversed, nothing is resampled. An oblique affine stays oblique.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.geometry import Geometry, assign_axes
from dinoseg.data.volumes.volume import LabelVolume, Volume
from dinoseg.errors import UsageError

CANONICAL = "IPL"

AnyVolume = TypeVar("AnyVolume", Volume, LabelVolume)

_WORLD_AXES = (2, 1, 0)  # D, H, W lie along z, y, x


@dataclass(frozen=True)
class Orientation:
    """How canonical arrays come from those of a file, and back.

    Attributes:
        axes: canonical axis i is the file's axis `axes[i]` of (D, H, W).
        flips: whether canonical axis i runs against that axis.
        given: geometry of the file.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    given: Geometry

    @property
    def is_canonical(self) -> bool:
        """Whether the file is canonical already."""
        return self.axes == (0, 1, 2) and not any(self.flips)

    def apply(self, volume: AnyVolume) -> AnyVolume:
        """Make `volume`, on the file's grid, canonical; the array becomes a view.

        Raises:
            UsageError: `volume` has another shape than the file.
        """
        if volume.geometry.shape != self.given.shape:
            raise UsageError(f"{volume.id} has {volume.geometry.shape} voxels, the file {self.given.shape}")
        array = _flip(_permute(volume.array, self.axes), self.flips)
        return replace(volume, array=array, geometry=self._turn(volume.geometry))

    def undo(self, volume: AnyVolume) -> AnyVolume:
        """Bring a canonical `volume` back onto the file's grid: the exact inverse of `apply`.

        Raises:
            UsageError: `volume` has not the canonical shape.
        """
        shape = tuple(self.given.shape[axis] for axis in self.axes)
        if volume.geometry.shape != shape:
            raise UsageError(f"{volume.id} has {volume.geometry.shape} voxels; canonical are {shape}")
        array = _permute(_flip(volume.array, self.flips), _inverse(self.axes))
        return replace(volume, array=array, geometry=self.given)

    def _turn(self, geometry: Geometry) -> Geometry:
        d, h, w = self.axes
        shape = (geometry.shape[d], geometry.shape[h], geometry.shape[w])
        affine = geometry.affine[:, [d, h, w, 3]]
        for axis, flipped in enumerate(self.flips):
            if flipped:
                affine[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
                affine[:3, axis] *= -1
        return Geometry(shape, affine, geometry.spacing_known, geometry.rounding)


@dataclass(frozen=True)
class Canonical(Generic[AnyVolume]):
    """A volume in canonical orientation.

    Attributes:
        volume: the volume, its array a view of the one given.
        orientation: the way back to the file's own axes.
    """

    volume: AnyVolume
    orientation: Orientation


def to_canonical(volume: AnyVolume) -> Canonical[AnyVolume]:
    """Swap and reverse axes so that they run towards inferior, posterior and left.

    The label of an image is turned with the image's orientation (`orientation.apply(label)`), so that
    the two cannot part ways where an axis lies at 45 degrees.
    """
    orientation = find_orientation(volume.geometry)
    return Canonical(orientation.apply(volume), orientation)


def find_orientation(geometry: Geometry) -> Orientation:
    """The swaps and reversals that make `geometry` canonical, as nearly as its angles allow."""
    cosines = geometry.affine[:3, :3] / np.array(geometry.spacing)
    along = assign_axes(cosines)
    d, h, w = (along.index(axis) for axis in _WORLD_AXES)
    # Canonical axes run against the world's: towards inferior, posterior, left.
    z, y, x = (bool(cosines[axis, column] > 0) for axis, column in zip(_WORLD_AXES, (d, h, w), strict=True))
    return Orientation((d, h, w), (z, y, x), geometry)


def _permute(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    leading = array.ndim - 3  # (C, D, H, W) or (D, H, W)
    turned: NDArray[Any] = array.transpose([*range(leading), *(axis + leading for axis in axes)])
    return turned


def _flip(array: NDArray[Any], flips: tuple[bool, ...]) -> NDArray[Any]:
    # The last three axes; channels before them stay.
    index: tuple[Any, ...] = (Ellipsis, *(slice(None, None, -1 if flipped else 1) for flipped in flips))
    turned: NDArray[Any] = array[index]
    return turned


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axes.index(axis) for axis in range(3))

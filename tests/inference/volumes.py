"""Small volumes whose answer is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

from dinoseg.config import RangeIntensity
from dinoseg.data.volumes import Geometry, Volume, upright_geometry

UNITS = RangeIntensity(minimum=0, maximum=1000)
SPACING = (3.0, 0.8, 1.1)


def make_volume(
    shape: tuple[int, int, int] = (5, 20, 24), *, seed: int = 0, spacing: tuple[float, ...] = SPACING
) -> Volume:
    """Noise below the middle of 0..1000, and a box above it that is nowhere symmetric; canonical."""
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 400, (1, *shape), dtype=np.int16)
    depth, height, width = shape
    array[0, : depth // 2 + 1, height // 4 : height // 2, width // 8 : width // 2] += 550
    geometry = upright_geometry(shape, spacing=spacing)
    affine = geometry.affine.copy()
    affine[:3, 3] = (31.0, -17.5, 205.25)
    return Volume(array, Geometry(shape, affine), Path("made.nii.gz"), "made")


def orientations(volume: Volume) -> Iterator[Volume]:
    """The same voxels in the same world with their axes in all 48 orders and directions."""
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            array = volume.array.transpose(0, *(axis + 1 for axis in axes))
            affine = volume.affine[:, [*axes, 3]].copy()
            for axis, flipped in enumerate(flips):
                if flipped:
                    affine[:3, 3] += affine[:3, axis] * (array.shape[axis + 1] - 1)
                    affine[:3, axis] *= -1
                    array = np.flip(array, axis + 1)
            geometry = Geometry(array.shape[1:], affine)
            yield Volume(np.ascontiguousarray(array), geometry, volume.source, volume.id)


def save_nifti(path: Path, volume: Volume) -> Path:
    """Write it by nibabel, not by our own code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = volume.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(volume.array[0].transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path

"""Connected regions of a mask: their areas, and the width of those that are thin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_SPECK_PIXELS = 24  # TG3K has a dot of 19 or 20 in every second mask
_SPECK_SHARE = 0.02
_THIN = 8  # times as long as wide
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Regions:
    """The connected regions (8-neighbours) of one class in one mask.

    Attributes:
        areas: (N,) in pixels, without specks.
        thin_area: pixels in regions at least 8 times as long as wide: vessels, fibres, rims.
        widths: (M,) in pixels along the middle of the thin regions; one for each pixel of their length.
        specks: number of regions of at most 24 pixels beside one that is more than 50 times as large:
            debris of drawing or thresholding, seldom a finding.
    """

    areas: NDArray[np.int64]
    thin_area: int
    widths: NDArray[np.float32]
    specks: int


@dataclass(frozen=True)
class MeasuredMask:
    """The regions of every class in one mask.

    Attributes:
        id: of its case, or what else tells a person which mask it is.
        size: height and width in pixels.
        regions: class id -> its connected regions.
    """

    id: str
    size: tuple[int, int]
    regions: Mapping[int, Regions] = field(repr=False)

    @property
    def pixel_count(self) -> int:
        """Pixels of the mask."""
        return self.size[0] * self.size[1]

    def scale(self, size: int) -> float:
        """Pixels at size × size for one pixel of the mask, along a side (geometric mean of both)."""
        return float(size / self.pixel_count**0.5)


def measure_mask(id_: str, ids: NDArray[np.uint8], classes: Sequence[int]) -> MeasuredMask:
    """Measure the regions of some classes in a mask of class ids (H, W); classes it lacks are left out."""
    height, width = ids.shape
    found = {class_id: ids == class_id for class_id in classes}
    regions = {class_id: measure_regions(shown) for class_id, shown in found.items() if shown.any()}
    return MeasuredMask(id_, (height, width), regions)


def count_patches(mask: MeasuredMask, class_id: int, *, size: int, patch: int) -> NDArray[np.float64]:
    """Areas of the regions of one class in patches, once the image is resized to size × size."""
    if class_id not in mask.regions:
        return np.zeros(0)
    return np.asarray(mask.regions[class_id].areas * (mask.scale(size) / patch) ** 2, dtype=np.float64)


def iterate_lesions(
    masks: Sequence[MeasuredMask], classes: Sequence[int], *, size: int, patch: int
) -> Iterator[tuple[str, float]]:
    """(Case id, area in patches) of every region of some classes."""
    for mask in masks:
        for class_id in classes:
            for area in count_patches(mask, class_id, size=size, patch=patch):
                yield mask.id, float(area)


def measure_regions(shown: NDArray[np.bool_]) -> Regions:
    """Measure the regions of one class (H, W).

    The width at a pixel of the middle line is twice its distance to the nearest pixel outside, less one;
    the middle line are the pixels that lie farther inside than their eight neighbours, or as far. A region's
    length is its area divided by its mean width.
    """
    from scipy import ndimage

    numbered, count = _number(shown)
    if not count:
        return Regions(np.zeros(0, np.int64), 0, np.zeros(0, np.float32), 0)
    areas = np.asarray(np.bincount(numbered.ravel(), minlength=count + 1), dtype=np.int64)
    areas[0] = 0
    specks = (areas <= _SPECK_PIXELS) & (areas < _SPECK_SHARE * areas.max())
    inside = np.asarray(ndimage.distance_transform_edt(np.pad(numbered > 0, 1)))[1:-1, 1:-1]
    ridge = (numbered > 0) & (inside == ndimage.maximum_filter(inside, size=3))
    widths = (2 * inside[ridge] - 1).astype(np.float32)
    owners = numbered[ridge]
    sums = np.bincount(owners, weights=widths, minlength=count + 1)
    mean = sums / np.maximum(np.bincount(owners, minlength=count + 1), 1)
    thin = (areas >= _THIN * np.maximum(mean, 1) ** 2) & ~specks
    return Regions(
        areas=areas[1:][~specks[1:]],
        thin_area=int(areas[thin].sum()),
        widths=widths[thin[owners]],
        specks=int(specks[1:].sum()),
    )


def measure_lesions(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Areas in pixels of the connected parts (8-neighbours) of a region (H, W)."""
    numbered, count = _number(region)
    return np.asarray(np.bincount(numbered.ravel(), minlength=count + 1)[1:], dtype=np.int64)


def _number(shown: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """The smallest box with everything that is shown, its regions numbered from 1, and how many there are."""
    from scipy import ndimage

    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not rows.size:
        return np.zeros((0, 0), np.int32), 0
    box = shown[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    numbered, count = ndimage.label(box, structure=_NEIGHBOURS)
    return np.asarray(numbered, dtype=np.int32), int(count)

"""Looking at every image and mask of a data set, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.images import read_case
from dinoseg.data.images import ImageInfo, image_info
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.errors import DataError, FileFormatError

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I", "uint16")
_SPECK_PIXELS = 16
_SPECK_SHARE = 0.02
_TWELVE_BITS = 0.0627  # 4095 / 65535, with a little room


@dataclass(frozen=True)
class CaseFacts:
    """What one readable case shows.

    Attributes:
        id: of the case.
        info: header of the image.
        pixels: class id -> number of pixels, without the background.
        lesions: class id -> areas in pixels of its connected regions (8-neighbours), without specks.
        specks: number of regions of at most 16 pixels beside one of the same class that is more
            than 50 times as large: debris of drawing or thresholding, seldom a finding.
        flat: every pixel of the image has one value.
        dark: 16 bits of which only the lowest 12 are used.
    """

    id: str
    info: ImageInfo
    pixels: Mapping[int, int]
    lesions: Mapping[int, NDArray[np.int64]] = field(repr=False)
    specks: int
    flat: bool
    dark: bool

    @property
    def pixel_count(self) -> int:
        """Pixels of the image."""
        return self.info.size[0] * self.info.size[1]


@dataclass(frozen=True)
class CaseFailure:
    """A case that cannot be used, and why."""

    id: str
    topic: str
    message: str


def inspect_case(files: CaseFiles, mapping: LabelMapping) -> CaseFacts | CaseFailure:
    """Decode image and mask completely and count what they show."""
    try:
        case = read_case(files, mapping)
        info = image_info(files.image)
    except FileFormatError as error:
        return CaseFailure(files.id, "unreadable", str(error))
    except DataError as error:
        return CaseFailure(files.id, "label", str(error))
    label = case.label or LabelMap(np.zeros(case.image.size, dtype=np.uint8))
    counts = np.bincount(label.array.ravel())
    present = [int(id_) for id_ in np.flatnonzero(counts) if id_]
    regions = {id_: measure_lesions(label.array == id_) for id_ in present}
    lesions = {id_: areas[~_are_specks(areas)] for id_, areas in regions.items()}
    return CaseFacts(
        id=files.id,
        info=info,
        pixels={id_: int(counts[id_]) for id_ in present},
        lesions=lesions,
        specks=sum(regions[id_].size - lesions[id_].size for id_ in present),
        flat=bool(case.image.array.min() == case.image.array.max()),
        dark=_is_dark(case.image, info),
    )


def measure_lesions(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Areas in pixels of the connected parts (8-neighbours) of a region (H, W)."""
    from scipy import ndimage

    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not rows.size:
        return np.zeros(0, dtype=np.int64)
    box = region[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    numbered, _ = ndimage.label(box, structure=np.ones((3, 3), dtype=bool))
    return np.asarray(np.bincount(numbered.ravel())[1:], dtype=np.int64)


def _are_specks(areas: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((areas <= _SPECK_PIXELS) & (areas < _SPECK_SHARE * areas.max(initial=0)))


def count_patches(facts: CaseFacts, class_id: int, *, size: int, patch: int) -> NDArray[np.float64]:
    """Areas of the lesions of one class in patches, once the image is resized to size × size."""
    areas: NDArray[Any] = facts.lesions.get(class_id, np.zeros(0, dtype=np.int64))
    return areas * (size * size / facts.pixel_count / patch**2)


def iterate_lesions(facts: list[CaseFacts], *, size: int, patch: int) -> Iterator[tuple[str, float]]:
    """(Case id, area in patches) of every lesion."""
    for case in facts:
        for class_id in case.lesions:
            for area in count_patches(case, class_id, size=size, patch=patch):
                yield case.id, float(area)


def _is_dark(image: Image, info: ImageInfo) -> bool:
    return info.mode in _SIXTEEN_BIT_MODES and 0 < float(image.array.max()) < _TWELVE_BITS

"""Looking at every image and mask of a data set, one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.images import read_case
from dinoseg.data.checks.regions import MeasuredMask, measure_mask
from dinoseg.data.checks.summaries import IntensityRange
from dinoseg.data.images import ImageInfo, image_info
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.errors import DataError, FileFormatError

_TWELVE_BITS = 0.0627  # 4095 / 65535, with a little room
_OUTLINE = 16
_FLOATS = ("F", "float16", "float32", "float64")


@dataclass(frozen=True)
class CaseFacts(MeasuredMask):
    """What one readable case shows, beside the regions of its mask.

    Attributes:
        info: header of the image.
        pixels: class id -> number of pixels, without the background and what is ignored.
        outline: (16, 16) share of foreground in each part of the mask, 0..1.
        lowest: intensity of the image, 0..1.
        highest: intensity of the image, 0..1.
    """

    info: ImageInfo
    pixels: Mapping[int, int]
    outline: NDArray[np.float32] = field(repr=False)
    lowest: float
    highest: float

    @property
    def flat(self) -> bool:
        """Whether every pixel of the image has one value."""
        return self.lowest == self.highest

    @property
    def dark(self) -> bool:
        """Whether only the lowest 12 of 16 bits are used."""
        wide = self.info.bits >= 16 and self.info.mode not in _FLOATS
        return wide and 0 < self.highest < _TWELVE_BITS


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
    present = sorted(mapping.find_classes(label.array))
    lowest, highest = _range(case.image)
    measured = measure_mask(files.id, label.array, present)
    return CaseFacts(
        id=files.id,
        size=info.size,
        regions=measured.regions,
        info=info,
        pixels={id_: int((label.array == id_).sum()) for id_ in present},
        outline=_outline(np.isin(label.array, present)),
        lowest=lowest,
        highest=highest,
    )


def summarise_intensities(facts: Sequence[CaseFacts]) -> tuple[IntensityRange, ...]:
    """The range of the images of each depth, most frequent first."""
    depths = Counter((case.info.bits, case.info.mode in _FLOATS) for case in facts)
    ranges = []
    for (bits, floats), count in depths.most_common():
        alike = [case for case in facts if (case.info.bits, case.info.mode in _FLOATS) == (bits, floats)]
        top = 1.0 if floats else float(2 ** min(bits, 16) - 1)
        low, high = min(case.lowest for case in alike) * top, max(case.highest for case in alike) * top
        ranges.append(
            IntensityRange(bits, count, low if floats else round(low), high if floats else round(high))
        )
    return tuple(ranges)


def _outline(shown: NDArray[np.bool_]) -> NDArray[np.float32]:
    picture = PillowImage.fromarray(shown.astype(np.float32))
    return np.asarray(picture.resize((_OUTLINE, _OUTLINE), PillowImage.Resampling.BOX), dtype=np.float32)


def _range(image: Image) -> tuple[float, float]:
    return float(image.array.min()), float(image.array.max())

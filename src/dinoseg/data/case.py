"""`Case`: one subject in memory. Images and label maps are different types on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IGNORE_ID = 255  # where a label says that nobody decided; counts in no loss and no score


@dataclass(frozen=True)
class Image:
    """Intensities.

    Attributes:
        array: (C, H, W) or (C, D, H, W), float32. A photograph or frame is in 0..1 with
            C = 1 (grey) or 3 (RGB); other modalities keep their own units.
    """

    array: NDArray[np.float32]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.array.shape[-2]), int(self.array.shape[-1])


@dataclass(frozen=True)
class LabelMap:
    """Class ids; never interpolated, only looked up.

    Attributes:
        array: (H, W) or (D, H, W), uint8 class ids, 0 = background; `IGNORE_ID` where the data set
            has a label for what nobody decided.
    """

    array: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.array.shape[-2]), int(self.array.shape[-1])


@dataclass(frozen=True)
class Case:
    """One subject: an image, and its label map on the same grid where there is one.

    Attributes:
        id: name of the case, unique in its data set.
        image: the intensities.
        label: the class ids, or None.
        spacing: size of a cell in mm in array order ((H, W) or (D, H, W)); None where the
            file does not say (photographs), and then distances are in pixels.
        affine: (4, 4) voxel-to-world matrix in mm, for volumes.
        group: patient or video; never split. Equals `id` where nothing is known.
        source: the image file.
    """

    id: str
    image: Image
    label: LabelMap | None
    group: str
    source: Path
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None

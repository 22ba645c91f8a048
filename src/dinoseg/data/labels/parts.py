"""Several masks of one image, joined as dataset.yaml says under `merge`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID
from dinoseg.errors import LabelError


@dataclass(frozen=True)
class Merge:
    """How the masks of one image are joined.

    Attributes:
        classes: ending of a mask's name -> the class that everything in it is; empty for the union of
            masks that use the same values.
    """

    classes: Mapping[str, int] = field(default_factory=dict)

    def ending_of(self, stem: str) -> str:
        """The longest declared ending of a name, whatever its case; "" where it has none."""
        found = [ending for ending in self.classes if stem.casefold().endswith(ending.casefold())]
        return max(found, key=len, default="")

    def order(self, stem: str) -> int:
        """Where a mask comes among those of its image: as listed; later ones lie on top."""
        return list(self.classes).index(self.ending_of(stem)) if self.ending_of(stem) else 0


@dataclass(frozen=True)
class MaskPart:
    """One of several masks; all its foreground is `class_id`, or keeps its own ids where that is None."""

    path: Path
    class_id: int | None = None


def join_parts(parts: Sequence[MaskPart], masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The class ids of all masks of one image.

    Where masks of different classes overlap, the later one counts. What one mask ignores and none shows
    as a class stays ignored.

    Args:
        parts: which masks.
        masks: the class ids of each, (H, W).

    Raises:
        LabelError: masks of different sizes, or that contradict each other without a class of their own.
    """
    joined = masks[0] if parts[0].class_id is None else _as_class(masks[0], parts[0].class_id)
    for part, mask in zip(parts[1:], masks[1:], strict=True):
        if mask.shape != joined.shape:
            sizes = " and ".join(f"{height}×{width}" for height, width in (joined.shape, mask.shape))
            raise LabelError(f"{part.path} and {parts[0].path}, masks of one image, have {sizes} pixels")
        ids = mask if part.class_id is None else _as_class(mask, part.class_id)
        shown = (ids > 0) & (ids != IGNORE_ID)
        other = shown & (joined > 0) & (joined != IGNORE_ID) & (joined != ids)
        if part.class_id is None and other.any():
            raise LabelError(
                f"{part.path} and {parts[0].path} are masks of one image and give {int(other.sum())} pixels "
                "different classes; correct one, or join them yourself"
            )
        joined = np.where(shown, ids, np.where(joined > 0, joined, ids))
    return joined


def _as_class(mask: NDArray[np.uint8], class_id: int) -> NDArray[np.uint8]:
    return np.where((mask > 0) & (mask != IGNORE_ID), np.uint8(class_id), mask)

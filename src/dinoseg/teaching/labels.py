"""Accepted labels as PNG files of class ids, one for each slice; never among the user's own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import LabelMap
from dinoseg.data.images import read_label, write_mask
from dinoseg.teaching.records import Accepted, Kept
from dinoseg.teaching.strokes import draw, lay_over
from dinoseg.teaching.subjects import Reader, Subject

FROM_PAGE, FROM_FOLDER = "page", "folder"
_KEPT_MASKS = 4  # of the folder, in memory


class Labels:
    """What was accepted, with what was painted on top of it since.

    Args:
        folder: of the files.
        reader: of the masks that lie in the user's folder.
    """

    def __init__(self, folder: Path, reader: Reader) -> None:
        self._folder = folder
        self._reader = reader
        self._masks: dict[str, NDArray[np.uint8]] = {}

    def write(self, subject: Subject, index: int, ids: NDArray[np.uint8]) -> None:
        """Keep the label of a slice, (H, W) class ids; it has its name when it is complete."""
        write_mask(self._path(subject, index), LabelMap(ids), overwrite=True)

    def read(
        self, subject: Subject, index: int, accepted: Accepted, strokes: Sequence[Kept]
    ) -> NDArray[np.uint8]:
        """The label of a slice, (H, W) class ids.

        Args:
            subject: image or volume.
            index: of the slice.
            accepted: what is known of the label.
            strokes: of the slice; those that came later lie on top.
        """
        below = (
            self._read_mask(subject)[index] if accepted.origin == FROM_FOLDER else self._read(subject, index)
        )
        later = [kept.stroke for kept in strokes if kept.id > accepted.after]
        return lay_over(draw(later, subject.size), below) if later else below

    def _read(self, subject: Subject, index: int) -> NDArray[np.uint8]:
        return read_label(self._path(subject, index)).astype(np.uint8)

    def _read_mask(self, subject: Subject) -> NDArray[np.uint8]:
        """(D, H, W), as the user has it."""
        mask = self._masks.pop(subject.id, None)
        mask = self._reader.mask(subject) if mask is None else mask
        self._masks[subject.id] = mask
        while len(self._masks) > _KEPT_MASKS:
            self._masks.pop(next(iter(self._masks)), None)
        return mask

    def _path(self, subject: Subject, index: int) -> Path:
        return self._folder / subject.id / f"{index:04d}.png"

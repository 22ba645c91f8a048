"""`LabelMapping`: how the values that people store in masks become class ids.

How a mapping is found where nothing is declared: see `inference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID, LabelMap
from dinoseg.data.images import PaletteReading, read_label
from dinoseg.data.labels.histograms import count_values, flatten_mask, is_colour
from dinoseg.data.labels.parts import MaskPart, join_parts
from dinoseg.data.volumes import LabelVolume, volume_suffix
from dinoseg.data.volumes import read_label as read_label_volume
from dinoseg.data.volumes.linked import LinkedVolume
from dinoseg.errors import LabelError

MappingKind = Literal["declared", "threshold", "colours", "binary", "ids", "sorted", "unknown"]


@dataclass(frozen=True)
class LabelMapping:
    """How the values of masks become class ids.

    Attributes:
        table: raw value -> class id; colours are 0xRRGGBB. Empty for a threshold and for "unknown".
        kind: how the mapping was found, see `inference`. "unknown" maps nothing: the masks have not
            been scanned.
        colour: the raw values are colours.
        threshold: the lowest grey value of class 1, where a threshold decides instead of the table.
        note: one line that a person should see, or "".
        ignore: the raw values of what nobody decided, which become `IGNORE_ID`; None where there are none.
            They stand in `table` as well.
        palette: how palette files are read.
        parts: the first mask of an image -> all its masks, where several are joined.
        stored: masks were drawn on the pixels as stored, before the EXIF orientation of their image.
    """

    table: Mapping[int, int] = field(default_factory=dict)
    kind: MappingKind = "unknown"
    colour: bool = False
    threshold: int | None = None
    note: str = ""
    ignore: tuple[int, ...] | None = None
    palette: PaletteReading = "indices"
    parts: Mapping[Path, tuple[MaskPart, ...]] = field(default_factory=dict, repr=False)
    stored: bool = False

    @property
    def class_count(self) -> int:
        """Number of classes with the background; every id is below it."""
        ids = [id_ for raw, id_ in self.table.items() if not self.ignores(raw)]
        joined = [part.class_id or 0 for parts in self.parts.values() for part in parts]
        return max((*(joined if any(joined) else ids), 1)) + 1

    def ignores(self, value: int) -> bool:
        """Whether a raw value is that of what nobody decided."""
        return self.ignore is not None and value in self.ignore

    def read(self, path: Path | str, series: LinkedVolume | None = None) -> NDArray[np.uint8]:
        """Class ids of a mask (H, W), or of a label volume (D, H, W) in the orientation of its file.

        Of an image with several masks, `path` is the first and the result is all of them joined.

        Args:
            path: the mask.
            series: that it was drawn on, where it is a DICOM SEG or RTSTRUCT.

        Raises:
            FileFormatError: it cannot be read.
            LabelError: a value without a class, or masks of one image that cannot be joined.
        """
        path = Path(path)
        if series is not None or volume_suffix(path):
            raw = read_label_volume(path) if series is None else series.read_label(path)
            ids: NDArray[np.uint8] = self.apply_volume(raw).array
            return ids
        parts = self.parts.get(path)
        if parts is None:
            return self._read_one(path)
        return join_parts(parts, [self._read_one(part.path) for part in parts])

    def _read_one(self, path: Path) -> NDArray[np.uint8]:
        return self.apply(read_label(path, palette=self.palette), name=str(path)).array

    def apply_volume(self, raw: LabelVolume) -> LabelVolume:
        """Turn a label volume as it is stored into class ids, uint8.

        Raises:
            LabelError: a value that the mapping does not know.
        """
        if self.threshold is not None:
            return replace(raw, array=(raw.array >= self.threshold).astype(np.uint8))
        self._require_table(str(raw.source))
        ids = np.empty(raw.array.shape, dtype=np.uint8)
        for target, plane in zip(ids, raw.array, strict=True):  # NumPy's indices take eight bytes a voxel
            target[:] = self._look_up(plane, str(raw.source))
        return replace(raw, array=ids)

    def find_classes(self, ids: NDArray[np.uint8]) -> frozenset[int]:
        """The foreground classes that a label with these ids shows."""
        found = frozenset(count_values(ids)) - {0}
        return found if self.ignore is None else found - {IGNORE_ID}

    def is_foreground(self, value: int) -> bool:
        """Whether a raw value is that of a class besides the background."""
        if self.threshold is not None:
            return value >= self.threshold
        return not self.ignores(value) and self.table.get(value, 0) > 0

    def apply(self, raw: NDArray[Any], *, name: str = "the mask") -> LabelMap:
        """Turn a mask as `read_label` returns it into class ids (H, W).

        Raises:
            LabelError: a value that the mapping does not know; `name` says where.
        """
        if self.threshold is not None:
            grey = flatten_mask(raw, colour=False, name=name)
            return LabelMap((grey >= self.threshold).astype(np.uint8))
        self._require_table(name)
        if is_colour(raw) and not self.colour:
            raise LabelError(f"{name} is in colour, the mapping is for grey values ({self.describe()})")
        return LabelMap(self._look_up(flatten_mask(raw, colour=self.colour, name=name), name))

    def describe(self) -> str:
        """The mapping in words, e.g. "0 -> 0, 255 -> 1"."""
        if self.threshold is not None:
            return f"below {self.threshold} -> 0, {self.threshold} and above -> 1"
        if self.kind == "binary":
            return "0 -> 0, anything else -> 1"
        pairs = [
            f"{format_value(raw, colour=self.colour)} -> {'ignored' if self.ignores(raw) else id_}"
            for raw, id_ in sorted(self.table.items())
        ]
        return ", ".join(pairs) or "not known"

    def _require_table(self, name: str) -> None:
        if not self.table:
            raise LabelError(
                f"{name}: what the mask values mean is not known; open the data set with scan_labels"
            )

    def _look_up(self, values: NDArray[Any], name: str) -> NDArray[np.uint8]:
        keys = np.array(sorted(self.table), dtype=np.int64)
        ids = np.array([self.table[int(key)] for key in keys], dtype=np.uint8)
        unknown = sorted(set(count_values(values)) - set(self.table))
        if unknown:
            raise LabelError(
                f"{name} holds {format_values(unknown, colour=self.colour)} without a class "
                f"({self.describe()}); correct the mask, or declare the value in dataset.yaml"
            )
        if values.dtype.itemsize > 2:
            return ids[np.searchsorted(keys, values)]
        table = np.zeros(max(int(keys[-1]), 65535) + 1, dtype=np.uint8)
        table[keys] = ids
        return np.take(table, values)


def keep_ids(count: int, *, kind: MappingKind = "ids") -> LabelMapping:
    """The mapping under which the values 0 to `count` - 1 are class ids."""
    return LabelMapping({value: value for value in range(count)}, kind)


def name_classes(count: int) -> dict[int, str]:
    """Names where none are declared: background and foreground, or class_1, class_2 and so on."""
    if count == 2:
        return {0: "background", 1: "foreground"}
    return {0: "background", **{id_: f"class_{id_}" for id_ in range(1, count)}}


def format_values(values: Sequence[int], *, colour: bool) -> str:
    """Values in words: "the value 7", or "37 values (0, 7, 14, …, 252)"."""
    if len(values) == 1:
        return f"the value {format_value(values[0], colour=colour)}"
    shown = [format_value(value, colour=colour) for value in values]
    listed = ", ".join(shown if len(shown) <= 8 else [*shown[:5], "…", shown[-1]])
    return f"{len(values)} values ({listed})"


def format_value(value: int, *, colour: bool) -> str:
    """A grey value as a number, a colour as #rrggbb."""
    return f"#{value:06x}" if colour else str(value)

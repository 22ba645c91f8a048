"""From the values that people store in masks to class ids, without guessing silently.

The values of all masks decide together, in this order:

    declared in dataset.yaml                      as declared
    JPEG masks, nearly all pixels near 0 or 255   128 and above is class 1 ("threshold", with a note)
    colours, up to 16                             black is 0, the others sorted by red, green, blue
    0 and one of 1, 255, 65535 in each file       anything but 0 is class 1 ("binary")
    0..K-1 without a hole (K up to 64)            the values are the class ids ("ids")
    up to 16 other values                         0 is 0, the others sorted ("sorted", with a note)

Anything else is a `LabelError` that shows the values and the lines for dataset.yaml.
0 (or black) is always the background, even where no mask holds it.

The values of label volumes are class ids already: they are kept ("ids", up to 63, holes allowed), but
for 0 and 255, which are "binary" as above. What nobody decided ("ignore") is declared, never inferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID, LabelMap
from dinoseg.data.images import read_label
from dinoseg.data.labels.histograms import (
    LabelHistogram,
    MaskValues,
    count_values,
    flatten_mask,
    is_colour,
    scan_labels,
)
from dinoseg.data.volumes import LabelVolume, volume_suffix
from dinoseg.data.volumes import read_label as read_label_volume
from dinoseg.errors import LabelError

__all__ = [
    "LabelHistogram",
    "LabelMapping",
    "format_value",
    "format_values",
    "infer_mapping",
    "keep_ids",
    "name_classes",
    "scan_labels",
]

MappingKind = Literal["declared", "threshold", "colours", "binary", "ids", "sorted", "unknown"]

MAX_SORTED_VALUES = 16
MAX_INFERRED_IDS = 64
_BINARY_VALUES = frozenset({0, 1, 255, 65535})
_JPEG_NOISE = 32


@dataclass(frozen=True)
class LabelMapping:
    """How the values of masks become class ids.

    Attributes:
        table: raw value -> class id; colours are 0xRRGGBB. Empty for a threshold and for "unknown".
        kind: how the mapping was found, see the head of this file. "unknown" maps nothing: the
            masks have not been scanned.
        colour: the raw values are colours.
        threshold: the lowest grey value of class 1, where a threshold decides instead of the table.
        note: one line that a person should see, or "".
        ignore: the raw value of what nobody decided, which becomes `IGNORE_ID`; None where there is none.
            It stands in `table` as well.
    """

    table: Mapping[int, int] = field(default_factory=dict)
    kind: MappingKind = "unknown"
    colour: bool = False
    threshold: int | None = None
    note: str = ""
    ignore: int | None = None

    @property
    def class_count(self) -> int:
        """Number of classes with the background; every id is below it."""
        return max((*(id_ for raw, id_ in self.table.items() if raw != self.ignore), 1)) + 1

    def read(self, path: Path | str) -> NDArray[np.uint8]:
        """Class ids of a mask (H, W), or of a label volume (D, H, W) in the orientation of its file.

        Raises:
            FileFormatError: it cannot be read.
            LabelError: a value without a class.
        """
        path = Path(path)
        if volume_suffix(path):
            ids: NDArray[np.uint8] = self.apply_volume(read_label_volume(path)).array
            return ids
        return self.apply(read_label(path), name=str(path)).array

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
        return value != self.ignore and self.table.get(value, 0) > 0

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
            f"{format_value(raw, colour=self.colour)} -> {'ignored' if raw == self.ignore else id_}"
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


def infer_mapping(histogram: LabelHistogram, *, class_count: int | None = None) -> LabelMapping:
    """Decide how mask values become class ids, by the table at the head of this file.

    Args:
        histogram: the values of all masks.
        class_count: number of declared classes; then values below it are ids even where some
            are absent.

    Raises:
        LabelError: the values allow no safe reading; it shows them and the lines for dataset.yaml.
    """
    values = sorted(histogram.pixels)
    if not values:
        raise LabelError("there is no mask to read classes from")
    if histogram.lossy:
        return _map_lossy(histogram)
    if values[0] < 0:
        raise LabelError(_explain_values(histogram))
    if histogram.volumes and not _is_white(histogram):
        return _keep_volume_ids(histogram)
    if not histogram.colour and class_count in (None, 2) and _is_binary(histogram):
        return LabelMapping({value: int(value > 0) for value in sorted(_BINARY_VALUES)}, "binary")
    if not histogram.colour and _are_ids(values, class_count):
        return keep_ids(max(values[-1] + 1, class_count or 0))
    if len(values) <= MAX_SORTED_VALUES:
        return _map_sorted(values, colour=histogram.colour)
    raise LabelError(_explain_values(histogram))


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


def _map_lossy(histogram: LabelHistogram) -> LabelMapping:
    lossy = [mask for mask in histogram.masks if mask.lossy]
    share = _share_between(lossy)
    masks = f"{len(lossy)} masks are JPEG (e.g. {lossy[0].path})"
    if share > 0.05:
        raise LabelError(
            f"{masks} and {share:.0%} of their pixels are neither near 0 nor near 255; "
            "JPEG cannot hold classes: save the masks as PNG"
        )
    exact = [mask for mask in histogram.masks if not mask.lossy]
    if any(value not in (0, 255) for mask in exact for value in mask.counts(colour=False)):
        raise LabelError(f"{masks} and others hold values besides 0 and 255; save all masks as PNG")
    note = f"{masks}: values from 128 up are taken as class 1; PNG would be exact"
    return LabelMapping(kind="threshold", threshold=128, note=note)


def _share_between(masks: Sequence[MaskValues]) -> float:
    counts = [item for mask in masks for item in mask.counts(colour=False).items()]
    between = sum(count for value, count in counts if _JPEG_NOISE < value < 255 - _JPEG_NOISE)
    return between / max(sum(count for _, count in counts), 1)


def _map_sorted(values: list[int], *, colour: bool) -> LabelMapping:
    table = {0: 0, **{value: id_ for id_, value in enumerate([v for v in values if v], start=1)}}
    kind: MappingKind = "colours" if colour else "sorted"
    described = LabelMapping(table, kind, colour=colour).describe()
    note = f"mask values become classes in sorted order: {described}; declare others in dataset.yaml"
    return LabelMapping(table, kind, colour=colour, note=note)


def _is_binary(histogram: LabelHistogram) -> bool:
    # 1 and 255 in one file are two things (often a class and "ignore"); in two files they are one.
    return set(histogram.pixels) <= _BINARY_VALUES and all(
        len(set(mask.pixels) - {0}) <= 1 for mask in histogram.masks
    )


def _is_white(histogram: LabelHistogram) -> bool:
    return set(histogram.pixels) == {0, 255}


def _keep_volume_ids(histogram: LabelHistogram) -> LabelMapping:
    values = sorted(histogram.pixels)
    if values[-1] >= MAX_INFERRED_IDS:
        raise LabelError(_explain_values(histogram))
    mapping = keep_ids(max(values[-1] + 1, 2))
    absent = sorted(set(mapping.table) - set(values) - {0})
    if not absent:
        return mapping
    note = f"no label holds {format_values(absent, colour=False)}; every value is taken as its class id"
    return replace(mapping, note=f"{note}: declare the classes in dataset.yaml if that is wrong")


def _are_ids(values: list[int], class_count: int | None) -> bool:
    if class_count is not None and values[-1] < class_count:
        return True
    contiguous = set(values) | {0} == set(range(values[-1] + 1))
    return contiguous and values[-1] < MAX_INFERRED_IDS


def _explain_values(histogram: LabelHistogram) -> str:
    values = sorted(histogram.pixels)
    example = max(histogram.masks, key=lambda mask: len(mask.pixels)).path
    shown = format_values(values, colour=histogram.colour)
    last = format_value(values[-1], colour=histogram.colour)
    last = f'"{last}"' if histogram.colour else last
    return (
        f"the masks hold {shown}, e.g. {example}; are they interpolated or pictures? Save class ids as "
        f"PNG, or declare in dataset.yaml every value, `values: {{0: 0, {last}: 1}}`, or `threshold: 128`"
    )

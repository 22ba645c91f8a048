"""From the values that people store in masks to class ids, without guessing silently.

The values of all masks decide together, in this order:

    declared in dataset.yaml                      as declared
    JPEG masks, nearly all pixels near 0 or 255   128 and above is class 1 ("threshold", with a note)
    colours, up to 16                             black is 0, the others sorted by red, green, blue
    0 and one of 1, 255, 65535 in each file       anything but 0 is class 1 ("binary")
    0..K-1 without a hole (K up to 64)            the values are the class ids ("ids")
    0, 255 and what looks like noise of the two   a `LabelError` that proposes a threshold
    up to 16 other values                         0 is 0, the others sorted ("sorted", with a note)

Anything else is a `LabelError` that shows the values and the lines for dataset.yaml.
0 (or black) is always the background, even where no mask holds it.

The values of label volumes are class ids already: they are kept ("ids", up to 63, holes allowed), but
for 0 and 255, which are "binary" as above. What nobody decided ("ignore") is declared, never inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dinoseg.data.labels.histograms import (
    LabelHistogram,
    MaskValues,
    merge_values,
    pack_values,
    read_values,
    unpack_values,
)
from dinoseg.data.labels.mapping import LabelMapping, MappingKind, format_value, format_values, keep_ids
from dinoseg.data.labels.noise import find_like_colours, is_nearly_binary
from dinoseg.data.labels.palettes import choose_palette_reading
from dinoseg.data.memory import FileMemory
from dinoseg.data.volumes import volume_suffix
from dinoseg.errors import LabelError
from dinoseg.progress import Progress, Silent

MAX_SORTED_VALUES = 16
MAX_INFERRED_IDS = 64
_BINARY_VALUES = frozenset({0, 1, 255, 65535})
_JPEG_NOISE = 32


def scan_labels(paths: Sequence[Path], progress: Progress | None = None) -> LabelHistogram:
    """Count the values of all masks of a data set for which nothing is declared.

    Raises:
        FileFormatError: a mask cannot be read.
        LabelError: a label volume with values that are no ids, or palettes that allow no safe reading.
    """
    masks = read_masks(paths, progress)
    return merge_values(masks, choose_palette_reading(masks))


def read_masks(paths: Sequence[Path], progress: Progress | None = None) -> list[MaskValues]:
    """Count the values of each mask.

    Raises:
        FileFormatError: a mask cannot be read.
        LabelError: a label volume with values that are no ids.
    """
    steps = (progress or Silent()).track(paths, total=len(paths), label="Reading masks")
    with FileMemory("mask values 2", read_values, pack=pack_values, unpack=unpack_values) as memory:
        # Of a label volume the file may be a header, which stays the same when the voxels change.
        return [read_values(path) if volume_suffix(path) else memory.find(path) for path in steps]


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
    return replace(_infer(histogram, values, class_count), palette=histogram.palette)


def _infer(histogram: LabelHistogram, values: list[int], class_count: int | None) -> LabelMapping:
    if histogram.lossy:
        return _map_lossy(histogram)
    if values[0] < 0:
        example = next(mask.path for mask in histogram.masks if min(mask.pixels) < 0)
        raise LabelError(
            f"{example} holds {values[0]}; mask values are 0 and above: save what nobody decided as 255, "
            "say, and declare `ignore: 255` in dataset.yaml"
        )
    if histogram.volumes and not _is_white(histogram):
        return _keep_volume_ids(histogram)
    if not histogram.colour and class_count in (None, 2) and _is_binary(histogram):
        return LabelMapping({value: int(value > 0) for value in sorted(_BINARY_VALUES)}, "binary")
    if not histogram.colour and _are_ids(values, class_count):
        return keep_ids(max(values[-1] + 1, class_count or 0))
    if is_nearly_binary(histogram):
        raise LabelError(_explain_noise(histogram))
    if len(values) <= MAX_SORTED_VALUES:
        return _map_sorted(values, colour=histogram.colour)
    raise LabelError(_explain_values(histogram))


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
    like = find_like_colours(values) if colour else None
    if like:
        raise LabelError(
            f"the masks hold the colours #{like[0]:06x} and #{like[1]:06x}, which differ too little to be "
            'two classes; declare every colour in dataset.yaml, `values: {"#000000": 0, "#ff0000": 1}`'
        )
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


def _explain_noise(histogram: LabelHistogram) -> str:
    values = sorted(histogram.pixels)
    example = max(histogram.masks, key=lambda mask: len(mask.pixels)).path
    middle = 32768 if values[-1] > 255 and not histogram.colour else 128
    return (
        f"the masks hold {format_values(values, colour=histogram.colour)}, e.g. {example}: black and white "
        f"with noise, as JPEG or scaling leave it; write `threshold: {middle}` into dataset.yaml, or declare "
        "every value under `values` if they are classes"
    )


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

"""Which values the masks of a data set hold, counted per mask and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.images import image_info, read_label
from dinoseg.data.memory import FileMemory
from dinoseg.data.volumes import read_label as read_label_volume
from dinoseg.data.volumes import volume_suffix
from dinoseg.data.volumes.linked import LinkedVolume
from dinoseg.errors import LabelError
from dinoseg.progress import Progress, Silent

_GREY = 0x010101


@dataclass(frozen=True)
class MaskValues:
    """The distinct values of one mask.

    Attributes:
        path: the file.
        pixels: raw value -> number of pixels; colours are 0xRRGGBB.
        colour: the three channels differ somewhere.
        lossy: a JPEG, whose values are only near what was drawn.
        volume: a label volume.
    """

    path: Path
    pixels: Mapping[int, int]
    colour: bool
    lossy: bool
    volume: bool = False

    def counts(self, *, colour: bool) -> Mapping[int, int]:
        """The counts with the values as colours (a grey g is 0xgggggg) or as grey (the green of a colour)."""
        if colour and not self.colour:
            return {value * _GREY: count for value, count in self.pixels.items()}
        if colour or not self.colour:
            return self.pixels
        counts: dict[int, int] = {}
        for value, count in self.pixels.items():
            green = value >> 8 & 0xFF
            counts[green] = counts.get(green, 0) + count
        return counts


@dataclass(frozen=True)
class LabelHistogram:
    """The values of all masks together.

    Attributes:
        pixels: raw value -> number of pixels in all masks; 0xRRGGBB where `colour`.
        masks: the values of each mask, in the order given.
        colour: at least one mask is in colour.
    """

    pixels: Mapping[int, int]
    masks: tuple[MaskValues, ...] = field(repr=False)
    colour: bool

    @property
    def lossy(self) -> tuple[Path, ...]:
        """The masks that are JPEG files."""
        return tuple(mask.path for mask in self.masks if mask.lossy)

    @property
    def volumes(self) -> bool:
        """Whether the masks are label volumes."""
        return any(mask.volume for mask in self.masks)


def scan_labels(paths: Sequence[Path], progress: Progress | None = None) -> LabelHistogram:
    """Count the values of all masks.

    Raises:
        FileFormatError: a mask cannot be read.
        LabelError: a label volume with values that are no ids.
    """
    steps = (progress or Silent()).track(paths, total=len(paths), label="Reading masks")
    with FileMemory("mask values 1", read_values, pack=_pack, unpack=_unpack) as memory:
        # Of a label volume the file may be a header, which stays the same when the voxels change.
        found = [read_values(path) if volume_suffix(path) else memory.find(path) for path in steps]
    return merge_values(found)


def read_values(path: Path, series: LinkedVolume | None = None) -> MaskValues:
    """Count the values of one mask; of a DICOM label on `series`, its class ids.

    Raises:
        FileFormatError: it cannot be read.
        LabelError: a label volume with values that are no ids.
    """
    if series is not None or volume_suffix(path):
        raw_label = read_label_volume(path) if series is None else series.read_label(path)
        counts = count_values(raw_label.array)
        return MaskValues(path, counts, colour=False, lossy=False, volume=True)
    raw = read_label(path)
    colour = is_colour(raw)
    counts = count_values(flatten_mask(raw, colour=colour, name=str(path)))
    return MaskValues(path, counts, colour, image_info(path).format == "JPEG")


def merge_values(masks: Sequence[MaskValues]) -> LabelHistogram:
    """Add up the values of all masks."""
    # A JPEG in colour is a grey mask whose chroma is off by rounding; it is thresholded as grey.
    colour = any(mask.colour and not mask.lossy for mask in masks)
    total: dict[int, int] = {}
    for mask in masks:
        for value, count in mask.counts(colour=colour).items():
            total[value] = total.get(value, 0) + count
    return LabelHistogram(dict(sorted(total.items())), tuple(masks), colour)


def _pack(values: MaskValues) -> list[Any]:
    return [list(values.pixels.items()), values.colour, values.lossy]


def _unpack(path: Path, packed: Any) -> MaskValues:
    pixels, colour, lossy = packed
    return MaskValues(path, {int(value): int(count) for value, count in pixels}, bool(colour), bool(lossy))


def is_colour(raw: NDArray[Any]) -> bool:
    """Whether the three channels of a mask differ anywhere."""
    return raw.ndim == 3 and not bool(
        (raw[..., 0] == raw[..., 1]).all() and (raw[..., 0] == raw[..., 2]).all()
    )


def flatten_mask(raw: NDArray[Any], *, colour: bool, name: str) -> NDArray[Any]:
    """One integer per pixel: the grey value (of green, for a colour), or 0xRRGGBB.

    Args:
        raw: (H, W) or (H, W, 3) integers.
        colour: give 0xRRGGBB, for grey masks too.
        name: the file, for the message.

    Returns:
        (H, W) integers.
    """
    if not colour:
        return raw[..., 1] if raw.ndim == 3 else raw
    if raw.max(initial=0) > 255:
        raise LabelError(f"{name} holds values above 255 in a set of masks in colour; save it with 8 bits")
    wide = raw.astype(np.int64)
    if wide.ndim == 2:
        return wide * _GREY
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]  # (H, W, 3) -> (H, W)


def count_values(values: NDArray[Any]) -> dict[int, int]:
    """Value -> number of pixels, sorted by value."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        # Plane by plane: bincount makes eight bytes of every value.
        planes = values if values.ndim > 2 else values[None]
        counts = np.zeros(1 << 8 * values.dtype.itemsize, dtype=np.int64)
        for plane in planes:
            found = np.bincount(plane.ravel())
            counts[: found.size] += found
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    distinct, numbers = np.unique(values, return_counts=True)
    return dict(zip(distinct.tolist(), numbers.tolist(), strict=True))

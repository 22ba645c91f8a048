"""Which values the masks of a data set hold, counted per mask and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.images import PaletteReading, image_info, read_label, read_palette
from dinoseg.data.volumes import read_label as read_label_volume
from dinoseg.data.volumes import volume_suffix
from dinoseg.data.volumes.linked import LinkedVolume
from dinoseg.errors import LabelError

_GREY = 0x010101
_MOST_EXAMINED = 64  # masks of more values are no classes anyway


@dataclass(frozen=True)
class MaskValues:
    """The distinct values of one mask.

    Attributes:
        path: the file.
        pixels: raw value -> number of pixels; colours are 0xRRGGBB, palette files give indices.
        colour: the three channels differ somewhere.
        lossy: compressed as JPEG, so that values are only near what was drawn.
        volume: a label volume.
        palette: index -> 0xRRGGBB for the indices of a palette file, None where the palette ends before
            it; None for other files.
        solid: the values that are no noise: those of a grey mask that holds two, or that fill a square
            of 3×3 pixels somewhere (noise and the rims of scaled masks don't), in one of up to 64.
    """

    path: Path
    pixels: Mapping[int, int]
    colour: bool
    lossy: bool
    volume: bool = False
    palette: Mapping[int, int | None] | None = None
    solid: frozenset[int] = frozenset()

    def in_colours(self) -> MaskValues:
        """The values of a palette file as the colours of its palette, grey where all of them are.

        Raises:
            LabelError: an index has no colour.
        """
        if self.palette is None:
            return self
        colours: dict[int, int] = {}
        for index, count in self.pixels.items():
            colour = self.palette.get(index, 0)
            if colour is None:
                raise LabelError(f"{self.path}: the palette index {index} has no colour; save the mask again")
            colours[colour] = colours.get(colour, 0) + count
        if any(colour % _GREY for colour in colours):
            pixels = dict(sorted(colours.items()))
            return replace(self, pixels=pixels, colour=True, palette=None, solid=frozenset())
        solid = frozenset((self.palette[index] or 0) & 0xFF for index in self.solid)
        grey = {colour & 0xFF: count for colour, count in sorted(colours.items())}
        return replace(self, pixels=grey, palette=None, solid=solid)

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
        palette: how palette files are read.
    """

    pixels: Mapping[int, int]
    masks: tuple[MaskValues, ...] = field(repr=False)
    colour: bool
    palette: PaletteReading = "indices"

    @property
    def lossy(self) -> tuple[Path, ...]:
        """The masks that are JPEG files."""
        return tuple(mask.path for mask in self.masks if mask.lossy)

    @property
    def volumes(self) -> bool:
        """Whether the masks are label volumes."""
        return any(mask.volume for mask in self.masks)


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
    values = flatten_mask(raw, colour=colour, name=str(path))
    counts = count_values(values)
    info = image_info(path)
    return MaskValues(
        path,
        counts,
        colour,
        info.lossy,
        palette=read_palette(path) if info.mode == "P" else None,
        solid=frozenset() if colour else _find_classes(values, counts),
    )


def _find_classes(values: NDArray[Any], counts: Mapping[int, int]) -> frozenset[int]:
    if len(counts) <= 2:
        return frozenset(counts)
    return find_solid(values) if len(counts) <= _MOST_EXAMINED else frozenset()


def merge_values(masks: Sequence[MaskValues], palette: PaletteReading = "indices") -> LabelHistogram:
    """Add up the values of all masks.

    Raises:
        LabelError: palette files are to be read by colours, and an index has none.
    """
    if palette == "colours":
        masks = [mask.in_colours() for mask in masks]
    # A JPEG in colour is a grey mask whose chroma is off by rounding; it is thresholded as grey.
    colour = any(mask.colour and not mask.lossy for mask in masks)
    total: dict[int, int] = {}
    for mask in masks:
        for value, count in mask.counts(colour=colour).items():
            total[value] = total.get(value, 0) + count
    return LabelHistogram(dict(sorted(total.items())), tuple(masks), colour, palette)


def pack_values(values: MaskValues) -> list[Any]:
    """The values of a mask image as plain JSON; `unpack_values` undoes it."""
    palette = None if values.palette is None else list(values.palette.items())
    return [list(values.pixels.items()), values.colour, values.lossy, palette, sorted(values.solid)]


def unpack_values(path: Path, packed: Any) -> MaskValues:
    """What `pack_values` made of the mask `path`."""
    pixels, colour, lossy, palette, solid = packed
    return MaskValues(
        path,
        {int(value): int(count) for value, count in pixels},
        bool(colour),
        bool(lossy),
        palette=None if palette is None else {int(index): shown for index, shown in palette},
        solid=frozenset(int(value) for value in solid),
    )


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


def find_solid(values: NDArray[Any]) -> frozenset[int]:
    """The values of a mask (H, W) that fill a square of 3×3 pixels somewhere."""
    if min(values.shape) < 3:
        return frozenset()
    rows = values[:, 1:-1]
    rows = (rows == values[:, :-2]) & (rows == values[:, 2:])
    inner = values[1:-1, 1:-1]
    even = rows[1:-1] & rows[:-2] & rows[2:] & (inner == values[:-2, 1:-1]) & (inner == values[2:, 1:-1])
    return frozenset(np.unique(inner[even]).tolist())


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

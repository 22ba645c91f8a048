"""Square windows of an image at native resolution: where they lie, and which pixels they show; no torch.

An image that is smaller than the window is padded evenly; corners count on the padded grid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID, LabelMap

Corner = tuple[int, int]
Size = tuple[int, int]
P = TypeVar("P", np.float32, np.uint8)


def find_margins(length: int, side: int) -> tuple[int, int]:
    """Cells to add before and after `length` for a window to fit."""
    missing = max(side - length, 0)
    return missing // 2, missing - missing // 2


def list_corners(size: Size, *, side: int, overlap: float) -> list[Corner]:
    """First cells of the windows that cover an image of a size, row by row.

    Args:
        size: (H, W) of the image.
        side: of the windows.
        overlap: share of the side that neighbours have in common, 0 <= overlap < 1. The last windows of a
            row or column are moved back to end with the image.
    """
    rows, columns = (_list_starts(max(length, side), side, overlap) for length in size)
    return list(product(rows, columns))


@dataclass(frozen=True)
class FixedWindow:
    """A window whose place is known.

    Attributes:
        side: in pixels.
        corner: first row and column on the padded grid.
    """

    side: int
    corner: Corner


@dataclass(frozen=True)
class DrawnWindow:
    """A window whose place is drawn, and follows from the mask once that is read.

    Attributes:
        side: in pixels.
        foreground: whether it is centred on a pixel of a class, where the mask shows one.
        draw: 64 hexadecimal digits that decide everything random.
    """

    side: int
    foreground: bool
    draw: str

    def place(self, size: Size, spots: ClassPixels) -> FixedWindow:
        """The window on an image (H, W) with that mask; as near to its pixel as the edges allow.

        Classes are drawn evenly, then a pixel of the class; anywhere is any place within the image.
        """
        which, where, *free = _split_digits(self.draw)
        last = [max(length - self.side, 0) for length in size]
        if not (self.foreground and spots.classes):
            row, column = (int(number * (end + 1)) for number, end in zip(free, last, strict=True))
            return FixedWindow(self.side, (row, column))
        pixels = spots.find(spots.classes[int(which * len(spots.classes))])
        pixel = divmod(int(pixels[int(where * len(pixels))]), size[1])
        row, column = (
            min(max(place - self.side // 2, 0), end) for place, end in zip(pixel, last, strict=True)
        )
        return FixedWindow(self.side, (row, column))


class ClassPixels:
    """Where a mask shows its classes; looked for when it is asked for, and once.

    Args:
        label: (H, W).
    """

    def __init__(self, label: LabelMap) -> None:
        self._ids = label.array.ravel()
        self._found: dict[int, NDArray[np.int64]] = {}

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """The foreground classes that are shown."""
        shown = np.flatnonzero(np.bincount(self._ids, minlength=1))
        return tuple(int(id_) for id_ in shown if id_ not in (0, IGNORE_ID))

    def find(self, class_id: int) -> NDArray[np.int64]:
        """Places of a class in the flat mask."""
        if class_id not in self._found:
            self._found[class_id] = np.flatnonzero(self._ids == class_id)
        return self._found[class_id]


def draw_windows(
    *, side: int, foreground: float, case: str, seed: int, count: int
) -> tuple[DrawnWindow, ...]:
    """The windows of a case; the same arguments give the same ones, and more of them begin with these.

    Args:
        side: in pixels.
        foreground: share that is centred on a class: of the windows of one case to within one, over many
            cases exactly.
        case: any text that names the image, such as its content digest.
        seed: of the run.
        count: how many.
    """
    (phase, *_) = _split_digits(_digest(f"window phase:{case}:{seed}"))
    return tuple(
        DrawnWindow(
            side,
            int((index + 1) * foreground + phase) > int(index * foreground + phase),
            _digest(f"window:{case}:{index}:{seed}"),
        )
        for index in range(count)
    )


@dataclass(frozen=True)
class Cut:
    """The pixels that a window shows, with what lies around it.

    Attributes:
        rows: (h,) of the image, for each row of the cut; beyond the padded image it is mirrored.
        columns: (w,) likewise.
        inside: (h, w), False where the cut shows padding.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, size: Size, window: FixedWindow, *, around: int = 0) -> Cut:
        """The cut of a window from an image (H, W), with `around` pixels more on every side."""
        (rows, within), (columns, between) = (
            _list_indices(length, start, window.side, around)
            for length, start in zip(size, window.corner, strict=True)
        )
        return cls(rows, columns, within[:, None] & between)

    def take(self, array: NDArray[P]) -> NDArray[P]:
        """A new array (..., h, w) of (..., H, W); where there is padding, pixels of the edge."""
        return array[..., self.rows[:, None], self.columns]


def _list_indices(
    length: int, start: int, side: int, around: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    padded = max(length, side)
    places = np.arange(start - around, start + side + around) % (2 * padded)
    places = np.where(places < padded, places, 2 * padded - 1 - places) - find_margins(length, side)[0]
    return np.clip(places, 0, length - 1), (places >= 0) & (places < length)


def _list_starts(length: int, side: int, overlap: float) -> list[int]:
    step = max(1, int(side * (1 - overlap)))
    count = 1 + max(0, -(-(length - side) // step))
    return [min(index * step, length - side) for index in range(count)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _split_digits(digits: str) -> tuple[float, float, float, float]:
    """Four numbers from 0 to below 1; no generator, whose numbers another version may change."""
    first, second, third, fourth = (
        (int(digits[start : start + 16], 16) >> 11) / 2**53 for start in range(0, 64, 16)
    )
    return first, second, third, fourth

"""Sliding windows over an image: overlapping squares, blended with Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from dinoseg.errors import UsageError
from dinoseg.model.network import Array
from dinoseg.streams import batched

DEVIATION = 0.125  # of the Gaussian, as a share of the window's side
SMALLEST = 1e-3  # weight: a corner counts a little, so that no pixel is divided by nothing


def slide(
    score: Callable[[Array], Sequence[Array]], pixels: Array, *, window: int, overlap: float, batch_size: int
) -> Array:
    """Apply `score` to overlapping square windows and blend with Gaussian weights.

    Args:
        score: (B, 3, window, window) to B arrays (C, window, window).
        pixels: (3, H, W); padded evenly with zeros (the mean colour) where smaller than the window.
        window: side in pixels.
        overlap: 0 <= overlap < 1.
        batch_size: windows at once.

    Returns:
        (C, H, W); the Gaussian's deviation is an eighth of the side.
    """
    margins = [_margins(length, window) for length in pixels.shape[1:]]
    padded = np.pad(pixels, [(0, 0), *margins])
    blend = _Blend(padded.shape[1:], window)
    corners = product(*(_starts(length, window, overlap) for length in padded.shape[1:]))
    for batch in batched(corners, batch_size):
        windows = np.stack([padded[:, top : top + window, left : left + window] for top, left in batch])
        for corner, found in zip(batch, score(windows), strict=True):
            blend.add(corner, found)
    (above, _), (before, _) = margins
    return blend.finish()[:, above:, before:][:, : pixels.shape[1], : pixels.shape[2]]


class _Blend:
    """The weighted mean of windows (C, window, window) on a grid (H, W)."""

    def __init__(self, size: tuple[int, ...], window: int) -> None:
        self._window = window
        self._weight = _gaussian(window)
        self._weights = np.zeros(size, np.float32)
        self._total: Array | None = None

    def add(self, corner: tuple[int, ...], found: Array) -> None:
        if self._total is None:
            self._total = np.zeros((len(found), *self._weights.shape), np.float32)
        rows, columns = (slice(start, start + self._window) for start in corner)
        self._total[:, rows, columns] += found * self._weight
        self._weights[rows, columns] += self._weight

    def finish(self) -> Array:
        if self._total is None:
            raise UsageError("no window was added; an image has at least one pixel")
        self._total /= self._weights
        return self._total


def _margins(length: int, window: int) -> tuple[int, int]:
    """Cells to add before and after, for a window to fit."""
    missing = max(window - length, 0)
    return missing // 2, missing - missing // 2


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """First cells of the windows along one axis; the last one is moved back to end with the image."""
    step = max(1, int(window * (1 - overlap)))
    count = 1 + max(0, -(-(length - window) // step))
    return [min(index * step, length - window) for index in range(count)]


def _gaussian(window: int) -> Array:
    """Weights (window, window), highest in the middle."""
    cells = np.arange(window, dtype=np.float32) - np.float32((window - 1) / 2)
    row = np.exp(-(cells**2) / np.float32(2 * (DEVIATION * window) ** 2))
    weight: Array = np.maximum(row[:, None] * row, np.float32(SMALLEST))
    return weight

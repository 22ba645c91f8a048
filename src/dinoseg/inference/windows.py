"""Sliding windows over an image: overlapping squares, blended with Gaussian weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dinoseg.data.tensors.windows import Corner, find_margins, list_corners
from dinoseg.errors import UsageError
from dinoseg.model.network import Array
from dinoseg.progress import Progress, Silent
from dinoseg.streams import batched

DEVIATION = 0.125  # of the Gaussian, as a share of the window's side
SMALLEST = 1e-3  # weight: a corner counts a little, so that no pixel is divided by nothing


def slide(
    score: Callable[[Array], Sequence[Array]],
    pixels: Array,
    *,
    window: int,
    overlap: float,
    batch_size: int,
    progress: Progress | None = None,
) -> Array:
    """Apply `score` to overlapping square windows and blend with Gaussian weights.

    Args:
        score: (B, 3, window, window) to B arrays (C, window, window).
        pixels: (3, H, W); padded evenly with zeros (the mean colour) where smaller than the window.
        window: side in pixels.
        overlap: 0 <= overlap < 1.
        batch_size: windows at once.
        progress: counts batches of windows.

    Returns:
        (C, H, W); the Gaussian's deviation is an eighth of the side.
    """
    size = (pixels.shape[1], pixels.shape[2])
    blend = Blend(size, window=window, overlap=overlap)
    padded = np.pad(pixels, [(0, 0), *(find_margins(length, window) for length in size)])
    batches = [*batched(blend.corners, batch_size)]
    for batch in (progress or Silent()).track(batches, total=len(batches), label="windows"):
        windows = np.stack([padded[:, top : top + window, left : left + window] for top, left in batch])
        for corner, found in zip(batch, score(windows), strict=True):
            blend.add(corner, found)
    return blend.finish()


class Blend:
    """The weighted mean of what is found in the windows of one image.

    Args:
        size: (H, W) of the image.
        window: side in pixels.
        overlap: 0 <= overlap < 1.

    Attributes:
        corners: of all windows, in order; one that overhangs a smaller image begins at 0.
    """

    def __init__(self, size: tuple[int, int], *, window: int, overlap: float) -> None:
        self.corners = list_corners(size, side=window, overlap=overlap)
        self._window = window
        self._shown = tuple(
            slice(before, before + length)
            for length, (before, _) in ((length, find_margins(length, window)) for length in size)
        )
        self._weight = _gaussian(window)
        self._weights = np.zeros([max(length, window) for length in size], np.float32)
        self._total: Array | None = None

    def add(self, corner: Corner, found: Array) -> None:
        """Add what is found in the window at a corner, (C, window, window)."""
        if self._total is None:
            self._total = np.zeros((len(found), *self._weights.shape), np.float32)
        rows, columns = (slice(start, start + self._window) for start in corner)
        self._total[:, rows, columns] += found * self._weight
        self._weights[rows, columns] += self._weight

    def finish(self) -> Array:
        """The mean (C, H, W), once every window was added."""
        if self._total is None:
            raise UsageError("no window was added; an image has at least one pixel")
        self._total /= self._weights
        rows, columns = self._shown
        return self._total[:, rows, columns]


def _gaussian(window: int) -> Array:
    """Weights (window, window), highest in the middle."""
    cells = np.arange(window, dtype=np.float32) - np.float32((window - 1) / 2)
    row = np.exp(-(cells**2) / np.float32(2 * (DEVIATION * window) ** 2))
    weight: Array = np.maximum(row[:, None] * row, np.float32(SMALLEST))
    return weight

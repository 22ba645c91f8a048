"""Contours into pixels, by the even-odd rule and with one exact convention for borders."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_DECIMALS = 6  # of a pixel; what conversions between mm and pixels add beyond is noise


def fill_contours(contours: Iterable[NDArray[np.float64]], *, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels inside closed contours of one slice.

    The centre of pixel (h, w) is the point (h, w). A pixel is inside where a ray from its centre
    crosses the contours an odd number of times, all contours together: a contour within another one is
    a hole. A centre that lies exactly on a border belongs to the shape on its right and below
    (half-open), so that neighbouring shapes neither overlap nor leave a seam.

    Args:
        contours: each (N, 2): h and w of its points; the last point is joined to the first.
        shape: (H, W).

    Returns:
        (H, W).
    """
    height, width = shape
    crossings = np.zeros((height, width + 1), dtype=np.int32)
    for contour in contours:
        points = np.round(contour, _DECIMALS)
        for (h0, w0), (h1, w1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            _cross_rows(crossings, h0, w0, h1, w1)
    # Crossings at or left of a pixel: odd is inside.
    return np.asarray(np.cumsum(crossings, axis=1)[:, :width] % 2 == 1)


def _cross_rows(crossings: NDArray[np.int32], h0: float, w0: float, h1: float, w1: float) -> None:
    """Count where the edge from (h0, w0) to (h1, w1) crosses the centre lines of rows."""
    top, bottom = min(h0, h1), max(h0, h1)
    # Half-open: a row belongs to the edge that begins on it, not to the one that ends there.
    rows = np.arange(max(int(np.ceil(top)), 0), min(int(np.ceil(bottom)), len(crossings)))
    if not rows.size:
        return
    columns = w0 + (rows - h0) * (w1 - w0) / (h1 - h0)
    first = np.ceil(np.round(columns, _DECIMALS)).astype(int)
    np.add.at(crossings, (rows, np.clip(first, 0, crossings.shape[1] - 1)), 1)

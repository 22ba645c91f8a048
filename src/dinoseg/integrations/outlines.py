"""Masks as polygons that run along the edges of pixels, so that nothing is lost but holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Point = tuple[int, int]
# Neighbour (rows, columns) that may be outside; where the edge to it begins (x, y); where that leads.
_SIDES = (
    ((-1, 0), (0, 0), (1, 0)),
    ((0, 1), (1, 0), (0, 1)),
    ((1, 0), (1, 1), (-1, 0)),
    ((0, -1), (0, 1), (0, -1)),
)


def trace_outline(part: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The outer outline of a part, clockwise from its first pixel.

    Args:
        part: (H, W), pixels that hang together by their sides; not empty.

    Returns:
        (N, 2), the corners as x, y; the pixel in row y and column x lies between (x, y) and (x + 1, y + 1).
    """
    following = _list_edges(part)
    row, column = np.argwhere(part)[0]
    start = here = (int(column), int(row))
    step = (1, 0)  # along the upper edge of the first pixel
    corners = [start]
    while True:
        here = (here[0] + step[0], here[1] + step[1])
        if here == start:
            return np.array(corners)
        # Where two pixels touch by a corner the outline stays with the one it came along: to the right.
        right, left = (-step[1], step[0]), (step[1], -step[0])
        turned = next(each for each in (right, step, left) if each in following[here])
        if turned != step:
            corners.append(here)
        step = turned


def _list_edges(part: NDArray[np.bool_]) -> dict[_Point, set[_Point]]:
    """Corner -> directions in which the edge of the part leaves it, with the part on the right."""
    padded = np.pad(part, 1)
    following: dict[_Point, set[_Point]] = {}
    # neighbour that is outside -> where its edge begins, and where it leads
    sides = {
        (-1, 0): ((0, 0), (1, 0)),
        (0, 1): ((1, 0), (0, 1)),
        (1, 0): ((1, 1), (-1, 0)),
        (0, -1): ((0, 1), (0, -1)),
    }
    for (down, across), ((x, y), step) in sides.items():
        outside = ~np.roll(padded, (-down, -across), (0, 1))
        for row, column in np.argwhere(padded & outside) - 1:
            following.setdefault((int(column) + x, int(row) + y), set()).add(step)
    return following

"""Which slices around each are read: those that a step of the model lies away, however near they follow."""

from __future__ import annotations

import math

LEAST = 0.1  # slices to a step
MOST = 4.0  # a slab of thinner slices would be little but margin

Place = tuple[tuple[int, float], ...]


def find_stride(wanted: float | None, spacing: float | None) -> float:
    """How many slices of a volume one step of a model is, in tenths; 1 where a distance is not known.

    Args:
        wanted: mm of a step, as trained.
        spacing: mm between the slices of the volume.
    """
    if wanted is None or spacing is None:
        return 1.0
    return min(max(round(wanted / spacing, 1), LEAST), MOST)


def list_places(reach: int, stride: float = 1.0) -> tuple[Place, ...]:
    """Of the r steps before a slice, then of the r behind: which slices they are read from.

    Args:
        reach: r, steps on either side.
        stride: slices to a step.

    Returns:
        For each step offsets from the slice with their weights: one slice, or two where the step ends
        between them, the nearer one with the larger weight.
    """
    steps = [*range(-reach, 0), *range(1, reach + 1)]
    return tuple(_find_slices(step * stride) for step in steps)


def find_margin(reach: int, stride: float = 1.0) -> int:
    """How many slices on either side are needed."""
    return math.ceil(round(reach * stride, 6))


def _find_slices(place: float) -> Place:
    before = math.floor(round(place, 6))
    share = round(place - before, 6)
    return ((before, 1 - share), (before + 1, share)) if share else ((before, 1.0),)

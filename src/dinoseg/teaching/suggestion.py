"""What to label next: what stands for the most of all that is not labelled yet, and is not clear already.

With few labels the images that a model is least sure of are odd ones, from which it learns little about the
others: asked for alone they teach less than images in any order. So what is offered first is what others look
like; once some images are labelled, only the half that the model is less sure of is looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WARM = 10  # labelled slices from which on it counts what the model is sure of
_MOST = 600  # slices that are looked at, evenly spread

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


def choose_next(
    candidates: Numbers,
    labelled: Numbers,
    *,
    uncertainty: Floats | None,
    means: Floats,
    ready: NDArray[np.bool_],
) -> int | None:
    """The slice to label next.

    Args:
        candidates: slices that nobody has painted on, in order.
        labelled: slices with strokes or labels.
        uncertainty: of every slice, 0 to 1, NaN where it is not known; None before the first round.
        means: (F, D), what every slice looks like on the whole.
        ready: (F,), whether that is known.

    Returns:
        The number of a slice; the first candidate while nothing is known; None where there are none.
    """
    if not len(candidates):
        return None
    others = _thin(candidates[ready[candidates]])
    if not len(others):
        return int(candidates[0])
    asked = others
    if uncertainty is not None and len(labelled) >= WARM:
        order = np.argsort(-np.nan_to_num(uncertainty[others]), kind="stable")
        asked = others[order[: -(-len(others) // 2)]]
    left = _measure(means[others], means[asked])
    if len(labelled):
        covered = _measure(means[others], means[_thin(labelled)]).min(axis=1)
        left = np.minimum(left, covered[:, None])
    return int(asked[left.mean(axis=0).argmin()])


def _measure(one: Floats, other: Floats) -> Floats:
    """Distance of each of (n, D) to each of (m, D)."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    distance: Floats = np.sqrt(np.maximum(squares, 0))
    return distance


def _thin(numbers: Numbers) -> Numbers:
    return numbers[:: -(-len(numbers) // _MOST)] if len(numbers) > _MOST else numbers

"""What to label next: of what the model is least sure of, that which is least like what is labelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_UNSURE = 0.2  # share of the candidates that counts as least sure
_FEWEST = 5


def choose_next(
    candidates: NDArray[np.int64],
    labelled: NDArray[np.int64],
    *,
    uncertainty: NDArray[np.float32] | None,
    means: NDArray[np.float32],
) -> int | None:
    """The slice to label next.

    Args:
        candidates: slices that nobody has painted on, in order.
        labelled: slices with strokes or labels.
        uncertainty: of every slice, 0 to 1, NaN where it is not known; None before the first round.
        means: (F, D), what every slice looks like on the whole.

    Returns:
        The number of a slice; the first candidate while nothing is known; None where there are none.
    """
    if not len(candidates):
        return None
    if uncertainty is None or not len(labelled):
        return int(candidates[0])
    known = candidates[~np.isnan(uncertainty[candidates])]
    if not len(known):
        return int(candidates[0])
    count = max(_FEWEST, round(_UNSURE * len(known)))
    order = np.argsort(-uncertainty[known], kind="stable")
    unsure = known[order[:count]]
    away = np.linalg.norm(means[unsure][:, None] - means[labelled][None], axis=2).min(axis=1)
    return int(unsure[np.argmax(away)])

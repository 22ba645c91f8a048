"""How much a score varies over draws: mean, standard deviation and, of three or more, a t-interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dinoseg.errors import UsageError

LEVEL = 0.95
FEWEST = 3
"""Draws for an interval: that of two is 13 times as wide as their distance, which says nothing."""


@dataclass(frozen=True)
class Spread:
    """A score over the draws of one setting.

    Attributes:
        draws: number of draws.
        mean: over the draws.
        sd: standard deviation over the draws (n - 1); NaN for a single draw.
        low: lower end of the 95 % t-interval of the mean; NaN for fewer draws than `FEWEST`.
        high: upper end. The interval says how much the choice of the training cases (and all
            else that follows from the seed) matters on these very test cases. It is not cut to
            the range of the score: an end above 1 says that the draws are too few.
    """

    draws: int
    mean: float
    sd: float
    low: float
    high: float


def find_spread(values: Sequence[float]) -> Spread:
    """Mean, sd and t-interval of the scores of some draws.

    Raises:
        UsageError: no values.
    """
    if not values:
        raise UsageError("a spread needs the score of one draw at least, given none")
    from scipy.special import stdtrit

    count = len(values)
    mean = float(np.mean(values))
    nothing = float("nan")
    sd = float(np.std(values, ddof=1)) if count > 1 else nothing
    if count < FEWEST:
        return Spread(count, mean, sd, nothing, nothing)
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * sd / count**0.5
    return Spread(count, mean, sd, mean - reach, mean + reach)

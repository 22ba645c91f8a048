"""Tests on paired scores: signed ranks, several comparisons, who ranks first, how many cases it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinoseg.evaluation.statistics import draw_groups

LEVEL = 0.05
POWER = 0.8
_DIGITS = 9  # scores are stored with six: what differs later is rounding, and would untie equal ranks

Floats = NDArray[np.float64]


def group_means(values: ArrayLike, groups: Sequence[str]) -> Floats:
    """Return the mean of each group, in the order of their names.

    Args:
        values: (N,) of the cases.
        groups: (N,) patient or video of each case.
    """
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    means: Floats = sums / np.bincount(index)
    return means


def signed_rank_p(differences: ArrayLike) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test; 1 where nothing differs.

    Args:
        differences: (N,) independent differences, of groups where cases belong together; zeros are
            left out, as Wilcoxon did.
    """
    from scipy import stats

    rounded = np.round(np.asarray(differences, dtype=np.float64), _DIGITS)
    found = rounded[rounded != 0]
    return float(stats.wilcoxon(found).pvalue) if found.size else 1.0


def adjust_holm(p: Sequence[float]) -> list[float]:
    """Return p-values that hold for all comparisons together.

    Source: Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted = [1.0] * len(p)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted


def count_needed(differences: ArrayLike) -> int | None:
    """Return how many groups would show a difference like this one in 80 % of studies, at the 5 % level.

    It takes mean and spread of these differences for the truth, so it is as rough as they are. For a
    paired t-test; None where the mean is 0 or there is one group.

    Source: Guenther, "Sample size formulas for normal theory t tests" (1981).

    Args:
        differences: (N,) of groups.
    """
    from scipy.special import ndtri

    found = np.round(np.asarray(differences, dtype=np.float64), _DIGITS)
    mean = round(abs(float(found.mean())), _DIGITS)
    if len(found) < 2 or mean == 0:
        return None
    certain = float(ndtri(1 - LEVEL / 2))
    ratio = float(found.std(ddof=1)) / mean
    return max(2, math.ceil(((certain + float(ndtri(POWER))) * ratio) ** 2 + certain**2 / 2))


def share_of_first_ranks(
    gains: Floats, groups: Sequence[str], *, seed: int, draws: int = 2000
) -> list[float]:
    """Return in which share of resampled studies each model has the highest mean; ties are divided.

    Args:
        gains: (models, N) scores of the cases, more is better.
        groups: (N,) patient or video of each case; whole groups are drawn with replacement.
        seed: of the draws.
        draws: number of resamples.
    """
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    totals = np.stack([np.bincount(index, weights=row, minlength=len(names)) for row in gains], axis=1)
    first = np.zeros(len(gains))
    for drawn in draw_groups(np.random.default_rng(seed), draws, len(names)):
        sums = np.round(drawn @ totals, _DIGITS)  # (size, models); the number of cases is the same for all
        best = sums == sums.max(axis=1, keepdims=True)
        first += (best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    shares: list[float] = (first / draws).tolist()
    return shares

"""How sure a mean is: bootstrap intervals and paired tests that respect groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dinoseg.errors import UsageError

_EXACT_GROUPS = 12
_CHUNK = 4_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval.

    Attributes:
        mean: mean over the values (cases), not over groups.
        low: lower end; NaN where there is a single group, which says nothing about others.
        high: upper end; NaN where there is a single group.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """How much the first of two models differs from the second on the same cases.

    Attributes:
        difference: mean of a - b over the cases.
        low: lower end of the 95 % bootstrap interval over groups; NaN for a single group.
        high: upper end.
        p: two-sided p-value of a sign-flip permutation of whole groups.
        groups: number of groups, which bounds p from below: 2 / 2^groups.
    """

    difference: float
    low: float
    high: float
    p: float
    groups: int


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[str], *, seed: int, draws: int = 2000, level: float = 0.95
) -> Interval:
    """Return the mean of `values` and its percentile bootstrap interval over groups.

    A plain percentile interval is too narrow with few groups; the percentiles are moved outwards
    by as much as Student's t interval is wider than the plain bootstrap's.

    Source: Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), the expanded
    percentile interval.

    Args:
        values: (N,) finite scores of cases.
        groups: (N,) patient or video of each case. Whole groups are drawn with replacement,
            because the cases of one patient are not independent.
        seed: of the draws.
        draws: number of resamples.
        level: share of the resampled means within the interval.

    Raises:
        UsageError: no values, values that are not finite, or lengths that differ.
    """
    if not 0 < level < 1 or draws < 1:
        raise UsageError(f"level {level} must lie between 0 and 1 and draws {draws} be at least 1")
    array = _as_scores(values, groups)
    (found,) = bootstrap_ratios(
        array[:, None], np.ones((len(array), 1)), groups, seed=seed, draws=draws, level=level
    )
    return Interval(float(array.mean()), found.low, found.high)


def bootstrap_ratios(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[str],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> list[Interval]:
    """Return ratios of sums over the cases, such as matched of all lesions, with intervals over groups.

    Args:
        numerators: (N, K) of each case, for K ratios that are drawn together.
        denominators: (N, K), at least 0. Resamples without any of a ratio's are left out.
        groups: (N,) patient or video of each case; resampled as in `bootstrap_interval`.
        seed: of the draws.
        draws: number of resamples.
        level: share of the resampled ratios within each interval.

    Returns:
        K intervals; all NaN where a denominator is 0 in every case, no ends for a single group.
    """
    above, below = _sum_groups(numerators, groups), _sum_groups(denominators, groups)
    samples = _resampled_ratios(above, below, np.random.default_rng(seed), draws)
    count = len(above)
    tail = (1 - level) / 2 if count == 1 else _widened_tail((1 - level) / 2, count)
    found = []
    for total, size, sample in zip(above.sum(axis=0), below.sum(axis=0), samples.T, strict=True):
        known = sample[np.isfinite(sample)]
        mean = float(total / size) if size > 0 else float("nan")
        ends = np.quantile(known, [tail, 1 - tail]) if count > 1 and known.size else (np.nan, np.nan)
        found.append(Interval(mean, float(ends[0]), float(ends[1])))
    return found


def bootstrap_contrast(
    values: ArrayLike,
    inside: ArrayLike,
    groups: Sequence[str],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return the mean of some cases minus that of all others, with its interval over groups.

    Args:
        values: (N,) finite scores of cases.
        inside: (N,) whether a case is one of them; a group may lie on both sides.
        groups: (N,) patient or video of each case; resampled as in `bootstrap_interval`.
        seed: of the draws.
        draws: number of resamples; those without a case on one side are left out.
        level: share of the resampled differences within the interval.
    """
    array, chosen = _as_scores(values, groups), np.asarray(inside, dtype=bool)
    sides = np.stack([chosen, ~chosen], axis=1).astype(np.float64)  # (N, 2)
    above, below = _sum_groups(array[:, None] * sides, groups), _sum_groups(sides, groups)
    samples = _resampled_ratios(above, below, np.random.default_rng(seed), draws)
    known = (samples[:, 0] - samples[:, 1])[np.isfinite(samples).all(axis=1)]
    mean = float(array[chosen].mean() - array[~chosen].mean())
    if len(above) == 1 or not known.size:
        return Interval(mean, float("nan"), float("nan"))
    tail = _widened_tail((1 - level) / 2, len(above))
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))


def paired_test(
    a: ArrayLike, b: ArrayLike, groups: Sequence[str], *, seed: int, draws: int = 10_000
) -> PairedTest:
    """Test whether two models differ on the same cases.

    Under the hypothesis of no difference the sign of a group's difference is arbitrary, so the
    signs of whole groups are flipped: all 2^G patterns up to 12 groups, else `draws` random ones.

    Args:
        a: (N,) scores of the first model.
        b: (N,) scores of the second model on the same cases in the same order.
        groups: (N,) patient or video of each case.
        seed: of the flips and of the bootstrap.
        draws: number of random sign patterns.

    Raises:
        UsageError: no values, values that are not finite, or lengths that differ.
    """
    first, second = _as_scores(a, groups), _as_scores(b, groups)
    difference = first - second
    totals = _sum_groups(difference[:, None], groups)[:, 0]
    interval = bootstrap_interval(difference, groups, seed=seed)
    return PairedTest(
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=_sign_flip_p(totals, np.random.default_rng(seed), draws),
        groups=len(totals),
    )


def _as_scores(values: ArrayLike, groups: Sequence[str]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) != len(groups) or len(array) == 0:
        raise UsageError(
            f"{array.shape} values and {len(groups)} groups; give one group per value and at least one value"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"{np.count_nonzero(~np.isfinite(array))} values are not finite; drop or score them")
    return array


def _sum_groups(values: ArrayLike, groups: Sequence[str]) -> Floats:
    """(N, K) -> (G, K), groups in the order of their names."""
    table = np.asarray(values, dtype=np.float64)
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    columns = [np.bincount(index, weights=column, minlength=len(names)) for column in table.T]
    return np.stack(columns, axis=1).astype(np.float64)


def draw_groups(rng: np.random.Generator, draws: int, groups: int) -> Iterator[Floats]:
    """Yield how often each group is drawn, (size, groups) at a time, so that memory stays flat."""
    chances = np.full(groups, 1 / groups)
    for size in _chunks(draws, groups):
        yield rng.multinomial(groups, chances, size=size).astype(np.float64)


def _resampled_ratios(above: Floats, below: Floats, rng: np.random.Generator, draws: int) -> Floats:
    # A resample is how often each group was drawn: its ratio is one weighted sum over another.
    found = []
    for drawn in draw_groups(rng, draws, len(above)):
        sums, sizes = drawn @ above, drawn @ below  # (size, K)
        ratios = np.full(sums.shape, np.nan)
        found.append(np.divide(sums, sizes, out=ratios, where=sizes > 0))
    return np.concatenate(found)


def _widened_tail(tail: float, groups: int) -> float:
    from scipy.special import ndtr, stdtrit

    return float(ndtr((groups / (groups - 1)) ** 0.5 * stdtrit(groups - 1, tail)))


def _sign_flip_p(totals: Floats, rng: np.random.Generator, draws: int) -> float:
    # The number of cases is the same in every pattern, so sums order the patterns like means.
    groups = len(totals)
    reached = abs(totals.sum()) * (1 - 1e-12)
    if groups <= _EXACT_GROUPS:
        bits = np.arange(2**groups)[:, None] >> np.arange(groups) & 1  # (2^groups, groups)
        flipped = (2 * bits - 1) @ totals
        return float(np.count_nonzero(np.abs(flipped) >= reached) / 2**groups)
    extreme = 0
    for size in _chunks(draws, groups):
        signs = 2 * rng.integers(0, 2, size=(size, groups), dtype=np.int8) - 1
        extreme += int(np.count_nonzero(np.abs(signs @ totals) >= reached))
    return (extreme + 1) / (draws + 1)


def _chunks(draws: int, groups: int) -> list[int]:
    """Return how many draws to hold at once, so that memory stays flat with many groups."""
    size = max(1, _CHUNK // groups)
    return [min(size, draws - start) for start in range(0, draws, size)]

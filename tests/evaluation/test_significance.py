"""Tests on paired scores, against SciPy and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dinoseg.evaluation.comparison.comparing import compare_scores
from dinoseg.evaluation.comparison.pairing import PairedScores
from dinoseg.evaluation.comparison.significance import (
    adjust_holm,
    count_needed,
    group_means,
    share_of_first_ranks,
    signed_rank_p,
)
from dinoseg.evaluation.statistics import bootstrap_interval


@pytest.mark.parametrize("count", [5, 12, 40, 120])
def test_signed_ranks_are_those_of_scipy(count: int) -> None:
    rng = np.random.default_rng(count)
    for shift in (0.0, 0.4):
        found = np.round(rng.normal(shift, size=count), 6)
        assert signed_rank_p(found) == pytest.approx(float(stats.wilcoxon(found).pvalue), rel=1e-12)


def test_rounding_unties_no_ranks() -> None:
    tied = np.array([0.1, 0.3 - 0.2, 0.7 - 0.6, -0.2, 0.4, 0.5])
    assert len(set(np.abs(tied).tolist())) > 4
    assert signed_rank_p(tied) == signed_rank_p([0.1, 0.1, 0.1, -0.2, 0.4, 0.5])


def test_signed_ranks_without_any_difference() -> None:
    assert signed_rank_p([0.0, 0.0, 1e-12]) == 1.0


def test_holm_by_hand() -> None:
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.04, 0.04]) == pytest.approx([0.08, 0.08])
    assert adjust_holm([0.5, 0.6, 0.001]) == pytest.approx([1.0, 1.0, 0.003])
    assert adjust_holm([0.2]) == [0.2]


def exact_number(effect: float) -> int:
    """The smallest number whose paired t-test has 80 % power, from the noncentral t distribution."""
    for count in range(3, 1000):
        limit = stats.t.ppf(0.975, count - 1)
        centre = effect * np.sqrt(count)
        if stats.nct.sf(limit, count - 1, centre) + stats.nct.cdf(-limit, count - 1, centre) >= 0.8:
            return count
    raise AssertionError(effect)


def test_cases_needed_are_those_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=50)
    unit = (raw - raw.mean()) / raw.std(ddof=1)
    for effect in (0.2, 0.5, 1.0):
        assert count_needed(unit + effect) == pytest.approx(exact_number(effect), abs=1)
    assert count_needed(-unit - 0.5) == count_needed(unit + 0.5) == 34
    assert count_needed(unit) is None
    assert count_needed([0.3]) is None


def test_needed_cases_reach_their_power() -> None:
    rng = np.random.default_rng(1)
    needed = count_needed([0.5 + value for value in stats.norm.ppf((np.arange(400) + 0.5) / 400)])
    assert needed is not None
    draws = rng.normal(0.5, 1, size=(2000, needed))
    share = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue <= 0.05)
    assert 0.77 <= share <= 0.84


def test_means_of_groups() -> None:
    assert group_means([1, 2, 6], ["b", "b", "a"]).tolist() == [6.0, 1.5]


def test_first_ranks_by_hand() -> None:
    # Two groups: a resample holds both (chance 1/2), or one of them twice (1/4 each).
    gains = np.array([[1.0, 0.0], [0.0, 0.5]])
    shares = share_of_first_ranks(gains, ["p", "q"], seed=0, draws=20_000)
    assert shares == pytest.approx([0.75, 0.25], abs=0.01)
    assert share_of_first_ranks(np.ones((4, 3)), ["a", "b", "c"], seed=0, draws=10) == [0.25] * 4


def test_groups_are_drawn_whole_for_ranks() -> None:
    rng = np.random.default_rng(2)
    by_patient = np.repeat(rng.normal(0.2, 1, size=12), 10)
    gains = np.stack([by_patient, np.zeros(120)])
    patients = np.repeat([f"p{number}" for number in range(12)], 10).tolist()
    whole = share_of_first_ranks(gains, patients, seed=0)[0]
    apart = share_of_first_ranks(gains, [str(number) for number in range(120)], seed=0)[0]
    assert whole < apart


def equal_models(rng: np.random.Generator, groups: int, each: int, models: int = 2) -> PairedScores:
    """Models whose true means are the same, with patients in common and misses in both."""
    patients = np.repeat(rng.beta(6, 2, size=groups), each)
    own = np.repeat(rng.normal(0, 0.05, size=(models, groups)), each, axis=1)
    values = np.clip(patients + own + rng.normal(0, 0.05, size=own.shape), 0, 1)
    values[rng.random(values.shape) < 0.04] = 0
    names = tuple(f"p{number // each}" for number in range(groups * each))
    cases = tuple(f"c{number}" for number in range(groups * each))
    return PairedScores(tuple("abcdef"[:models]), "dice", "lesion", cases, names, values)


def share_of_false_alarms(trials: int, *, groups: int, each: int, models: int = 2) -> float:
    rng = np.random.default_rng(7)
    found = [
        any(duel.better for duel in compare_scores(equal_models(rng, groups, each, models), seed=trial).duels)
        for trial in range(trials)
    ]
    return float(np.mean(found))


def test_equal_models_are_rarely_told_apart() -> None:
    # All sign patterns of ten groups: exact, and quick. 0.05 and two standard errors of 300 trials.
    assert share_of_false_alarms(300, groups=10, each=2) <= 0.075


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "each", "models"), [(20, 3, 2), (60, 1, 2), (30, 1, 3)])
def test_false_alarms_of_equal_models_are_at_most_6_percent(groups: int, each: int, models: int) -> None:
    assert share_of_false_alarms(1000, groups=groups, each=each, models=models) <= 0.06


def coverage(groups: int, trials: int) -> float:
    """Share of intervals that hold the true mean of skewed scores: most near 0.75, some missed."""
    rng = np.random.default_rng(3)
    truth = 0.95 * 6 / 8
    hits = 0
    for trial in range(trials):
        values = rng.beta(6, 2, size=groups) * (rng.random(groups) >= 0.05)
        found = bootstrap_interval(values, [str(place) for place in range(groups)], seed=trial, draws=1000)
        hits += found.low <= truth <= found.high
    return hits / trials


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "lowest"), [(100, 0.92), (50, 0.92), (10, 0.85)])
def test_coverage_of_intervals_of_means(groups: int, lowest: float) -> None:
    assert lowest <= coverage(groups, 1500) <= 0.98

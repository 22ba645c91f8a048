from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dinoseg.errors import UsageError
from dinoseg.evaluation.statistics import bootstrap_interval, paired_test


def names(count: int) -> list[str]:
    return [f"p{number}" for number in range(count)]


@pytest.mark.parametrize("patients", [8, 40])
def test_interval_covers_the_truth_as_often_as_it_says(patients: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(names(patients), 4).tolist()
    covered = 0
    for trial in range(400):
        effects = np.repeat(rng.normal(size=patients), 4)  # patients differ, their four cases are alike
        scores = effects + rng.normal(scale=0.3, size=4 * patients)
        found = bootstrap_interval(scores, groups, seed=trial, draws=1000)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_ignoring_groups_would_be_too_sure() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(size=30), 8)
    by_patient = bootstrap_interval(values, np.repeat(names(30), 8).tolist(), seed=0)
    by_case = bootstrap_interval(values, names(240), seed=0)
    assert by_patient.mean == by_case.mean == pytest.approx(values.mean())
    ratio = (by_patient.high - by_patient.low) / (by_case.high - by_case.low)
    assert ratio == pytest.approx(math.sqrt(8), rel=0.12)


def test_a_group_is_drawn_whole() -> None:
    # Two groups: a resample is 00, 01 or 11, so its mean is 0, 1/2 or 1 (or 3/4 if groups were split).
    found = bootstrap_interval([0, 0, 1, 1], ["a", "a", "b", "b"], seed=0, level=0.9)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)


def test_groups_weigh_by_their_cases() -> None:
    found = bootstrap_interval([1, 1, 1, 0], ["a", "a", "a", "b"], seed=0)
    assert found.mean == 0.75


def test_interval_matches_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.random(37), [f"g{number}" for number in rng.integers(0, 15, 37)]
    found = bootstrap_interval(values, groups, seed=5, draws=4000)
    members = {name: values[[group == name for group in groups]] for name in set(groups)}
    kinds = sorted(members)
    count = len(kinds)
    means = [
        np.concatenate([members[kinds[pick]] for pick in rng.integers(0, count, count)]).mean()
        for _ in range(4000)
    ]
    tail = stats.norm.cdf(math.sqrt(count / (count - 1)) * stats.t.ppf(0.025, count - 1))
    assert tail < 0.025
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [tail, 1 - tail]), abs=0.015)


def test_order_of_cases_and_names_of_groups_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.random(24), np.repeat(names(8), 3)
    order = rng.permutation(24)
    first = bootstrap_interval(values, groups.tolist(), seed=2)
    second = bootstrap_interval(values[order], groups[order].tolist(), seed=2)
    assert (first.low, first.high) == pytest.approx((second.low, second.high), rel=1e-12)
    assert bootstrap_interval(values, groups.tolist(), seed=2) == first
    assert bootstrap_interval(values, groups.tolist(), seed=3) != first


def test_equal_values_have_no_width_and_one_group_has_no_interval() -> None:
    same = bootstrap_interval([0.5] * 6, names(6), seed=0)
    assert (same.low, same.high) == (0.5, 0.5)
    alone = bootstrap_interval([0.2, 0.4], ["a", "a"], seed=0)
    assert alone.mean == pytest.approx(0.3)
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)


def test_paired_test_of_few_groups_is_exact() -> None:
    # All five differences positive: only the two patterns of equal signs reach the sum.
    found = paired_test([2, 3, 4, 5, 6], [1, 1, 1, 1, 1], names(5), seed=0)
    assert found.difference == 3.0
    assert found.p == 2 / 32
    assert found.groups == 5


def test_paired_test_flips_groups_whole() -> None:
    a = [1.0] * 30
    by_case = paired_test(a, [0.0] * 30, names(30), seed=0)
    by_group = paired_test(a, [0.0] * 30, np.repeat(names(3), 10).tolist(), seed=0)
    assert by_case.p == pytest.approx(1 / 10_001)
    assert by_group.p == 2 / 8


def test_paired_test_holds_its_level_and_finds_differences() -> None:
    rng = np.random.default_rng(11)
    false, found = 0, 0
    for trial in range(200):
        shared = rng.normal(size=25)
        a, b = shared + rng.normal(scale=0.2, size=25), shared + rng.normal(scale=0.2, size=25)
        false += paired_test(a, b, names(25), seed=trial, draws=400).p <= 0.05
        found += paired_test(a + 0.3, b, names(25), seed=trial, draws=400).p <= 0.05
    assert false / 200 <= 0.09
    assert found / 200 >= 0.95


def test_equal_models_do_not_differ() -> None:
    found = paired_test([0.3, 0.7, 0.9], [0.3, 0.7, 0.9], names(3), seed=0)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="at least one value"):
        bootstrap_interval([], [], seed=0)
    with pytest.raises(UsageError, match="one group per value"):
        bootstrap_interval([1.0, 2.0], ["a"], seed=0)
    with pytest.raises(UsageError, match="1 values are not finite"):
        bootstrap_interval([1.0, math.inf], ["a", "b"], seed=0)
    with pytest.raises(UsageError, match="level"):
        bootstrap_interval([1.0], ["a"], seed=0, level=95)
    with pytest.raises(UsageError, match="one group per value"):
        paired_test([1.0, 2.0], [1.0], ["a", "b"], seed=0)

"""What a comparison means, in words; and its numbers as people read them."""

from __future__ import annotations

from dinoseg.evaluation.comparison.results import Comparison, Duel
from dinoseg.evaluation.definitions import DISTANCES, TITLES

PAIRING_TEXT = (
    "Every difference is taken within a case, first minus second, and averaged over the cases. Interval: 95% "
    "percentile bootstrap over groups (patients or videos; a case is its own group where none is known), "
    "widened for few groups. It describes these trained models on such patients, not repeated trainings."
)
TEST_TEXT = (
    "p: two-sided sign-flip test of whole groups (all patterns up to 12 groups, else 10,000 random ones); "
    "p (Wilcoxon): signed ranks of the means of groups. Both are adjusted by Holm for all comparisons of the "
    "table. A model is called better only where the adjusted sign-flip p is at most 0.05; anything else is "
    "no proof that two models are equal."
)
COUNTS_TEXT = (
    "Won: share of the cases with the better score, ties by half. First: share of 2,000 resampled studies, "
    "whole groups drawn with replacement, in which the model has the best mean."
)
NEEDED_TEXT = (
    "Needed: an estimate of how many groups (or cases, where each is its own) would show such a difference "
    "in 80% of studies (paired t-test at the 5% level, this comparison alone). It takes the mean and spread "
    "seen here for the truth. Medians have no interval."
)


def policy_lines(found: Comparison) -> tuple[str, ...]:
    """The lines that the tables of a comparison must carry to be understood on their own."""
    direction = "lower" if found.scores.metric in DISTANCES else "higher"
    what = f"Compared: {describe_score(found)} of each case; {direction} is better."
    return (what, PAIRING_TEXT, TEST_TEXT, COUNTS_TEXT, NEEDED_TEXT)


def describe_score(found: Comparison) -> str:
    """Which score of what: "Dice, mean over classes"."""
    unit = f" in {found.scores.unit}" if found.scores.unit else ""
    part = "" if found.scores.part == "all" else f", {found.scores.part}"
    return f"{TITLES[found.scores.metric]}{unit}{part}"


def describe_verdict(duel: Duel) -> str:
    """Who is better, where the test says so."""
    return f"{duel.better} is better" if duel.better else "not told apart"


def show_p(p: float) -> str:
    """A p-value; none is 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def show_needed(needed: int | None) -> str:
    """A number of groups; a dash where nothing differs."""
    return "–" if needed is None else f"about {needed:,}"

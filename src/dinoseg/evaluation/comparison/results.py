"""What comes of a comparison: where each model stands, and every pair of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dinoseg.evaluation.comparison.pairing import PairedScores
from dinoseg.evaluation.statistics import Interval, PairedTest

ENOUGH_GROUPS = 50
"""With fewer groups, intervals cover the truth less often than they say."""


@dataclass(frozen=True)
class Standing:
    """One model.

    Attributes:
        name: of the model.
        table: the CSV with its scores.
        mean: over the cases, with its interval over groups.
        median: over the cases; an interval of it is not given, because a bootstrap's is not to be trusted.
        missed: masks whose target holds the class and whose prediction does not.
        false_alarms: the opposite.
        first: share of resampled studies in which it has the best mean.
    """

    name: str
    table: Path
    mean: Interval
    median: float
    missed: int
    false_alarms: int
    first: float


@dataclass(frozen=True)
class Duel:
    """Two models, the first minus the second.

    Attributes:
        first: name.
        second: name.
        test: difference, its interval over groups, and the p of the sign-flip test.
        median: of the differences.
        p_holm: of the sign-flip test, for all comparisons together.
        wilcoxon_p: of the signed-rank test on the means of groups.
        wilcoxon_p_holm: the same for all comparisons together.
        won: cases in which the first is better.
        tied: cases in which both are equal.
        lost: cases in which the second is better.
        needed: groups with which a difference like this one would be found in 80 % of studies;
            None where there is none.
        better: name of the better one where `p_holm` is at most 0.05, else None.
    """

    first: str
    second: str
    test: PairedTest
    median: float
    p_holm: float
    wilcoxon_p: float
    wilcoxon_p_holm: float
    won: int
    tied: int
    lost: int
    needed: int | None
    better: str | None

    @property
    def share_won(self) -> float:
        """Of the cases, ties by half."""
        return (self.won + self.tied / 2) / (self.won + self.tied + self.lost)


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        scores: what was compared, case by case.
        standings: one per model, in the order given.
        duels: one per pair of models.
        seed: of resamples and sign flips.
        notes: where the scores were found, line by line.
        cautions: why the numbers should be read with care, line by line.
        protocol: "native" or "paper", or "" where no report says so.
        page: the page that was written, or None.
    """

    scores: PairedScores
    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    seed: int
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    protocol: str = ""
    page: Path | None = None

    @property
    def counted(self) -> str:
        """What a study is counted in: "cases" where each is a group of its own, else "groups"."""
        return "cases" if self.scores.group_count == len(self.scores.cases) else "groups"

    @property
    def rough(self) -> bool:
        """Whether there are too few groups for intervals to be taken at their word."""
        return self.scores.group_count < ENOUGH_GROUPS

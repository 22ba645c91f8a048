"""From the lesions of many cases to one row: precision, recall, F1, false positives and Dice, and by size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.evaluation.lesions import Lesion, LesionScore, SizeUnit
from dinoseg.evaluation.statistics import Interval, bootstrap_ratios

SIZE_NAMES = ("small", "medium", "large")

LESION_TITLES: dict[str, str] = {
    "lesion_precision": "Precision",
    "lesion_recall": "Recall",
    "lesion_f1": "F1",
    "false_positives_per_case": "False positives per case",
    "lesion_dice": "Lesion Dice",
}


@dataclass(frozen=True)
class SizeBand:
    """The third of a target's lesions that are small, of medium size, or large.

    Attributes:
        name: "small", "medium" or "large".
        low: size of its smallest lesion, in the unit of the `LesionSummary`.
        high: size of its largest one.
        lesions: how many there are.
        matched: how many of them were matched.
        recall: share of them, with its interval over groups.
        dice: mean over them, 0 for a missed one, with its interval over groups.
    """

    name: str
    low: float
    high: float
    lesions: int
    matched: int
    recall: Interval
    dice: Interval


@dataclass(frozen=True)
class LesionSummary:
    """The lesions of all cases, pooled; intervals are over groups.

    Attributes:
        lesions: components of the targets.
        predicted: components of the predictions.
        matched: pairs of the two.
        unit: of sizes.
        precision: matched of the predicted; NaN where nothing was predicted.
        recall: matched of the lesions; NaN where there is none.
        f1: of both; NaN where there is none on either side.
        false_positives: predicted components without a partner, per case.
        dice: mean over the lesions, 0 for a missed one.
        sizes: the same by size; empty where the lesions differ too little or are too few.
    """

    lesions: int
    predicted: int
    matched: int
    unit: SizeUnit
    precision: Interval
    recall: Interval
    f1: Interval
    false_positives: Interval
    dice: Interval
    sizes: tuple[SizeBand, ...]

    @property
    def means(self) -> dict[str, Interval]:
        """Name in tables -> its interval, in the order of `LESION_TITLES`."""
        found = (self.precision, self.recall, self.f1, self.false_positives, self.dice)
        return dict(zip(LESION_TITLES, found, strict=True))


def summarise_lesions(
    scores: Sequence[LesionScore | None], groups: Sequence[str], *, seed: int, draws: int = 2000
) -> LesionSummary | None:
    """Return the summary of one class or region over all cases; None where lesions were not scored.

    Args:
        scores: of each case.
        groups: patient or video of each case.
        seed: of the bootstrap.
        draws: number of resamples.
    """
    known = [score for score in scores if score is not None]
    if not known or len(known) < len(scores):
        return None
    matched, predicted, lesions, dice = np.array(
        [(score.matched, score.predicted, len(score.lesions), score.dice_sum) for score in known], dtype=float
    ).T
    above = np.stack([matched, matched, 2 * matched, predicted - matched, dice], axis=1)
    below = np.stack([predicted, lesions, predicted + lesions, np.ones_like(dice), lesions], axis=1)
    precision, recall, f1, false_positives, mean_dice = bootstrap_ratios(
        above, below, groups, seed=seed, draws=draws
    )
    return LesionSummary(
        lesions=int(lesions.sum()),
        predicted=int(predicted.sum()),
        matched=int(matched.sum()),
        unit=known[0].unit,
        precision=precision,
        recall=recall,
        f1=f1,
        false_positives=false_positives,
        dice=mean_dice,
        sizes=_band_by_size(known, groups, seed, draws),
    )


def split_thirds(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the third of each size: 0 small, 1 medium, 2 large; equal sizes are in one third.

    Args:
        sizes: (N,), at least one.
    """
    cuts = np.quantile(sizes, [1 / 3, 2 / 3], method="lower")
    return np.searchsorted(cuts, sizes, side="left")


def _band_by_size(
    scores: Sequence[LesionScore], groups: Sequence[str], seed: int, draws: int
) -> tuple[SizeBand, ...]:
    listed: list[tuple[Lesion, str]] = [
        (lesion, group) for score, group in zip(scores, groups, strict=True) for lesion in score.lesions
    ]
    sizes = np.array([lesion.size for lesion, _ in listed])
    if len(set(sizes.tolist())) < len(SIZE_NAMES):
        return ()
    thirds = split_thirds(sizes)
    bands = []
    for third, name in enumerate(SIZE_NAMES):
        members = [pair for pair, place in zip(listed, thirds, strict=True) if place == third]
        if members:
            bands.append(_band(name, members, seed, draws))
    return tuple(bands)


def _band(name: str, members: Sequence[tuple[Lesion, str]], seed: int, draws: int) -> SizeBand:
    dice = np.array([lesion.dice for lesion, _ in members])
    values = np.stack([dice > 0, dice], axis=1).astype(float)
    groups = [group for _, group in members]
    recall, mean = bootstrap_ratios(values, np.ones_like(values), groups, seed=seed, draws=draws)
    return SizeBand(
        name=name,
        low=min(lesion.size for lesion, _ in members),
        high=max(lesion.size for lesion, _ in members),
        lesions=len(members),
        matched=int(np.count_nonzero(dice > 0)),
        recall=recall,
        dice=mean,
    )

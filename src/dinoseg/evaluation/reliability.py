"""Whether a model's confidence can be trusted: calibration of pixels, and which cases it would set aside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoseg.config.confidence import ConfidenceSettings
from dinoseg.evaluation.calibration import Observation, Pixels
from dinoseg.model.confidence import Confidence, Floats, calibrate, estimate

BINS = 10
FAILED = 0.6
"""Dice below which a mask has failed."""


@dataclass(frozen=True)
class CaseConfidence:
    """One case: what was expected, and what came.

    Attributes:
        case: its name.
        confidence: that the model states.
        dice: mean over the foreground classes.
    """

    case: str
    confidence: Confidence
    dice: float


@dataclass(frozen=True)
class Bin:
    """Pixels whose most probable class has about the same probability.

    Attributes:
        share: of all pixels.
        confidence: mean probability of that class; NaN where the bin is empty.
        accuracy: share of them where it is right.
    """

    share: float
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """How confidence and scores agree.

    Attributes:
        cases: what each case was expected to be.
        calibrated_on: validation cases; 0 for a model that is not calibrated.
        temperature: of the calibration; 1 without.
        in_sample: the cases are those that the model was calibrated on, and so the figures too good.
        before: bins of the bare probabilities.
        after: of the calibrated ones; empty without calibration.
        curve: mean 1 - Dice of the most confident case, of the two most confident, and so on.
        oracle: the same in the order of the true Dice.
        expected_error: mean absolute difference of expected and true Dice.
        failures: cases with a Dice below `FAILED`.
        auroc: chance that a failed case is expected to be worse than one that has not failed; NaN
            without both kinds.
    """

    cases: tuple[CaseConfidence, ...]
    calibrated_on: int
    temperature: float
    in_sample: bool
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]
    curve: tuple[float, ...]
    oracle: tuple[float, ...]
    expected_error: float
    failures: int
    auroc: float

    def describe(self) -> dict[str, Any]:
        """For JSON, without the single cases, which are in cases.csv."""
        names = [
            "calibrated_on",
            "temperature",
            "in_sample",
            "ece_before",
            "ece_after",
            "aurc",
            "aurc_random",
        ]
        names += ["aurc_oracle", "expected_error", "failures", "auroc"]
        bins = {name: [vars(each) for each in getattr(self, name)] for name in ("before", "after")}
        return {"cases": len(self.cases), **{name: getattr(self, name) for name in names}, **bins}

    @property
    def ece_before(self) -> float:
        """Expected calibration error of the bare probabilities; NaN where no pixel was looked at."""
        return find_ece(self.before)

    @property
    def ece_after(self) -> float:
        """That of the calibrated ones; NaN without calibration."""
        return find_ece(self.after)

    @property
    def aurc(self) -> float:
        """Area under the risk-coverage curve: mean risk over all coverages."""
        return float(np.mean(self.curve))

    @property
    def aurc_oracle(self) -> float:
        """The least that any order of the cases can have."""
        return float(np.mean(self.oracle))

    @property
    def aurc_random(self) -> float:
        """What a random order has on average: the mean risk."""
        return self.curve[-1]


def assess(
    names: Sequence[str],
    observations: Sequence[Observation],
    settings: ConfidenceSettings | None,
    *,
    in_sample: bool = False,
) -> Reliability | None:
    """Compare what was expected with what came; None where nothing was observed.

    Args:
        names: of the cases.
        observations: of the same cases; those without a decided class are left out.
        settings: the calibration of the model.
        in_sample: the cases are those that it was fitted on.
    """
    cases = tuple(
        CaseConfidence(
            name, estimate(settings, each.tally, each.embedding), float(np.mean(list(each.dice.values())))
        )
        for name, each in zip(names, observations, strict=True)
        if each.dice
    )
    if not cases:
        return None
    dice = np.array([case.dice for case in cases])
    expected = np.array([case.confidence.expected_dice for case in cases])
    temperature = 1.0 if settings is None else settings.temperature
    return Reliability(
        cases=cases,
        calibrated_on=0 if settings is None else settings.cases,
        temperature=temperature,
        in_sample=in_sample and settings is not None,
        before=find_bins(observations, 1.0),
        after=() if settings is None else find_bins(observations, temperature),
        curve=find_risks(expected, dice),
        oracle=find_risks(dice, dice),
        expected_error=float(np.abs(expected - dice).mean()),
        failures=int((dice < FAILED).sum()),
        auroc=find_auroc(-expected, dice < FAILED),
    )


def find_bins(observations: Sequence[Observation], temperature: float) -> tuple[Bin, ...]:
    """Pixels of all cases by the probability of their most probable class."""
    pixels = Pixels.join([each.pixels for each in observations])
    sure = calibrate(pixels.probabilities, temperature).max(axis=0).astype(np.float64)
    right = pixels.probabilities.argmax(axis=0) == pixels.labels
    if not len(sure):
        return ()
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(places, weights=sure, minlength=BINS) / counts
        rights = np.bincount(places, weights=right, minlength=BINS) / counts
    shares = counts / counts.sum()
    rows = zip(shares.tolist(), means.tolist(), rights.tolist(), strict=True)
    return tuple(Bin(*row) for row in rows)


def find_ece(bins: Sequence[Bin]) -> float:
    """Mean distance of confidence and accuracy over the pixels; NaN without any."""
    filled = [each for each in bins if each.share > 0]
    if not filled:
        return math.nan
    return sum(each.share * abs(each.confidence - each.accuracy) for each in filled)


def find_risks(confidence: Floats, dice: Floats) -> tuple[float, ...]:
    """Mean 1 - Dice of the first, the first two, … in falling order of confidence; ties share their mean."""
    risks = 1 - dice
    values, groups = np.unique(-confidence, return_inverse=True)
    shared = np.bincount(groups, weights=risks) / np.bincount(groups)
    ordered = shared[groups][np.argsort(-confidence, kind="stable")]
    found = np.cumsum(ordered) / np.arange(1, len(values[groups]) + 1)
    return tuple(found.tolist())


def find_auroc(scores: Floats, events: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    """Chance that an event has a higher score than another case, ties counted half; NaN without both."""
    yes, no = scores[events], scores[~events]
    if not len(yes) or not len(no):
        return math.nan
    above = (yes[:, None] > no).sum() + 0.5 * (yes[:, None] == no).sum()
    return float(above / (len(yes) * len(no)))

"""Fitting what probabilities are worth on validation cases: temperature, expected Dice, chance of a miss."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.config.confidence import FEWEST, ConfidenceSettings, FeatureSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.model.confidence import (
    Array,
    Floats,
    Tally,
    calibrate,
    find_distances,
    pack_embedding,
    unpack_embeddings,
)
from dinoseg.progress import Progress

PIXELS = 2000
"""Pixels of each case that are looked at, drawn at random; all where it has fewer."""

_MOST_PIXELS = 200_000  # of all cases, for a temperature
_TEMPERATURES = (0.1, 10.0)
_PERCENTILE = 99
_TINY = 1e-7
_KNOTS = 30
_REMEMBERED = 64  # training cases that an input is compared with


@dataclass(frozen=True, eq=False)
class Observation:
    """A case that was predicted and is labelled.

    Attributes:
        tally: of its probabilities.
        dice: class id -> Dice of the mask, of foreground classes that somebody decided.
        missed: class id -> whether the target holds the class and the mask nothing of that.
        pixels: some of them.
        embedding: (C,), mean of the backbone's last feature map.
    """

    tally: Tally
    dice: Mapping[int, float]
    missed: Mapping[int, bool]
    pixels: Pixels
    embedding: Array | None = None


@dataclass(frozen=True, eq=False)
class Pixels:
    """Some pixels of a case, or of one slice.

    Attributes:
        probabilities: (classes, N).
        labels: (N,) class ids.
    """

    probabilities: Array
    labels: NDArray[np.uint8]

    @classmethod
    def draw(cls, name: str, scores: Array, label: NDArray[np.uint8], *, most: int = PIXELS) -> Pixels:
        """Pixels that somebody decided, at places that are the same whenever a name is.

        Args:
            name: of the case or slice.
            scores: class probabilities (classes, H, W).
            label: (H, W) class ids.
            most: number of places.
        """
        count = label.size
        places = np.arange(count)
        if count > most:
            places = np.random.default_rng(zlib.crc32(name.encode())).integers(0, count, most)
        labels = label.reshape(-1)[places]
        decided = labels != IGNORE_ID
        return cls(scores.reshape(len(scores), -1)[:, places[decided]], labels[decided])

    @classmethod
    def join(cls, parts: Sequence[Pixels]) -> Pixels:
        """Those of all slices."""
        return cls(
            np.concatenate([part.probabilities for part in parts], axis=1),
            np.concatenate([part.labels for part in parts]),
        )


def fit_confidence(
    observations: Sequence[Observation], *, training: Sequence[Array] = ()
) -> ConfidenceSettings | None:
    """What the probabilities of a model are worth; None for fewer cases than `FEWEST`.

    Args:
        observations: of validation cases.
        training: embeddings of training cases; those of the observations where none are given.
    """
    if len(observations) < FEWEST:
        return None
    classes = [(each, index) for each in observations for index in each.dice]
    soft = [each.tally.soft_dice(index) for each, index in classes]
    dice = np.array([each.dice[index] for each, index in classes])
    missed = np.array([each.missed[index] for each, index in classes], np.float64)
    found = np.array([value is not None for value in soft], bool)
    scores = np.array([value for value in soft if value is not None], np.float64)
    curve = fit_isotonic(scores, dice[found])
    empty = int((~found).sum())
    return ConfidenceSettings(
        cases=len(observations),
        temperature=fit_temperature(observations),
        soft_dice=tuple(curve[0]),
        dice=tuple(curve[1]),
        miss=fit_logistic(scores, missed[found]),
        empty_dice=round((float(dice[~found].sum()) + 0.5) / (empty + 1), 6),
        empty_miss=round((float(missed[~found].sum()) + 0.5) / (empty + 1), 6),
        features=_fit_features(observations, training),
    )


def tell_calibration(calibration: ConfidenceSettings | None, cases: int, progress: Progress) -> None:
    """Say where confidence is not calibrated, because there are too few cases."""
    if calibration is None:
        progress.note(f"confidence is not calibrated: that takes {FEWEST} validation cases, here are {cases}")


def fit_temperature(observations: Sequence[Observation]) -> float:
    """The divisor of log-probabilities under which the labels are likeliest, within 0.1 to 10."""
    pixels = Pixels.join([each.pixels for each in observations])
    scores, labels = pixels.probabilities, pixels.labels
    step = max(1, -(-len(labels) // _MOST_PIXELS))
    scores, labels = scores[:, ::step], labels[::step]
    if not len(labels):
        return 1.0

    def measure(logarithm: float) -> float:
        calibrated = calibrate(scores, math.exp(logarithm))
        right = calibrated[labels, np.arange(len(labels))]
        return -float(np.log(np.maximum(right, _TINY)).mean())

    low, high = (math.log(end) for end in _TEMPERATURES)
    return round(math.exp(_minimise(measure, low, high)), 4)


def fit_isotonic(scores: Floats, values: Floats) -> tuple[list[float], list[float]]:
    """The rising curve nearest to the values, from (0, 0): scores and values of some thirty corners.

    Source: pool adjacent violators (Ayer et al. 1955); the means of the pools are joined by lines.
    """
    order = np.argsort(scores, kind="stable")
    pools: list[tuple[float, float, int]] = []  # sum of scores, of values, number
    for score, value in zip(scores[order].tolist(), values[order].tolist(), strict=True):
        pools.append((score, value, 1))
        while len(pools) > 1 and pools[-2][1] / pools[-2][2] >= pools[-1][1] / pools[-1][2]:
            last, before = pools.pop(), pools.pop()
            pools.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    corners: dict[float, float] = {}
    for score, value, number in pools:  # of pools with equal mean scores the last
        corners[round(min(1.0, score / number), 6)] = round(value / number, 6)
    points = sorted(corners.items())
    if len(points) > _KNOTS:
        points = [points[int(index)] for index in np.linspace(0, len(points) - 1, _KNOTS)]
    if points and points[0][0] > 0:
        points = [(0.0, 0.0), *points]  # of a lower score than any less is expected, not the same
    return [score for score, _ in points], [value for _, value in points]


def fit_logistic(scores: Floats, events: Floats) -> tuple[float, float]:
    """Slope and intercept of the log-odds of an event, which does not rise with the score.

    Source: Platt (1999), whose smoothed targets keep a probability off 0 and 1 where few events, or none,
    were seen.
    """
    number, seen = len(scores), float(events.sum())
    if not number:
        return 0.0, 0.0
    targets = np.where(events > 0, (seen + 1) / (seen + 2), 1 / (number - seen + 2))
    design = np.stack([scores, np.ones(number)], axis=1)
    weights = np.array([0.0, _log_odds(float(targets.mean()))])
    for _ in range(100):
        chances = 0.5 + 0.5 * np.tanh(0.5 * (design @ weights))
        slope = design.T @ (chances - targets) + np.array([1e-3 * weights[0], 0])
        bend = (design * (chances * (1 - chances))[:, None]).T @ design + 1e-3 * np.eye(2)
        move = np.linalg.solve(bend, slope)
        weights = weights - np.clip(move, -5, 5)
        if np.abs(move).max() < 1e-9:
            break
    if weights[0] > 0:
        return 0.0, round(_log_odds(float(targets.mean())), 6)
    return round(float(weights[0]), 6), round(float(weights[1]), 6)


def _log_odds(chance: float) -> float:
    return math.log(chance / (1 - chance))


def _minimise(measure: Callable[[float], float], low: float, high: float) -> float:
    """Golden section: the lowest place of a function with one valley."""
    ratio = (math.sqrt(5) - 1) / 2
    inner = [high - ratio * (high - low), low + ratio * (high - low)]
    values = [measure(place) for place in inner]
    while high - low > 1e-3:
        if values[0] < values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - ratio * (high - low)
            values[0] = measure(inner[0])
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + ratio * (high - low)
            values[1] = measure(inner[1])
    return (low + high) / 2


def _fit_features(observations: Sequence[Observation], training: Sequence[Array]) -> FeatureSettings | None:
    validation = [each.embedding for each in observations if each.embedding is not None]
    if len(validation) < len(observations):
        return None
    known = list(training) or validation
    kept = np.random.default_rng(0).permutation(len(known))[:_REMEMBERED]
    packed = [pack_embedding(known[index]) for index in kept]
    rows = unpack_embeddings(packed)
    nearest = []
    for index, embedding in enumerate(validation):
        others = rows if training else rows[kept != index]  # a case is no neighbour of itself
        nearest.append(find_distances(others, embedding).min())
    limit = round(max(float(np.percentile(nearest, _PERCENTILE)), 1e-6), 8)
    return FeatureSettings(cases=tuple(packed), limit=limit)

"""What a model's probabilities are worth: expected Dice, probability of a miss, uncertainty; NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.config.confidence import ConfidenceSettings

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

_TINY = 1e-7  # least probability whose logarithm is taken


@dataclass(frozen=True)
class Tally:
    """Sums over the pixels of an image, or the voxels of a volume; each has a number per class.

    Attributes:
        predicted: pixels where the class is the most probable one.
        probable: sum of its probability.
        agreed: sum of its probability over the pixels where it is predicted.
    """

    predicted: Floats
    probable: Floats
    agreed: Floats

    @classmethod
    def of(cls, scores: Array) -> Tally:
        """That of class probabilities (classes, H, W)."""
        flat = scores.reshape(len(scores), -1)
        ids, best = flat.argmax(axis=0), flat.max(axis=0)
        return cls(
            np.bincount(ids, minlength=len(flat)).astype(np.float64),
            flat.sum(axis=1, dtype=np.float64),
            np.bincount(ids, weights=best, minlength=len(flat)).astype(np.float64),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.predicted + other.predicted, self.probable + other.probable, self.agreed + other.agreed
        )

    def scale(self, factor: float) -> Tally:
        """All sums times a factor, which changes no soft Dice."""
        return Tally(self.predicted * factor, self.probable * factor, self.agreed * factor)

    def soft_dice(self, class_id: int) -> float | None:
        """Dice that is expected if every probability is right; None where the class is not predicted."""
        if self.predicted[class_id] == 0:
            return None
        both = self.predicted[class_id] + self.probable[class_id]
        return float(min(1.0, 2 * self.agreed[class_id] / both))


@dataclass(frozen=True)
class Confidence:
    """How much a mask is to be trusted, before any postprocessing.

    Attributes:
        expected_dice: mean over the foreground classes.
        miss: probability that of one class, the likeliest, nothing is found that is there; None where
            that was not calibrated.
        classes: class id -> expected Dice.
        calibrated_on: validation cases; 0: not calibrated, the Dice is that of the bare probabilities.
        distance: of the input's pooled backbone features from those of the nearest training case, 1 = as
            far as the 99th of 100 validation cases; None where that is not known.
    """

    expected_dice: float
    miss: float | None
    classes: Mapping[int, float]
    calibrated_on: int
    distance: float | None = None

    @property
    def is_unlike(self) -> bool:
        """Whether the input is farther from the training cases than validation cases are."""
        return self.distance is not None and self.distance > 1

    @classmethod
    def read(cls, described: Any) -> Confidence | None:
        """What `describe` gave; None where it is not that."""
        try:
            miss, distance = described["miss_probability"], described["feature_distance"]
            classes = described["expected_dice_of_classes"].items()
            return cls(
                expected_dice=float(described["expected_dice"]),
                miss=None if miss is None else float(miss),
                classes={int(key): float(value) for key, value in classes},
                calibrated_on=int(described["calibrated_on"]),
                distance=None if distance is None else float(distance),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "expected_dice": round(self.expected_dice, 4),
            "miss_probability": None if self.miss is None else round(self.miss, 4),
            "expected_dice_of_classes": {str(key): round(value, 4) for key, value in self.classes.items()},
            "calibrated_on": self.calibrated_on,
            "feature_distance": None if self.distance is None else round(self.distance, 3),
        }


def estimate(settings: ConfidenceSettings | None, tally: Tally, embedding: Array | None = None) -> Confidence:
    """The confidence of a mask.

    Args:
        settings: of the calibration; None for none.
        tally: of the probabilities.
        embedding: (C,), mean of the backbone's last feature map.
    """
    soft = {index: tally.soft_dice(index) for index in range(1, len(tally.predicted))}
    if settings is None:
        dice = {index: 0.0 if value is None else value for index, value in soft.items()}
        return Confidence(float(np.mean(list(dice.values()))), None, dice, 0)
    dice = {index: _expect(settings, value) for index, value in soft.items()}
    return Confidence(
        expected_dice=float(np.mean(list(dice.values()))),
        miss=max(_find_miss(settings, value) for value in soft.values()),
        classes=dice,
        calibrated_on=settings.cases,
        distance=_find_distance(settings, embedding),
    )


def _find_distance(settings: ConfidenceSettings, embedding: Array | None) -> float | None:
    known = settings.features
    if known is None or embedding is None or len(known.cases[0]) != 2 * len(embedding):
        return None
    return float(find_distances(unpack_embeddings(known.cases), embedding).min() / known.limit)


def find_distances(rows: Floats, embedding: Array) -> Floats:
    """1 - cosine between (C,) and each of (N, C)."""
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(embedding)
    distances: Floats = 1 - rows @ embedding.astype(np.float64) / np.maximum(lengths, 1e-12)
    return distances


def pack_embedding(embedding: Array) -> str:
    """(C,) as a signed byte per channel, in parts of the largest, in hex."""
    largest = max(float(np.abs(embedding).max()), 1e-12)
    packed: bytes = np.rint(embedding / largest * 127).astype(np.int8).tobytes()
    return packed.hex()


def unpack_embeddings(rows: Sequence[str]) -> Floats:
    """(N, C) of what `pack_embedding` gave, each in a scale of its own."""
    return np.stack([np.frombuffer(bytes.fromhex(row), np.int8) for row in rows]).astype(np.float64)


def calibrate(scores: Array, temperature: float) -> Array:
    """Class probabilities (classes, …) whose logarithms are divided by the temperature."""
    if temperature == 1:
        return scores
    logs = np.log(np.maximum(scores, _TINY)) / np.float32(temperature)
    raised: Array = np.exp(logs - logs.max(axis=0))
    raised /= raised.sum(axis=0)
    return raised


def find_uncertainty(settings: ConfidenceSettings | None, scores: Array) -> Array:
    """Entropy of calibrated class probabilities (classes, …), 0 for certain to 1 for all classes alike."""
    calibrated = calibrate(scores, 1.0 if settings is None else settings.temperature)
    entropy: Array = -(calibrated * np.log(np.maximum(calibrated, _TINY))).sum(axis=0)
    entropy /= math.log(len(scores))
    return np.clip(entropy, 0, 1, out=entropy)


def calibration_of(model: Any) -> ConfidenceSettings | None:
    """The calibration that a model brings, if it does."""
    found = getattr(model, "calibration", None)  # not every network has one
    return found if isinstance(found, ConfidenceSettings) else None


def _expect(settings: ConfidenceSettings, soft: float | None) -> float:
    if soft is None:
        return settings.empty_dice
    if not settings.dice:
        return soft
    return float(np.interp(soft, settings.soft_dice, settings.dice))


def _find_miss(settings: ConfidenceSettings, soft: float | None) -> float:
    if soft is None:
        return settings.empty_miss
    slope, intercept = settings.miss
    return float(0.5 + 0.5 * math.tanh(0.5 * (slope * soft + intercept)))

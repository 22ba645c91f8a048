"""From class probabilities to a mask: the most probable class, or extents of the greatest expected Dice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import Decision

Array = NDArray[np.float32]

STEPS = 100  # of probability: as many levels are tried
LOWEST, HIGHEST = 10, 90  # of them: beyond, a mask would hang on single pixels


def decide(scores: Array, decision: Decision) -> NDArray[np.uint8]:
    """Class ids (H, W) of class probabilities (classes, H, W), background first.

    Args:
        scores: sum to 1 at every pixel.
        decision: "probable": the most probable class of every pixel; "dice": see `find_extents`.
    """
    return find_extents(scores) if decision == "dice" else find_class(scores)


def find_class(scores: Array) -> NDArray[np.uint8]:
    """The highest of (classes, H, W), as ids (H, W); of equal ones the first."""
    best = scores[0].copy()
    ids = np.zeros(best.shape, np.uint8)
    for index in range(1, len(scores)):  # several times as fast as argmax over the first axis
        ids[scores[index] > best] = index
        np.maximum(best, scores[index], out=best)
    return ids


def find_extents(scores: Array) -> NDArray[np.uint8]:
    """Each class as large as its Dice is expected to be greatest; of (classes, H, W), as ids (H, W).

    A mask that is right more often than not at every pixel is too small for its Dice where the model is in
    doubt: the best level for a class is half of the Dice that it reaches (Lipton, Elkan and Naryanaswamy,
    arXiv 1402.1892). Whether a class is there at all is decided as ever: where it is nowhere the most
    probable one, it stays away. Where classes meet, the one that exceeds its level by the greater factor
    wins, of equal ones the first.
    """
    ids = find_class(scores)
    present = [index for index in np.unique(ids).tolist() if index]
    if not present:
        return ids
    ids[:] = 0
    most = np.full(ids.shape, np.nextafter(np.float32(1), np.float32(0)))
    for index in present:
        excess = scores[index] / np.float32(find_level(scores[index]))
        more = excess > most
        ids[more] = index
        most[more] = excess[more]
    return ids


def find_level(probabilities: Array) -> float:
    """Least probability that belongs to the mask of the greatest expected Dice, 0.1 to 0.9.

    Pixels are taken as independent, and a ratio of sums for its mean, which is close where there are many.

    Args:
        probabilities: of one class, of any shape.
    """
    flat = probabilities.ravel()
    bins = np.minimum((flat * STEPS).astype(np.int64), STEPS - 1)
    pixels = _at_least(np.bincount(bins, minlength=STEPS))
    mass = _at_least(np.bincount(bins, weights=flat, minlength=STEPS))
    tried = slice(LOWEST, HIGHEST + 1)
    expected = 2 * mass[tried] / (pixels[tried] + mass[0])
    return (HIGHEST - int(expected[::-1].argmax())) / STEPS  # of equal ones the highest: the same mask


def _at_least(histogram: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of each bin and those above it."""
    return histogram[::-1].cumsum()[::-1].astype(np.float64)

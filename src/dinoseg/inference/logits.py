"""From logits to class probabilities and masks at native size, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import Decision
from dinoseg.errors import RunError
from dinoseg.model.confidence import Tally
from dinoseg.model.decision import decide, find_class
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.network import Answer, Answering, Array, Network, Size, decision_of
from dinoseg.model.symmetries import SYMMETRIES, Symmetry


def answering(model: Network) -> Answering:
    """The model itself where it computes masks, else one that makes them of its logits."""
    return model if isinstance(model, Answering) else FromLogits(model)


@dataclass(frozen=True)
class FromLogits:
    """Answers of a network that gives logits only."""

    network: Network

    def answer(
        self,
        pixels: Array,
        sizes: Sequence[Size],
        *,
        symmetries: int = 1,
        probabilities: bool = False,
        spacing: float | None = None,
    ) -> list[Answer]:
        """Masks of prepared images; see `Answering`.

        Raises:
            RunError: the logits are not finite.
        """
        votes = [self._vote(pixels, spacing)]
        for symmetry in SYMMETRIES[1:symmetries]:
            votes.append(turn_back(self._vote(turn(pixels, symmetry), spacing), symmetry))
        return [
            _answer(
                [vote[index] for vote in votes],
                size,
                probabilities=probabilities,
                decision=decision_of(self.network.settings),
            )
            for index, size in enumerate(sizes)
        ]

    def _vote(self, pixels: Array, spacing: float | None) -> Array:
        # Networks that read single slices need not know the word.
        told = {} if spacing is None else {"spacing": spacing}
        logits = np.asarray(self.network.logits(pixels, **told), np.float32)
        if not np.isfinite(logits).all():
            raise RunError(
                "the model's output holds NaN or infinity; its weights are damaged, train it again"
            )
        return logits


def turn(maps: Array, symmetry: Symmetry) -> Array:
    """(…, H, W) under a symmetry: (…, W, H) where it is transposed."""
    laid = maps.swapaxes(-2, -1) if symmetry.transposed else maps
    return np.ascontiguousarray(np.flip(laid, symmetry.mirrored))


def turn_back(maps: Array, symmetry: Symmetry) -> Array:
    """What `turn` was given, from what it gave."""
    laid = np.flip(maps, symmetry.mirrored)
    return laid.swapaxes(-2, -1) if symmetry.transposed else laid


def resize_logits(logits: Array, size: Size) -> Array:
    """Bilinear resize of (K, h, w) by the four nearest cells, also where it shrinks; half-pixel centres."""
    for axis, length in ((1, size[0]), (2, size[1])):
        if logits.shape[axis] != length:
            logits = _resize_axis(logits, axis, length)
    return logits


def to_probabilities(logits: Array) -> Array:
    """Class probabilities (classes, H, W), background first, of logits (K, H, W)."""
    if len(logits) == 1:
        foreground = 0.5 + 0.5 * np.tanh(0.5 * logits)  # the logistic function, without overflow
        return np.concatenate([1 - foreground, foreground])
    scores: Array = np.exp(logits - logits.max(axis=0))
    scores /= scores.sum(axis=0)
    return scores


def to_mask(logits: Array) -> NDArray[np.uint8]:
    """The most probable class (H, W) of logits (K, H, W); of equal ones the first."""
    return (logits[0] > 0).astype(np.uint8) if len(logits) == 1 else find_class(logits)


def _answer(votes: Sequence[Array], size: Size, *, probabilities: bool, decision: Decision) -> Answer:
    tally = Tally.of(_average_votes(votes))
    logits = resize_logits(votes[0], size)
    if len(votes) == 1 and decision == "probable":
        # Straight from the logits, whether or not probabilities are kept: one answer either way.
        return Answer(to_mask(logits), to_probabilities(logits) if probabilities else None, tally)
    scores = to_probabilities(logits)
    for vote in votes[1:]:
        scores += to_probabilities(resize_logits(vote, size))
    scores /= len(votes)
    return Answer(decide(scores, decision), scores if probabilities else None, tally)


def _average_votes(votes: Sequence[Array]) -> Array:
    scores = to_probabilities(votes[0])
    for vote in votes[1:]:
        scores += to_probabilities(vote)
    scores /= len(votes)
    return scores


def _resize_axis(logits: Array, axis: int, length: int) -> Array:
    size = logits.shape[axis]
    # As torch: the ratio in single precision, the place of a cell rounded to single once.
    ratio = float(np.float32(size) / np.float32(length))
    places = np.maximum(((np.arange(length) + 0.5) * ratio - 0.5).astype(np.float32), 0)
    lower = np.minimum(places.astype(np.int64), size - 1)
    share = (places - lower).astype(np.float32).reshape(-1, *[1] * (logits.ndim - 1 - axis))
    near: Array = logits.take(lower, axis)
    far: Array = logits.take(np.minimum(lower + 1, size - 1), axis)
    far -= near
    far *= share
    far += near
    return far


def list_groups(model: Network) -> tuple[Network, ...]:
    """What computes: the groups of an ensemble, or the model itself."""
    return model.groups if isinstance(model, Ensemble) else (model,)


def average(model: Network, answers: Sequence[Answer], *, probabilities: bool) -> Answer:
    """The answer of a model from those of its groups, which hold probabilities on one grid.

    Args:
        model: says how many members each group stands for.
        answers: of the groups, in order.
        probabilities: keep them.
    """
    found = [answer.probabilities for answer in answers if answer.probabilities is not None]
    weights = model.weights if isinstance(model, Ensemble) else (1,)
    scores: Array = found[0] * (weights[0] / sum(weights)) if len(found) > 1 else found[0]
    for weight, each in zip(weights[1:], found[1:], strict=True):
        scores += each * (weight / sum(weights))
    mask = decide(scores, decision_of(model.settings)) if len(found) > 1 else answers[0].mask
    kept = scores if probabilities else None
    return Answer(mask, kept, _join_tallies(answers, weights), answers[0].embedding)


def _join_tallies(answers: Sequence[Answer], weights: Sequence[int]) -> Tally | None:
    """Those of all groups, each counting as its members, whatever the grid; None where one does not tell."""
    shares = [
        answer.tally.scale(weight / float(answer.tally.predicted.sum()))
        for answer, weight in zip(answers, weights, strict=True)
        if answer.tally is not None
    ]
    return sum(shares[1:], shares[0]) if len(shares) == len(answers) else None

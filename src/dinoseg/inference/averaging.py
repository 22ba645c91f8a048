"""What the groups of an ensemble say becomes one answer."""

from __future__ import annotations

from collections.abc import Sequence

from dinoseg.inference.logits import find_class
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.network import Answer, Array, Network


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
    if len(found) == 1:
        return Answer(answers[0].mask, found[0] if probabilities else None)
    weights = model.weights if isinstance(model, Ensemble) else (1,) * len(found)
    scores: Array = found[0] * (weights[0] / sum(weights))
    for weight, each in zip(weights[1:], found[1:], strict=True):
        scores += each * (weight / sum(weights))
    return Answer(find_class(scores), scores if probabilities else None)

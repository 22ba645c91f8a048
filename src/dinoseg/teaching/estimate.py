"""How good the model probably is: every slice of a few is left out in turn, and judged by its own paint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dinoseg.teaching.learner import Floats, Learner, Model
from dinoseg.teaching.records import Estimated

MOST_LEFT_OUT = 8  # slices, evenly spread, so that a round takes no longer with more of them
_FEWEST = 2
_CELLS = 10_000  # that are looked at beside the paint for each of them
_ENOUGH = 0.01  # of Dice: a smaller gain from half of the images is none
_FEWEST_FOR_ADVICE = 4
#: Of Student's t, two-sided, for 1, 2, … degrees of freedom.
_T95 = (12.7, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36)


def estimate(learner: Learner) -> Estimated | None:
    """Mean Dice of slices that are left out in turn, counted where they are painted; None with too few."""
    painted = learner.painted
    if len(painted) < _FEWEST:
        return None
    places = np.linspace(0, len(painted) - 1, min(len(painted), MOST_LEFT_OUT))
    left_out = [painted[int(place)] for place in sorted({round(place) for place in places})]
    found = [score for frame in left_out if (score := _judge(learner, frame)) is not None]
    if len(found) < _FEWEST:
        return None
    mean = float(np.mean(found))
    error = float(np.std(found, ddof=1)) / math.sqrt(len(found)) * _T95[len(found) - 2]
    return Estimated(len(painted), mean, max(0.0, mean - error), min(1.0, mean + error))


def _judge(learner: Learner, frame: int) -> float | None:
    """Mean Dice of the classes that are painted on a slice, by a model that has not seen its paint."""
    model = learner.learn(without=[frame], most_cells=_CELLS)
    if model is None:
        return None
    paint = learner.find_paint(frame)
    best = learner.score(model, frame).argmax(axis=1)
    found = [
        score for class_id in paint if class_id and (score := _dice(paint, class_id, best, model)) is not None
    ]
    return float(np.mean(found)) if found else None


def _dice(paint: Mapping[int, Floats], class_id: int, best: NDArray[np.int64], model: Model) -> float | None:
    """Of one class, counted in painted pixels."""
    if class_id not in model.classes:
        return None
    told = best == model.classes.index(class_id)
    own = paint[class_id]
    hit = float(own[told].sum())
    claimed = sum(float(weights[told].sum()) for weights in paint.values())
    return 2 * hit / (float(own.sum()) + claimed)


def advise(history: Sequence[tuple[int, Estimated]]) -> str:
    """Whether more labels help, from how the estimate moved while they doubled."""
    if not history:
        return "paint two images or more: the estimate leaves each of them out in turn"
    now = history[-1][1]
    if now.images < _FEWEST_FOR_ADVICE:
        return f"{now.images} images are too few to tell; more labels help"
    earlier = [found.dice for _, found in history if found.images <= now.images / 2]
    if not earlier:
        return "more labels help, as far as can be told yet"
    gain = now.dice - earlier[-1]
    if gain > _ENOUGH:
        return f"more labels help: Dice rose by {gain:.2f} since half as many images"
    return (
        f"more labels of this kind do not help much: Dice moved by {gain:+.2f} since half as many images; "
        "accept good masks and train fully"
    )

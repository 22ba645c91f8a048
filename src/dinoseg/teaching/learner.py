"""The learner: a linear map from remembered features to classes, in closed form from sums over slices.

Of each painted slice only two moments a class are needed, the mean of x and of its products over the painted
cells (x: the numbers of a cell and a 1). They add up over slices, so that a stroke replaces those of its own
slice and nothing else: what a round takes does not depend on how many slices were painted before. Classes
count alike, and so do slices. A solution then says of which cells of all slices, painted or not, it is sure;
their moments join those of the paint, the less the more is painted, and the next solution is better.
Nothing is drawn at random, and nothing depends on the order of strokes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dinoseg.teaching.features import Memory
from dinoseg.teaching.strokes import UNPAINTED

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

SHRINKAGE = 3.0  # of the mean square of a number
SURE = 0.3  # of the margin between the two best classes, which is one where the paint is fitted exactly
STAND_IN = 2.0  # painted slices of a class that weigh as much as the cells that a solution is sure of
REPEATS = 2  # times that a solution says of what it is sure
MOST_CELLS = 40_000  # that these are looked for among
_FEW = 2.0  # painted cells of a class count half
_CHUNK = 64  # slices


@dataclass
class Moments:
    """Sums over cells of one class.

    Attributes:
        weight: of the slices.
        first: (D + 1,) weighted sum of x.
        second: (D + 1, D + 1) weighted sum of x xᵀ.
    """

    weight: float
    first: Doubles
    second: Doubles

    @classmethod
    def zero(cls, width: int) -> Moments:
        """Of no cell."""
        return cls(0.0, np.zeros(width), np.zeros((width, width)))

    @classmethod
    def of(cls, cells: Floats, weights: Floats | None = None) -> Moments:
        """Of cells (n, D) that count alike, or by their weights, together 1."""
        if not len(cells):
            return cls.zero(cells.shape[1] + 1)
        share = np.full(len(cells), 1 / len(cells), np.float32) if weights is None else weights
        extended = np.concatenate([cells, np.ones((len(cells), 1), np.float32)], axis=1)
        weighted = extended * share[:, None]
        return cls(1.0, weighted.sum(axis=0, dtype=np.float64), (weighted.T @ extended).astype(np.float64))

    def add(self, other: Moments, factor: float = 1.0) -> None:
        """Add others, or with a negative factor take them away, in place."""
        self.weight += factor * other.weight
        self.first += factor * other.first
        self.second += factor * other.second

    def mean(self) -> Moments:
        """As of one slice."""
        factor = 1 / self.weight if self.weight > 1e-9 else 0.0
        return Moments(min(self.weight, 1.0), self.first * factor, self.second * factor)


Paint = Mapping[int, Floats]  # class -> how much of every cell of a slice shows its paint


def measure_paint(canvas: NDArray[np.uint8], grid: int) -> dict[int, Floats]:
    """How many painted pixels of each class lie in each cell of a slice.

    Args:
        canvas: (H, W) class ids, `UNPAINTED` where nobody said anything.
        grid: cells along each side.

    Returns:
        Class -> (grid * grid,), of the classes that were painted.
    """
    height, width = canvas.shape
    rows, columns = np.nonzero(canvas != UNPAINTED)
    cells = (rows * grid // height) * grid + columns * grid // width
    values = canvas[rows, columns]
    return {
        int(id_): np.bincount(cells[values == id_], minlength=grid * grid).astype(np.float32)
        for id_ in np.unique(values)
    }


@dataclass(frozen=True)
class Model:
    """What was learned.

    Attributes:
        classes: ids, ascending.
        weights: (D + 1, C); the scores of a cell are x @ weights.
    """

    classes: tuple[int, ...]
    weights: Floats

    def score(self, cells: Floats) -> Floats:
        """(n, D) -> (n, C)."""
        scores: Floats = cells @ self.weights[:-1] + self.weights[-1]
        return scores


class Learner:
    """Knows the paint of all slices and what is left of it: sums.

    Args:
        memory: the features.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._paint: dict[int, Paint] = {}
        self._counted: dict[int, dict[int, Floats]] = {}
        self._sums: dict[int, Moments] = {}
        self._width = memory.maps.shape[2] + 1

    def set_paint(self, frame: int, paint: Paint) -> None:
        """Replace what is painted on a slice; counted as soon as its features are there."""
        self._paint[frame] = paint
        self.count(frame)

    def count(self, frame: int) -> None:
        """Bring the sums up to date for a slice."""
        if not self._memory.ready[frame]:
            return
        for class_id, weights in self._counted.pop(frame, {}).items():
            self._sums[class_id].add(self._measure(frame, weights), -1)
        fresh = {
            class_id: weights for class_id, weights in self._paint.get(frame, {}).items() if weights.any()
        }
        for class_id, weights in fresh.items():
            own = self._sums.setdefault(class_id, Moments.zero(self._width))
            own.add(self._measure(frame, weights))
        if fresh:
            self._counted[frame] = fresh

    @property
    def painted(self) -> list[int]:
        """Slices whose paint is counted, in order."""
        return sorted(self._counted)

    def find_paint(self, frame: int) -> Mapping[int, Floats]:
        """Counted paint of a slice."""
        return self._counted.get(frame, {})

    def score(self, model: Model, frame: int) -> Floats:
        """(cells, C) of one slice."""
        return model.score(self._memory.maps[frame].astype(np.float32))

    def learn(self, *, without: Iterable[int] = (), most_cells: int = MOST_CELLS) -> Model | None:
        """The model of all paint, or of all but that of some slices; None where there are no two classes.

        Args:
            without: slices whose paint is taken away.
            most_cells: bound of the cells that are looked at beside the paint.
        """
        sums = self._sum_without(without)
        if len(sums) < 2:
            return None
        means = {class_id: own.mean() for class_id, own in sorted(sums.items())}
        shares = {class_id: STAND_IN / (STAND_IN + own.weight) for class_id, own in sums.items()}
        model = _solve(means)
        cells = self._sample(most_cells)
        for _ in range(REPEATS):
            model = _solve(_join_sure(means, model, cells, shares))
        return model

    def _sum_without(self, frames: Iterable[int]) -> dict[int, Moments]:
        sums = {class_id: Moments(own.weight, own.first, own.second) for class_id, own in self._sums.items()}
        for frame in frames:
            for class_id, weights in self._counted.get(frame, {}).items():
                own = self._measure(frame, weights)
                left = sums[class_id]
                sums[class_id] = Moments(
                    left.weight - own.weight, left.first - own.first, left.second - own.second
                )
        return {class_id: own for class_id, own in sums.items() if own.weight > 1e-6}

    def _measure(self, frame: int, weights: Floats) -> Moments:
        """Moments of the paint of one class on a slice; a few cells count less than many."""
        there = weights > 0
        share = weights[there] / weights[there].sum()
        own = Moments.of(self._memory.maps[frame][there].astype(np.float32), share)
        count = float(there.sum())
        found = Moments.zero(self._width)
        found.add(own, count / (count + _FEW))
        return found

    def _sample(self, most: int) -> Floats:
        """At most so many cells (n, D) of slices whose features are there, evenly spread."""
        ready = np.flatnonzero(self._memory.ready)
        total = len(ready) * self._memory.maps.shape[1]
        step = max(1, -(-total // most))
        parts = []
        for chunk in _chunks(ready):
            parts += [self._memory.maps[frame][(frame % step) :: step] for frame in chunk]
        if not parts:
            return np.zeros((0, self._width - 1), np.float32)
        return np.concatenate(parts).astype(np.float32)


def _solve(means: Mapping[int, Moments]) -> Model:
    """Ridge regression on one number a class, one where it is the class, classes counting alike."""
    count = len(means)
    second = np.mean([own.second for own in means.values()], axis=0)
    first = np.stack([own.first for own in means.values()], axis=1) / count  # (D + 1, C)
    targets = first - first.sum(axis=1, keepdims=True) / count
    strength = np.full(len(second), SHRINKAGE * np.trace(second[:-1, :-1]) / (len(second) - 1) + 1e-12)
    strength[-1] = 1e-9  # the constant is free
    weights = np.linalg.solve(second + np.diag(strength), targets)
    return Model(tuple(means), weights.astype(np.float32))


def _join_sure(
    means: Mapping[int, Moments], model: Model, cells: Floats, shares: Mapping[int, float]
) -> dict[int, Moments]:
    """The moments of the paint, and of the cells that the model is sure of with their share."""
    scores = model.score(cells)
    best, margin = scores.argmax(axis=1), find_margin(scores)
    joined = {}
    for place, (class_id, own) in enumerate(means.items()):
        sure = cells[(best == place) & (margin > SURE)]
        total = Moments.zero(len(own.first))
        share = shares[class_id] if len(sure) else 0.0
        total.add(own, 1 - share)
        total.add(Moments.of(sure), share)
        joined[class_id] = total
    return joined


def find_margin(scores: NDArray[np.floating]) -> Floats:
    """(…, C) -> (…,): how far the best class is before the second."""
    ordered = np.partition(scores, -2, axis=-1)
    margin: Floats = (ordered[..., -1] - ordered[..., -2]).astype(np.float32)
    return margin


@dataclass
class Scores:
    """What the model of a round says of all slices.

    Attributes:
        model: of the round.
        cells: (F, cells, C), float16; of slices whose features are there.
        uncertainty: (F,) 0 to 1, NaN where it is not known.
    """

    model: Model
    cells: NDArray[np.float16]
    uncertainty: Floats
    known: NDArray[np.bool_] = field(repr=False)

    def add(self, memory: Memory, frames: Sequence[int]) -> None:
        """Score further slices whose features are there."""
        for chunk in _chunks(np.asarray(frames, np.int64)):
            maps = memory.maps[chunk].astype(np.float32)  # (n, cells, D)
            scores = self.model.score(maps.reshape(-1, maps.shape[2])).reshape(*maps.shape[:2], -1)
            self.cells[chunk] = scores
            self.uncertainty[chunk] = np.clip(1 - find_margin(scores), 0, 1).mean(axis=1)
            self.known[chunk] = True


def score_all(model: Model, memory: Memory) -> Scores:
    """Score all slices whose features are there."""
    frames, cells = memory.maps.shape[:2]
    scores = Scores(
        model,
        np.zeros((frames, cells, len(model.classes)), np.float16),
        np.full(frames, np.nan, np.float32),
        np.zeros(frames, bool),
    )
    scores.add(memory, np.flatnonzero(memory.ready).tolist())
    return scores


def _chunks(frames: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    return (frames[start : start + _CHUNK] for start in range(0, len(frames), _CHUNK))

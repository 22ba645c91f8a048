"""Rounds of learning in a thread: what was painted since the last one is learned, all slices are scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import Image
from dinoseg.errors import DinosegError
from dinoseg.teaching.estimate import estimate
from dinoseg.teaching.features import FeatureProgress, FeatureThread, Seer
from dinoseg.teaching.frames import Frames
from dinoseg.teaching.learner import Floats, Learner, Model, Paint, Scores, score_all
from dinoseg.teaching.records import Estimated

LOG = logging.getLogger(__name__)
_UNLEARNED = "what is painted here could not be learned from: "


@dataclass(frozen=True)
class Taught:
    """What is known after a round.

    Attributes:
        round: number of the round, from 1; 0 before the first.
        scores: of all slices; None while nothing can be learned, for example from one class alone.
        seconds: from the oldest stroke that it learned to its end.
        painted: slices with paint that counts.
        estimate: the newest one; None while too little is painted.
        estimated: round that it is of.
    """

    round: int = 0
    scores: Scores | None = None
    seconds: float | None = None
    painted: tuple[int, ...] = ()
    estimate: Estimated | None = None
    estimated: int = 0


class Teacher:
    """Learns while a person paints.

    Attributes:
        grid: cells along each side of a slice.
        problems: slice -> why its features cannot be computed.
        taught: what is known now.

    Args:
        frames: all slices.
        seer: sees them.
        basis_path: where the projection of features is kept.
        paint: gives what is painted on a slice.
        tell: called, in a thread, after each round, estimate or new features, with the slices that changed;
            None for all of them.
        first_round: number before the first round, so that rounds grow also when a project is opened again.
    """

    def __init__(
        self,
        frames: Frames,
        seer: Seer,
        basis_path: Path,
        paint: Callable[[int], Paint],
        tell: Callable[[Taught, Iterable[int] | None], None],
        *,
        first_round: int = 0,
    ) -> None:
        self._paint = paint
        self._tell = tell
        self._features = FeatureThread(frames.frames, seer, basis_path, self._take_features)
        self.grid = seer.grid
        self._learner = Learner(self._features.memory)
        self._condition = Condition()
        self._dirty: dict[int, float] = {}
        self._owed: dict[int, float] = {}  # of a round that failed; learned with the next
        self._fresh: list[int] = []
        self._busy = False
        self._stopped = False
        self.problems: dict[int, str] = {}
        self.taught = Taught(first_round)
        self._thread = Thread(target=self._run, name="teacher", daemon=True)

    def start(self, painted: Iterable[int]) -> None:
        """Begin, with slices that were painted earlier."""
        self.teach(painted)
        self._features.start()
        self._thread.start()

    def stop(self) -> None:
        """End both threads."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._features.stop()
        self._thread.join()

    def show(self, frame: int) -> None:
        """Say which slice is looked at."""
        self._features.show(frame)

    def teach(self, frames: Iterable[int]) -> None:
        """Say that what is painted on these slices changed."""
        with self._condition:
            for frame in frames:
                self._dirty.setdefault(frame, time.monotonic())
            self._condition.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until what was painted is learned, where features are there; False if it took too long."""
        with self._condition:
            return self._condition.wait_for(lambda: not (self._dirty or self._fresh or self._busy), timeout)

    @property
    def progress(self) -> FeatureProgress:
        """How far the features are."""
        return self._features.progress

    @property
    def ready(self) -> NDArray[np.bool_]:
        """(F,): whether the features of a slice are there."""
        return self._features.memory.ready

    @property
    def means(self) -> Floats:
        """(F, D): what each slice looks like on the whole."""
        return self._features.memory.means

    def maps(self, frame: int) -> NDArray[np.float16]:
        """(cells, D) of one slice."""
        found: NDArray[np.float16] = self._features.memory.maps[frame]
        return found

    def look(self, image: Image) -> NDArray[np.float16] | None:
        """(cells, D) of an image that is in no project; None before enough slices were seen."""
        return self._features.look(image)

    def _take_features(self, frame: int, error: DinosegError | None) -> None:
        with self._condition:
            if error is not None:
                self.problems[frame] = str(error)
            else:
                self._fresh.append(frame)
            self._condition.notify_all()
        if error is not None:
            self._tell(self.taught, [frame])

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._stopped or self._dirty or self._fresh)
                if self._stopped:
                    return
                self._busy = True
                dirty, self._dirty, self._owed = {**self._owed, **self._dirty}, {}, {}
                fresh, self._fresh = self._fresh, []
            self._features.rest()
            try:
                self._take(dirty, fresh)
            except Exception as error:  # a round that fails must not be the last one
                self._owed = dirty
                self._report_failure([*dirty, *fresh], error)
            finally:
                self._features.go_on()

    def _report_failure(self, frames: list[int], error: Exception) -> None:
        LOG.error("a round of learning failed", exc_info=error)
        for frame in frames:
            self.problems.setdefault(frame, f"{_UNLEARNED}{' '.join(str(error).split())}")
        self._tell(self.taught, frames)

    def _take(self, dirty: dict[int, float], fresh: list[int]) -> None:
        for frame in dirty:
            self._learner.set_paint(frame, self._paint(frame))
            if self.problems.get(frame, "").startswith(_UNLEARNED):
                del self.problems[frame]
        for frame in fresh:
            self._learner.count(frame)
        if dirty or set(fresh) & set(self._learner.painted):
            self._learn(min(dirty.values(), default=time.monotonic()))
        elif self.taught.scores is not None:
            self.taught.scores.add(self._features.memory, fresh)
            self._tell(self.taught, fresh)
        else:
            self._tell(self.taught, fresh)

    def _learn(self, since: float) -> None:
        model: Model | None = self._learner.learn()
        scores = None if model is None else score_all(model, self._features.memory)
        self.taught = Taught(
            round=self.taught.round + 1,
            scores=scores,
            seconds=time.monotonic() - since,
            painted=tuple(self._learner.painted),
            estimate=self.taught.estimate,
            estimated=self.taught.estimated,
        )
        self._tell(self.taught, None)
        if not self._dirty:  # else the next round is more urgent
            found = estimate(self._learner)
            self.taught = replace(self.taught, estimate=found, estimated=self.taught.round)
            self._tell(self.taught, ())

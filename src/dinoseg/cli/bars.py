"""Progress on stderr: bars with the time left on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from dinoseg.progress import show_duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_SPEED = 86_400.0  # items that take minutes have a time left too


def create_progress() -> TerminalProgress | LineProgress:
    """Bars if stderr is a terminal, lines if it is a file or a pipe."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()


class LineProgress:
    """Lines for logs: one at the start of each task, one every ten seconds, one at its end."""

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yield `items`, writing how many are done and how long the rest will take."""
        start = shown = time.monotonic()
        done = 0
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - shown >= SECONDS_BETWEEN_LINES and done < total:
                self.note(
                    f"{label}: {done}/{total}, {show_duration((now - start) / done * (total - done))} left"
                )
                shown = now
        self.note(f"{label}: {done}/{total}, took {show_duration(time.monotonic() - start)}")

    def note(self, message: str) -> None:
        """Write one line."""
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """There is nothing to take off the screen."""


class TerminalProgress:
    """Bars with the time left; nested tasks are shown below each other, notes above them."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._open = 0

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yield `items`, moving a bar."""
        bars = self._start()
        task = bars.add_task(label, total=total)
        bars.advance(task, 0)  # the clock starts here, not with the end of the first item
        try:
            for item in items:
                yield item
                bars.advance(task)
        finally:
            if self._open > 1:
                bars.remove_task(task)  # a long work with many parts would fill the screen
            self._stop()

    def note(self, message: str) -> None:
        """Write one line above the bars."""
        if self._bars is None:
            sys.stderr.write(f"{message}\n")
        else:
            self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bars off the screen, also those of work that failed."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _start(self) -> Bars:
        if self._bars is None:
            self._bars = _create_bars()
            self._bars.start()
        self._open += 1
        return self._bars

    def _stop(self) -> None:
        self._open -= 1
        if self._open == 0:
            self.close()


def _create_bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        speed_estimate_period=SECONDS_OF_SPEED,
    )

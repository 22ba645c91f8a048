"""How long work reports its progress: the caller passes an object in, nothing prints by itself."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """What long work calls while it runs; the command line shows a bar with an ETA."""

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yield `items` one by one, counting them against `total` under the given label."""
        ...

    def note(self, message: str) -> None:
        """Show one line that the person should see (a warning, a source, a decision)."""
        ...


class Silent:
    """Progress for library use and tests: yields, shows nothing."""

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yield `items` unchanged."""
        yield from items

    def note(self, message: str) -> None:
        """Drop the message."""


class NotebookProgress:
    """Progress for notebooks: bars in the output of the cell and a line for each note; else lines."""

    seconds = 0.25  # between two changes of a bar

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yield `items`, moving a bar that says how long the rest will take."""
        start = shown = time.monotonic()
        bar = _show_bar(label, 0, total, "")
        done = 0
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if bar is not None and now - shown >= self.seconds:
                left = show_duration((now - start) / done * (total - done))
                bar.update(_draw_bar(label, done, total, f"{left} left"))
                shown = now
        took = f"took {show_duration(time.monotonic() - start)}"
        if bar is None:
            self.note(f"{label}: {done}/{total}, {took}")
        else:
            bar.update(_draw_bar(label, done, total, took))

    def note(self, message: str) -> None:
        """Write one line."""
        sys.stdout.write(f"{message}\n")
        sys.stdout.flush()


def _show_bar(label: str, done: int, total: int, text: str) -> Any:
    """A bar in the output of a notebook's cell that can be updated; None where there is no notebook."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it; nobody else need
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    show = import_module("IPython.display").display
    return show(_draw_bar(label, done, total, text), display_id=True)


def _draw_bar(label: str, done: int, total: int, text: str) -> Any:
    words = html.escape(f"{label}: {done}/{total} {text}".rstrip())
    bar = f'<progress value="{done}" max="{max(total, 1)}" style="width: 16em"></progress>'
    return import_module("IPython.display").HTML(f"<div>{bar} {words}</div>")


def show_duration(seconds: float) -> str:
    """A time for people: "40 s", "3 min 20 s", "2 h 05 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

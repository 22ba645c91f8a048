"""How long work reports its progress: the caller passes an object in, nothing prints by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

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


def show_duration(seconds: float) -> str:
    """A time for people: "40 s", "3 min 20 s", "2 h 05 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

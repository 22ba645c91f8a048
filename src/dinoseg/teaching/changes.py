"""Who looks on is told that something changed, and of which images, as often as it wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock


class Changes:
    """A count that grows with every change; may be used in any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._version = 0
        self._changed: dict[str, int] = {}
        self._watchers: set[Callable[[], object]] = set()

    @property
    def version(self) -> int:
        """How many changes there were."""
        return self._version

    def tell(self, images: Iterable[str] = ()) -> None:
        """Say that the project changed, and these images with it."""
        with self._lock:
            self._version += 1
            self._changed.update((image, self._version) for image in images)
            watchers = [*self._watchers]
        for watcher in watchers:
            with suppress(RuntimeError):  # the loop of who watched is closed
                watcher()

    def find_changed(self, seen: int) -> set[str]:
        """Images that changed after the first `seen` changes."""
        with self._lock:
            return {image for image, version in self._changed.items() if version > seen}

    @contextmanager
    def watched(self, watcher: Callable[[], object]) -> Iterator[None]:
        """Call a function, in any thread, after every change inside the block."""
        with self._lock:
            self._watchers.add(watcher)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.discard(watcher)

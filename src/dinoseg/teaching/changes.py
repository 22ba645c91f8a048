"""Who looks on is told that something changed, and of which images, as often as it wants to know."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Condition


class Changes:
    """A count that grows with every change; may be used in any thread."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._version = 0
        self._changed: dict[str, int] = {}

    @property
    def version(self) -> int:
        """How many changes there were."""
        with self._condition:
            return self._version

    def tell(self, images: Iterable[str] = ()) -> None:
        """Say that the project changed, and these images with it."""
        with self._condition:
            self._version += 1
            self._changed.update((image, self._version) for image in images)
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float) -> int:
        """Wait until there are more than `seen` changes, at most so many seconds; how many there are now."""
        with self._condition:
            self._condition.wait_for(lambda: self._version > seen, timeout)
            return self._version

    def find_changed(self, seen: int) -> set[str]:
        """Images that changed after the first `seen` changes."""
        with self._condition:
            return {image for image, version in self._changed.items() if version > seen}

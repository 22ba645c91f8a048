"""Work in a few threads beside the model: lazy, in order, and with a bounded number of items in memory.

The filters of warnings belong to the process: what threads do to them is undone here, whatever their order.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_IGNORE: tuple[Any, ...] = ("ignore", None, Warning, None, 0)  # known by its identity
_LOCK = Lock()
_changed: list[list[Any]] = []  # the lists of filters that hold it
_inside = 0


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int
) -> Generator[R, None, None]:
    """Yield `function(item)` in the order of `items`, computed in threads up to `ahead` items early.

    Items are drawn in the calling thread, and only as far ahead as said. When the caller
    stops or something raises, what has not begun is dropped and what runs is waited for.

    Args:
        function: called in a thread; what it raises is raised here, at its turn.
        items: drawn lazily.
        workers: number of threads, at least 1.
        ahead: results that may be waiting or under way, at least 1.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` consecutive items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@contextmanager
def ignoring_warnings() -> Iterator[None]:
    """Hide what libraries warn of; unlike `warnings.catch_warnings`, also in several threads at once.

    That one puts back the list of filters that it found: of two threads whose blocks overlap, the second
    would put back what the first one had changed, and the process would stay silent for ever.
    """
    global _inside  # noqa: PLW0603
    with _LOCK:
        _inside += 1
        filters: Any = warnings.filters
        if not any(each is _IGNORE for each in filters):
            filters.insert(0, _IGNORE)
            _changed.append(filters)
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                _forget()


def _forget() -> None:
    current: Any = warnings.filters  # perhaps a copy that a caller of catch_warnings has made meanwhile
    for filters in (*_changed, current):
        filters[:] = [each for each in filters if each is not _IGNORE]
    _changed.clear()


@contextmanager
def keeping_filters() -> Iterator[None]:
    """Take back the filters of warnings that come with an import inside; also a decorator."""
    before: list[Any] = list(warnings.filters)
    try:
        yield
    finally:
        filters: Any = warnings.filters
        if any(each not in before for each in filters):
            filters[:] = [each for each in filters if each in before or each is _IGNORE]

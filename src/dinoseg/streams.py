"""Work in a few threads beside the model: lazy, in order, and with a bounded number of items in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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

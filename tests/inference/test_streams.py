from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from dinoseg.streams import batched, map_ahead


def test_order_is_kept_whatever_is_slow() -> None:
    def work(item: int) -> int:
        time.sleep(0.01 if item % 3 == 0 else 0)
        return item * item

    assert list(map_ahead(work, range(20), workers=4, ahead=5)) == [item * item for item in range(20)]


def test_items_are_drawn_only_as_far_as_said() -> None:
    drawn = []

    def items():
        for item in range(100):
            drawn.append(item)
            yield item

    with closing(map_ahead(str, items(), workers=2, ahead=3)) as results:
        assert drawn == []
        assert next(results) == "0"
        assert drawn == [0, 1, 2, 3]
        assert next(results) == "1"
        assert len(drawn) == 5


def test_work_happens_in_other_threads_and_errors_come_at_their_turn() -> None:
    threads = set()

    def work(item: int) -> int:
        threads.add(threading.current_thread())
        if item == 3:
            raise ValueError("three")
        return item

    results = map_ahead(work, range(100), workers=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_stopping_early_leaves_no_thread() -> None:
    before = threading.active_count()
    with closing(map_ahead(str, range(100), workers=3, ahead=10)) as results:
        next(results)
    assert threading.active_count() == before


def test_batches() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []

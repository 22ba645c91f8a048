"""Several clients at once get what they ask for, and memory does not grow with what was answered."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.serving.servers import draw_png, running


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running("tests.serving.lone", '{"kept": 20}') as (_, address):
        yield address


def _ask(address: str, times: int) -> list[bytes]:
    with httpx.Client(base_url=address, timeout=60) as client:
        answers = [
            client.post(
                "/api/v1/predict?output=mask.png", files={"files": ("a.png", draw_png(24 + 4 * seed))}
            )
            for seed in range(times)
        ]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


def _memory(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    return float(re.findall(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)[0]) / 1e6


def test_clients_at_once_get_their_own_masks(address: str) -> None:
    expected = _ask(address, 4)
    assert len({*expected}) == 4
    together = threading.Barrier(8)

    def ask(number: int) -> list[bytes]:
        together.wait(20)
        return _ask(address, 4)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [expected] * 8


@pytest.mark.slow
def test_eight_clients_and_fifty_predictions_each(address: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(len(found) for found in pool.map(lambda _: _ask(address, 50), range(8))) == 400


@pytest.mark.slow
def test_memory_is_flat_after_five_hundred_requests(address: str) -> None:
    _ask(address, 100)
    before = _memory(address)
    _ask(address, 500)
    assert _memory(address) - before < 8  # MB; one result that is kept for good would be seen

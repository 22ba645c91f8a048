"""Mutated valid files: whatever is wrong with a file, a reader says so in one line, soon, in little memory.

`mutate` makes one damaged copy, `fuzz` reads many of them. Everything follows from a seed, so that a failure
names the number that makes it again.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from dinoseg.errors import DinosegError

LONGEST = 10.0  # seconds for one file
MOST_MEMORY = 2 << 30  # bytes beyond what was in use before
SECONDS = "DINOSEG_FUZZ_SECONDS"  # for how long the slow tests go on with each reader
QUICK = 24  # mutations of each file in the quick tests

_HEADER = 1024  # bytes at the start (and the end) that are damaged more often than the rest
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (b"nan", b"inf", b"-1", b"0", b"1e400", b"99999999999", b"", b"\xff\xfe", b"../x", b"%d", b"\0")


class Hang(BaseException):
    """A reader took longer than it may; no `Exception`, so that no reader can take it for damage."""


@dataclass
class Outcome:
    """What came of many mutations.

    Attributes:
        read: that were read in spite of it.
        refused: that were refused in one line.
        faults: one line for each that ended in any other way.
        slowest: seconds.
    """

    read: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0


def mutate(content: bytes, generator: np.random.Generator) -> bytes:
    """A damaged copy: bytes flipped, set to extremes, cut, doubled, removed, moved or replaced by words."""
    damaged = bytearray(content)
    for _ in range(int(generator.integers(1, 4))):
        change = _CHANGES[int(generator.integers(len(_CHANGES)))]
        change(damaged, generator)
        if not damaged:
            break
    return bytes(damaged)


def fuzz(
    read: Callable[[Path], object],
    seed_file: Path,
    folder: Path,
    *,
    count: int,
    seconds: float = np.inf,
    seed: int = 0,
    unpack: Callable[[bytes], bytes] = bytes,
    pack: Callable[[bytes], bytes] = bytes,
) -> Outcome:
    """Read damaged copies of a file, under its own name in `folder`.

    Args:
        read: what is tried; it gets the path of the copy.
        seed_file: a valid file.
        folder: of the copies.
        count: how many, at most.
        seconds: when to stop before that.
        seed: of the mutations; number n of a seed is always the same copy.
        unpack: applied to the content before it is damaged, so that a compressed content can be.
        pack: applied afterwards.
    """
    content = unpack(seed_file.read_bytes())
    path = folder / seed_file.name
    outcome, before, until = Outcome(), _peak(), time.monotonic() + seconds
    for number in range(count):
        if time.monotonic() > until:
            break
        damaged = mutate(content, np.random.default_rng([seed, number]))
        path.write_bytes(pack(damaged))
        _try(read, path, f"{seed_file.name}, seed {seed}, number {number}", outcome)
    path.write_bytes(seed_file.read_bytes())
    if _peak() - before > MOST_MEMORY:
        outcome.faults.append(f"{seed_file.name}: {(_peak() - before) >> 20} MiB of memory")
    return outcome


def budget() -> float:
    """Seconds that a slow test spends on each reader."""
    return float(os.environ.get(SECONDS, "20"))


def _try(read: Callable[[Path], object], path: Path, name: str, outcome: Outcome) -> None:
    started = time.monotonic()
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("error")
            read(path)
        outcome.read += 1
    except DinosegError as error:
        outcome.refused += 1
        if "\n" in str(error) or not str(error):
            outcome.faults.append(f"{name}: not one line: {str(error)!r}")
    except Hang:
        outcome.faults.append(f"{name}: took more than {LONGEST:g} s")
    except Exception as error:
        outcome.faults.append(f"{name}: {type(error).__name__}: {error}")
    outcome.slowest = max(outcome.slowest, time.monotonic() - started)


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _place(damaged: bytearray, generator: np.random.Generator) -> int:
    where = generator.random()
    if where < 0.7:
        return int(generator.integers(min(len(damaged), _HEADER)))
    if where < 0.8:
        return len(damaged) - 1 - int(generator.integers(min(len(damaged), _HEADER)))
    return int(generator.integers(len(damaged)))


def _flip(damaged: bytearray, generator: np.random.Generator) -> None:
    for _ in range(int(generator.integers(1, 9))):
        damaged[_place(damaged, generator)] ^= 1 << int(generator.integers(8))


def _replace(damaged: bytearray, generator: np.random.Generator) -> None:
    for _ in range(int(generator.integers(1, 9))):
        damaged[_place(damaged, generator)] = int(generator.integers(256))


def _set_extreme(damaged: bytearray, generator: np.random.Generator) -> None:
    value = _EXTREMES[int(generator.integers(len(_EXTREMES)))]
    kind, most = (("H", 0xFFFF), ("I", 0xFFFFFFFF))[int(generator.integers(2))]
    order = "<>"[int(generator.integers(2))]
    word = struct.pack(order + kind, min(value, most))
    place = _place(damaged, generator) // 2 * 2
    damaged[place : place + len(word)] = word


def _truncate(damaged: bytearray, generator: np.random.Generator) -> None:
    del damaged[_place(damaged, generator) :]


def _remove(damaged: bytearray, generator: np.random.Generator) -> None:
    place = _place(damaged, generator)
    del damaged[place : place + int(generator.integers(1, 64))]


def _double(damaged: bytearray, generator: np.random.Generator) -> None:
    place = _place(damaged, generator)
    damaged[place:place] = damaged[place : place + int(generator.integers(1, 256))]


def _blank(damaged: bytearray, generator: np.random.Generator) -> None:
    place, length = _place(damaged, generator), int(generator.integers(1, 64))
    length = min(length, len(damaged) - place)
    damaged[place : place + length] = bytes([(0, 0xFF)[int(generator.integers(2))]]) * length


def _move(damaged: bytearray, generator: np.random.Generator) -> None:
    first, second, length = _place(damaged, generator), _place(damaged, generator), 16
    piece = damaged[first : first + length]
    damaged[second : second + len(piece)] = piece


def _put_word(damaged: bytearray, generator: np.random.Generator) -> None:
    """In place of a number of a text header, or anywhere."""
    word = _WORDS[int(generator.integers(len(_WORDS)))]
    place = _place(damaged, generator)
    end = place
    while end < len(damaged) and chr(damaged[end]) in "0123456789.-+eE":
        end += 1
    damaged[place : max(end, place + 1)] = word


_CHANGES = (_flip, _replace, _set_extreme, _truncate, _remove, _double, _blank, _move, _put_word)

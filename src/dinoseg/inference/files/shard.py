"""A share of a cohort: job 3 of 8 takes every eighth file, and keeps lists of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dinoseg.errors import UsageError

T = TypeVar("T")
_WRITTEN = re.compile(r"(\d+)/(\d+)")
_STEM = "predictions"


@dataclass(frozen=True)
class Shard:
    """Which share of all files.

    Attributes:
        index: from 1.
        count: of shares.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def read(cls, text: str) -> Shard:
        """A shard as it is written on a command line: "3/8".

        Raises:
            UsageError: it is none.
        """
        found = _WRITTEN.fullmatch(text.strip())
        index, count = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= index <= count:
            raise UsageError(
                f"shard {text!r}: accepted are 1/N to N/N, for example 3/8 for the third of eight"
            )
        return cls(index, count)

    def take(self, items: Sequence[T]) -> tuple[T, ...]:
        """The items of this share."""
        return tuple(items[self.index - 1 :: self.count])

    def name_summary(self) -> str:
        """`predictions.json`, or that of a share."""
        return f"{self._stem}.json"

    def name_lines(self) -> str:
        """`predictions.jsonl`, or that of a share: a line for each file, added when it is done."""
        return f"{self._stem}.jsonl"

    @property
    def _stem(self) -> str:
        return _STEM if self.count == 1 else f"{_STEM}-{self.index}-of-{self.count}"


ALL = Shard()


def list_summaries(out: Path) -> Iterator[Path]:
    """The summaries that lie in a folder: of all files, and of shares."""
    yield from sorted([*out.glob(f"{_STEM}.json"), *out.glob(f"{_STEM}-*-of-*.json")])

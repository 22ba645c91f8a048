"""predictions.jsonl: one line a file, on disk as soon as the file is done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dinoseg.outputs import fail, record, to_plain


class Lines:
    """Adds lines, each whole or not at all to whoever reads them.

    Args:
        path: of the file.
        goes_on: keep the lines of an earlier call, to which these belong.
    """

    def __init__(self, path: Path, *, goes_on: bool) -> None:
        self._path = path
        self._goes_on = goes_on
        self._last = time.monotonic()

    def begin(self) -> None:
        """Take away the lines of an older call, which may be replaced."""
        if not self._goes_on:
            self._path.unlink(missing_ok=True)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a line; its `seconds` are those since the one before, so that all of them are the whole time.

        Raises:
            OutputError: the disk is full.
        """
        now = time.monotonic()
        line = json.dumps(to_plain({**row, "seconds": round(now - self._last, 4)}), allow_nan=False)
        self._last = now
        first = not self._path.exists()
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            raise fail(f"{self._path} could not be written", error) from error
        if first:
            record(self._path)

    def end(self) -> None:
        """Say that the file as it is now is ours."""
        if self._path.exists():
            record(self._path)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file; a line that a killed process left half written is none."""
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row

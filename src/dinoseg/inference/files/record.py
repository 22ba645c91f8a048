"""What is known of files while they are predicted.

`predictions.json` is written first, now and then, and at the end; `predictions.jsonl` gets a line for each
file when it is done or has failed. A share of a cohort has files of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from dinoseg import __version__
from dinoseg.errors import OutputError
from dinoseg.inference.files.lines import Lines
from dinoseg.inference.files.plan import Plan
from dinoseg.inference.results.report import Failure, PredictedFile, PredictionReport, describe_file
from dinoseg.outputs import claim, write_json

PARTS = ("masks", "overlays", "probabilities", "uncertainty")  # folders of the outputs

_PAUSE = 5.0  # seconds between two writings at least,
_SHARE = 20  # and so many times as long as one takes


class Record:
    """Says at any time which files are finished; a context, at whose end all of them are written down.

    Args:
        out: folder of the outputs; claimed here, and the first file is written.
        origin: the "model" and "settings".
        plan: what is to be done.
        rows: of files that an earlier call finished.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(
        self, out: Path, origin: Mapping[str, Any], plan: Plan, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        self._out = out
        self._origin = origin
        self._planned = [
            {"source": str(job.source), "mask": job.mask.relative_to(out).as_posix()} for job in plan.jobs
        ]
        self._rows = {str(row.get("mask")): row for row in rows}
        self._finished = False
        self._summary = out / plan.shard.name_summary()
        self._lines = Lines(out / plan.shard.name_lines(), goes_on=bool(rows))
        claim(out, parts=PARTS)
        self._lines.begin()
        self._write()

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            with suppress(OutputError):  # the first error counts
                self._write()

    def add(self, done: PredictedFile | Failure) -> None:
        """Note a file that is done, or has failed."""
        if isinstance(done, Failure):
            self._lines.add({"source": str(done.source), "error": done.reason})
            return
        row = describe_file(done, self._out)
        if not done.skipped:
            self._lines.add(row)
        self._rows[row["mask"]] = row
        if time.monotonic() > self._due:
            self._write()

    def finish(self, report: PredictionReport) -> None:
        """Write the report, and what earlier calls finished beside it."""
        described = report.describe()
        now = {row["mask"] for row in described["files"]}
        others = [row for mask, row in self._rows.items() if mask not in now and (self._out / mask).exists()]
        described["files"] += others
        write_json(self._summary, {"dinoseg": __version__, **described}, overwrite=True)
        self._lines.end()
        self._finished = True

    def _write(self) -> None:
        started = time.monotonic()
        content = {
            "dinoseg": __version__,
            "finished": False,
            **self._origin,
            "files": list(self._rows.values()),
            "planned": self._planned,
        }
        write_json(self._summary, content, overwrite=True)
        ended = time.monotonic()
        self._due = ended + max(_PAUSE, _SHARE * (ended - started))

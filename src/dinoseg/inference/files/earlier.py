"""What an earlier call wrote to the folder, as its predictions.json says: what is finished, and of what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinoseg.data.sources.digests import digest_source
from dinoseg.data.sources.source import normalise
from dinoseg.errors import FileFormatError, OutputError
from dinoseg.inference.files.lines import read_lines
from dinoseg.inference.files.plan import Job, Plan
from dinoseg.inference.files.shard import list_summaries
from dinoseg.inference.results.report import OUTPUTS
from dinoseg.model.confidence import Confidence
from dinoseg.outputs import find_foreign, refuse_taken

Row = Mapping[str, Any]  # of a file in predictions.json

RESUME = "add --overwrite to replace, or --resume to go on where an earlier call stopped"


@dataclass(frozen=True)
class Earlier:
    """What is there already and stays.

    Attributes:
        rows: of predictions.json, of the files that were finished.
        finished: sources of this call that are among them -> their digests.
        warnings: what was doubtful about those.
        confidences: how much their masks are to be trusted.
    """

    rows: Sequence[Row] = ()
    finished: Mapping[Path, str] = field(default_factory=dict)
    warnings: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    confidences: Mapping[Path, Confidence | None] = field(default_factory=dict)


def refuse_outputs(plan: Plan, out: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if anything that would be written is there already and may not be replaced."""
    paths = [path for job in plan.jobs for path in job.outputs]
    summary, lines = out / plan.shard.name_summary(), out / plan.shard.name_lines()
    written = paths if _says_nothing(summary) else [summary, *paths, lines]
    refuse_taken(written, overwrite=overwrite, others=RESUME)


def find_earlier(plan: Plan, out: Path, origin: Mapping[str, Any], *, channels: int) -> Earlier:
    """What an earlier call with the same model and settings has finished of a plan.

    A file is finished if it has all outputs and predictions.json names it with the digest that it has now.

    Args:
        plan: what is to be written.
        out: its folder.
        origin: the "model" and "settings" of `predictions.json`.
        channels: of the model.

    Raises:
        OutputError: what lies there was made with another model or other settings, or from another file;
            predictions.json is damaged; or what has to be written again is not ours.
    """
    paths = list(list_summaries(out))
    if not paths:
        refuse_outputs(plan, out, overwrite=False)
        return Earlier()
    rows: list[Row] = []
    planned: list[Row] = []
    for path in paths:  # of all files, and of shares that worked beside each other
        summary = _read(path)
        _refuse_other_origin(path, summary, origin)
        rows += [row for row in summary["files"] if isinstance(row, dict)]
        rows += [row for row in read_lines(path.with_suffix(".jsonl")) if "error" not in row]
        planned += summary["planned"]
    named = _by_output([*rows, *planned])
    finished, warnings, confidences = {}, {}, {}
    stated = {row.get("mask"): row.get("confidence") for row in rows}
    told = {row.get("mask"): tuple(row.get("warnings", ())) for row in rows}
    for job in plan.jobs:
        digest = _match(job, out, named, channels)
        if digest is not None:
            finished[job.source] = digest
            name = job.mask.relative_to(out).as_posix()
            warnings[job.source] = told.get(name, ())
            confidences[job.source] = Confidence.read(stated.get(name))
    left = [output for job in plan.jobs if job.source not in finished for output in job.outputs]
    own = out / plan.shard.name_summary()
    refuse_taken([own, *left], overwrite=True)
    # What another share wrote stays in its lists.
    names = {job.mask.relative_to(out).as_posix() for job in plan.jobs}
    kept = rows if plan.shard.count == 1 else [row for row in rows if row.get("mask") in names]
    return Earlier(kept, finished, warnings, confidences)


def _match(job: Job, out: Path, named: Mapping[str, Sequence[Row]], channels: int) -> str | None:
    """The digest of the source where all of its outputs are there; None where they are to be made."""
    rows = [row for output in job.outputs for row in named.get(output.relative_to(out).as_posix(), ())]
    if not rows:
        return None
    try:
        digest = digest_source(job.source, channels=channels, files=job.files)
    except FileFormatError:  # reported when it is its turn
        digest = None
    for row in rows:
        if not _is_same(row, job.source, digest):
            raise OutputError(
                f"{job.mask} was made from {row.get('source')}, and {job.source} would get the same name; "
                "predict it into another folder with --out"
            )
    mask = job.mask.relative_to(out).as_posix()
    recorded = any(row.get("mask") == mask and row.get("sha256") == digest for row in rows)
    return digest if recorded and all(output.exists() for output in job.outputs) else None


def _is_same(row: Row, source: Path, digest: str | None) -> bool:
    """Whether a row is of this file: the same path, or the same content that was moved."""
    before = Path(str(row.get("source")))
    return normalise(before) == normalise(source) or (
        digest is not None and row.get("sha256") == digest and not before.exists()
    )


def _by_output(rows: Sequence[Row]) -> dict[str, list[Row]]:
    named: dict[str, list[Row]] = {}
    for row in rows:
        for output in _list_outputs(row):
            named.setdefault(output, []).append(row)
    return named


def _list_outputs(row: Row) -> Iterator[str]:
    return (str(row[name]) for name in OUTPUTS if name in row)


def _refuse_other_origin(path: Path, summary: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
    changed = [key for part in origin for key in origin[part] if summary[part].get(key) != origin[part][key]]
    if changed:
        raise OutputError(
            f"{path} was made with another {' and '.join(changed)}; resume with the same, "
            "or choose another --out"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {
            "model": dict(summary["model"]),
            "settings": _renew(dict(summary["settings"])),
            "files": list(summary.get("files", ())),
            "planned": list(summary.get("planned", ())),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{path} is damaged ({error}); move it and what lies beside it away, or choose another --out"
        ) from error


def _renew(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a release that knew no symmetries but the four mirror images, in the words of today."""
    if "flips" not in settings:
        return settings
    flips = settings.pop("flips")
    return {**settings, "symmetries": 4 if flips else 1}


def _says_nothing(path: Path) -> bool:
    """Whether a predictions.json of ours is of a call that finished no file: it stands in nobody's way."""
    if not path.exists() or find_foreign([path]):
        return False
    try:
        return not _read(path)["files"]
    except OutputError:
        return False

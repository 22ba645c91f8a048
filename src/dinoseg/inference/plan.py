"""Which file becomes which: names of outputs, decided and checked before any work."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.errors import LayoutError, OutputError
from dinoseg.inference.report import SUMMARY, Failure
from dinoseg.inference.sources import find_images, no_images, normalise
from dinoseg.outputs import refuse_existing


@dataclass(frozen=True)
class Job:
    """One image and where its outputs go; `overlay` and `probabilities` only where asked for."""

    source: Path
    mask: Path
    overlay: Path | None
    probabilities: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that this job writes."""
        return tuple(path for path in (self.mask, self.overlay, self.probabilities) if path is not None)


@dataclass(frozen=True)
class Plan:
    """All jobs in order, and what is unusable in the folders."""

    jobs: tuple[Job, ...]
    failures: tuple[Failure, ...]


def plan_jobs(sources: Sequence[Path], out: Path, *, overlays: bool, probabilities: bool) -> Plan:
    """Find the images and name their outputs.

    An image `ROOT/sub/frame.jpg` becomes `out/masks/sub/frame.png`, `out/overlays/sub/frame.png`
    and `out/probabilities/sub/frame.npz`; ROOT is the folder that was given, or the deepest
    folder that all given files and folders have in common. `out` itself is never searched, and
    a file given twice is done once.

    Raises:
        LayoutError: nothing to do, or two files would get the same name.
    """
    failures: list[Failure] = []
    found: dict[str, Path] = {}  # normalised path -> as given
    for source in sources:
        for path in _list_source(source, out, failures):
            found.setdefault(normalise(path), path)
    if not found and not failures:
        raise LayoutError(no_images(sources[0]) if sources else "no image and no folder was given")
    root = os.path.commonpath([normalise(path if path.is_dir() else path.parent) for path in sources])
    jobs = []
    for normal, path in found.items():
        name = Path(normal).relative_to(root)
        jobs.append(_make_job(path, name, out, overlays=overlays, probabilities=probabilities))
    _refuse_same_names(jobs)
    return Plan(tuple(jobs), tuple(failures))


def refuse_outputs(plan: Plan, out: Path) -> None:
    """Raise `OutputError` if anything that would be written is there already."""
    for path in (out / SUMMARY, *(path for job in plan.jobs for path in job.outputs)):
        if path.exists():
            raise OutputError(
                f"{path} exists already; choose another --out, add --overwrite to replace, "
                "or --resume to go on where an earlier call stopped"
            )


def refuse_other_origin(plan: Plan, out: Path, origin: Mapping[str, Any]) -> None:
    """Raise `OutputError` if what lies in `out` was not made with this model and these settings.

    Args:
        plan: what is to be written.
        out: its folder.
        origin: the "model" and "settings" of `predictions.json`.
    """
    path = out / SUMMARY
    if not path.exists():
        for job in plan.jobs:
            for output in job.outputs:
                refuse_existing(output, overwrite=False)
        return
    earlier = _read_origin(path)
    changed = [key for part in origin for key in origin[part] if earlier[part].get(key) != origin[part][key]]
    if changed:
        raise OutputError(
            f"{path} was made with another {' and '.join(changed)}; resume with the same, "
            "choose another --out, or add --overwrite"
        )


def _list_source(source: Path, out: Path, failures: list[Failure]) -> Sequence[Path]:
    if not source.is_dir():
        return [source]
    listing = find_images(source, leave_out=out)
    failures += [Failure(source, problem) for problem in listing.problems]
    return listing.files


def _make_job(source: Path, name: Path, out: Path, *, overlays: bool, probabilities: bool) -> Job:
    folder, stem = name.parent, name.stem  # not with_suffix: "frame.v2.jpg" is called "frame.v2"
    return Job(
        source=source,
        mask=out / "masks" / folder / f"{stem}.png",
        overlay=out / "overlays" / folder / f"{stem}.png" if overlays else None,
        probabilities=out / "probabilities" / folder / f"{stem}.npz" if probabilities else None,
    )


def _refuse_same_names(jobs: Sequence[Job]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        other = taken.setdefault(job.mask, job.source)
        if other != job.source:
            raise LayoutError(
                f"{other} and {job.source} would both become {job.mask}; rename one, "
                "or predict them into different folders with --out"
            )


def _read_origin(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return {"model": dict(summary["model"]), "settings": dict(summary["settings"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path} is damaged ({error}); add --overwrite to start again") from error

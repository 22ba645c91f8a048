"""Which file becomes which: names of outputs, decided and checked before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dinoseg.data.dicom import GivenSeries
from dinoseg.data.sources.channels import drop_companions
from dinoseg.data.sources.source import (
    find_sources,
    is_series,
    is_volume,
    join_series,
    no_images,
    normalise,
    refuse_ours,
)
from dinoseg.data.volumes import LABEL_SUFFIXES, volume_stem, volume_suffix
from dinoseg.errors import LayoutError, UsageError
from dinoseg.inference.files.shard import ALL, Shard
from dinoseg.inference.results.report import Failure

VolumeFormat = Literal["nifti", "nrrd", "mha", "dicom-seg"]

_SUFFIX_OF: Mapping[VolumeFormat, str] = {
    "nifti": ".nii.gz",
    "nrrd": ".nrrd",
    "mha": ".mha",
    "dicom-seg": ".dcm",
}
_WHOLE_OF = {".nhdr": ".nrrd", ".mhd": ".mha"}  # header with a data file -> one file
_USUAL = ".nii.gz"


@dataclass(frozen=True)
class Job:
    """One image or volume and where its outputs go; None for what was not asked for.

    Attributes:
        source: the file, or the folder or zip of a series.
        mask: PNG of an image; of a volume .nii.gz, .nii, .nrrd, .mha or .dcm.
        overlay: JPEG.
        probabilities: .npz, of images only.
        description: JSON beside the mask of a volume; None for images.
        files: those of a series that were given one by one; all of the source where none.
        uncertainty: .png, or .nii.gz of a volume.
    """

    source: Path
    mask: Path
    overlay: Path | None
    probabilities: Path | None
    description: Path | None = None
    files: tuple[Path, ...] = ()
    uncertainty: Path | None = None

    @property
    def is_volume(self) -> bool:
        """Whether the source is a volume."""
        return self.description is not None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that this job writes."""
        named = (self.mask, self.overlay, self.probabilities, self.uncertainty, self.description)
        return tuple(path for path in named if path is not None)


@dataclass(frozen=True)
class Plan:
    """All jobs in order, what is unusable in the folders, and what a person should know."""

    jobs: tuple[Job, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...] = ()
    shard: Shard = ALL

    def take(self, shard: Shard) -> Plan:
        """The plan of a share of the files; what is unusable in the folders is told by the first."""
        failures = self.failures if shard.index == 1 else ()
        return replace(self, jobs=shard.take(self.jobs), failures=failures, shard=shard)

    def without_companions(self, channels: int) -> Plan:
        """Return the plan for a model of so many channels: one job where a volume is several files."""
        kept = set(drop_companions([job.source for job in self.jobs], channels))
        return replace(self, jobs=tuple(job for job in self.jobs if job.source in kept))


def plan_jobs(
    sources: Sequence[Path],
    out: Path,
    *,
    overlays: bool,
    probabilities: bool,
    uncertainty: bool = False,
    volume_format: VolumeFormat | None = None,
) -> Plan:
    """Find the images and volumes and name their outputs.

    An image `ROOT/sub/frame.jpg` becomes `out/masks/sub/frame.png`, `out/overlays/sub/frame.jpg`
    and `out/probabilities/sub/frame.npz`; ROOT is the folder that was given, or the deepest
    folder that all given files and folders have in common. A volume `ROOT/sub/ct.nrrd` becomes
    `out/masks/sub/ct.nrrd` with `ct.json` beside it, in its own format where that holds labels, else
    as .nii.gz. `out` itself is never searched, and a file given twice is done once. Files of a DICOM series
    given one by one are one volume, named after their folder, or of several series after their first files.

    Raises:
        LayoutError: nothing to do, or two files would get the same name; or a run, predictions or a report
            is given as input.
        UsageError: `volume_format` is for DICOM series, and there are others.
    """
    failures: list[Failure] = []
    found: dict[str, Path] = {}  # normalised path -> as given
    refuse_ours(sources)
    left_out: list[str] = []
    joined = {_name_series(series): series for series in join_series(sources)}
    sources = _replace_files(sources, joined)
    for source in sources:
        for path in [source] if source in joined else _list_source(source, out, failures, left_out):
            found.setdefault(normalise(path), path)
    if not found and not failures:
        raise LayoutError(_word_nothing(sources, left_out))
    root = os.path.commonpath([normalise(_folder_of(path)) for path in sources])
    jobs = []
    for normal, path in found.items():
        name = Path(normal).relative_to(root)
        if is_volume(path):
            jobs.append(_make_volume_job(path, name, out, overlays=overlays, volume_format=volume_format))
        else:
            jobs.append(_make_job(path, name, out, overlays=overlays, probabilities=probabilities))
    _refuse_same_names(jobs)
    jobs = [_complete(job, joined, out if uncertainty else None) for job in jobs]
    return Plan(tuple(jobs), tuple(failures), (*left_out, *_tell_joined(jobs)))


def _word_nothing(sources: Sequence[Path], left_out: Sequence[str]) -> str:
    return "; ".join([no_images(sources[0]), *left_out]) if sources else "no image and no folder was given"


def _tell_joined(jobs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(
        f"{len(job.files)} files of {job.files[0].parent} are one series: they become {job.mask.name}"
        for job in jobs
        if job.files
    )


def _name_series(series: GivenSeries) -> Path:
    """The path that stands for a series: its folder or, where that has several, its first file."""
    return series.folder if series.alone else series.files[0]


def _replace_files(sources: Sequence[Path], joined: Mapping[Path, GivenSeries]) -> list[Path]:
    stands_for = {file: name for name, series in joined.items() for file in series.files}
    return list(dict.fromkeys(stands_for.get(source, source) for source in sources))


def _list_source(source: Path, out: Path, failures: list[Failure], left_out: list[str]) -> Sequence[Path]:
    if not source.is_dir():
        return [source]
    listing = find_sources(source, leave_out=out)
    failures += [Failure(source, problem) for problem in listing.problems]
    left_out += listing.left_out
    return listing.sources


def _folder_of(source: Path) -> Path:
    return source if source.is_dir() and not is_series(source) else source.parent


def _make_job(source: Path, name: Path, out: Path, *, overlays: bool, probabilities: bool) -> Job:
    folder, stem = name.parent, name.stem  # not with_suffix: "frame.v2.jpg" is called "frame.v2"
    return Job(
        source=source,
        mask=out / "masks" / folder / f"{stem}.png",
        overlay=out / "overlays" / folder / f"{stem}.jpg" if overlays else None,
        probabilities=out / "probabilities" / folder / f"{stem}.npz" if probabilities else None,
    )


def _make_volume_job(
    source: Path, name: Path, out: Path, *, overlays: bool, volume_format: VolumeFormat | None
) -> Job:
    if volume_format == "dicom-seg" and volume_suffix(source):
        raise UsageError(
            f"{source} cannot be written as dicom-seg, which points to the slices of a DICOM series; "
            "choose nifti, nrrd or mha with --format"
        )
    stem = volume_stem(name) if volume_suffix(name) else name.name if source.is_dir() else name.stem
    place = out / "masks" / name.parent
    return Job(
        source=source,
        mask=place / f"{stem}{_mask_suffix(source, volume_format)}",
        overlay=out / "overlays" / name.parent / f"{stem}.jpg" if overlays else None,
        probabilities=None,
        description=place / f"{stem}.json",
    )


def _complete(job: Job, joined: Mapping[Path, GivenSeries], mapped: Path | None) -> Job:
    """The job with the files of its series, and below `mapped` a map of uncertainty, where that is given."""
    files = joined[job.source].files if job.source in joined else ()
    return replace(job, files=files, uncertainty=None if mapped is None else _name_uncertainty(job, mapped))


def _name_uncertainty(job: Job, out: Path) -> Path:
    """Beside the masks, under the same name: .png, or .nii.gz of a volume."""
    if not job.is_volume:
        return out / "uncertainty" / job.mask.relative_to(out / "masks")
    described = job.description or job.mask
    return (out / "uncertainty" / described.relative_to(out / "masks")).with_name(f"{described.stem}{_USUAL}")


def _mask_suffix(source: Path, volume_format: VolumeFormat | None) -> str:
    if volume_format is not None:
        return _SUFFIX_OF[volume_format]
    suffix = volume_suffix(source)
    return suffix if suffix in LABEL_SUFFIXES else _WHOLE_OF.get(suffix, _USUAL)


def _refuse_same_names(jobs: Sequence[Job]) -> None:
    taken: dict[Path, Path] = {}
    for job in jobs:
        for output in job.outputs:
            other = taken.setdefault(output, job.source)
            if other != job.source:
                raise LayoutError(
                    f"{other} and {job.source} would both become {output}; rename one, "
                    "or predict them into different folders with --out"
                )

"""`predict_files`: images and volumes in, masks and pictures out; files are read while the model computes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dinoseg.config import Inference
from dinoseg.data.case import Case
from dinoseg.data.images import read_image, read_label
from dinoseg.data.sources.digests import digest_source
from dinoseg.errors import DataError, UsageError
from dinoseg.inference.engine import Prepared, Segmented, prepare, segment
from dinoseg.inference.files.earlier import Earlier, find_earlier, refuse_outputs
from dinoseg.inference.files.plan import Job, Plan, VolumeFormat, plan_jobs
from dinoseg.inference.files.record import Record
from dinoseg.inference.files.review import refuse_review, write_review
from dinoseg.inference.files.shard import ALL, Shard
from dinoseg.inference.files.volume_pipeline import VolumePipeline, read_back
from dinoseg.inference.likeness import Likeness
from dinoseg.inference.results.report import Failure, PredictedFile, PredictionReport, describe_settings
from dinoseg.inference.volumes import (
    refuse_other_kind,
    refuse_probabilities,
    refuse_volume_options,
    tell_planes,
)
from dinoseg.model.network import Network
from dinoseg.model.saved import Model, open_model
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters, map_ahead


@keeping_filters()
def predict_files(
    model: Model,
    sources: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    how: Inference | None = None,
    overlays: bool = True,
    review: bool = False,
    volume_format: VolumeFormat | None = None,
    overwrite: bool = False,
    resume: bool = False,
    workers: int = 2,
    shard: Shard = ALL,
    runner: Runner | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> PredictionReport:
    """Segment files: masks, overlays, predictions.json, and what `how` asks for, each in a folder of `out`.

    Args:
        model: a loaded model, or a run folder; as in `predict`, like `how` and `options`.
        sources: images, volumes, DICOM series (a folder or zip) and folders of them.
        out: folder of the outputs.
        how: `probabilities` of images (float16) and `uncertainty` are written.
        overlays: also write pictures of the masks on the images.
        review: also write review.html, a page of these pictures, those to look at first on top.
        volume_format: of the masks of volumes; None for that of the input, or NIfTI where it holds none.
        overwrite: replace outputs of an earlier call that nobody changed; any other file stays an error.
        resume: leave alone what an earlier call with the same model and settings has finished.
        workers: threads that read, and as many that write; the results do not depend on it.
        shard: only this share of the files, with lists of its own.
        runner: what computes; this process if not given.
        progress: counts files, and is told each that cannot be read; the others are done.
        options: fields of `Inference` by name.

    Raises:
        LayoutError: there is nothing to do, or two files would get the same name.
        OutputError: an output exists already or cannot be written; nothing is half written.
    """
    how, progress, out = Inference.choose(how, options), progress or Silent(), Path(out)
    asked = _Asked(overwrite, resume, workers, shard)
    refuse_review(out, wanted=review, whole=shard.count == 1, overlays=overlays)
    plan = _plan(_list_paths(sources), out, how, asked, overlays=overlays, volume_format=volume_format)
    report = _run_plan(open_model(model, progress, how=how), plan, out, how, asked, runner, progress)
    return replace(report, review=write_review(report)) if review else report


@dataclass(frozen=True)
class _Asked:
    """What becomes of outputs that are there already, who writes, and which share; checked when made."""

    overwrite: bool
    resume: bool
    workers: int
    shard: Shard

    def __post_init__(self) -> None:
        if self.overwrite and self.resume:
            raise UsageError("overwrite replaces everything and resume keeps what is finished; choose one")
        if self.workers < 1:
            raise UsageError(f"workers is at least 1, given {self.workers}")


def _list_paths(sources: Path | str | Sequence[Path | str]) -> list[Path]:
    given = [sources] if isinstance(sources, str | Path) else sources
    return [Path(source) for source in given]


def _plan(
    sources: Sequence[Path],
    out: Path,
    how: Inference,
    asked: _Asked,
    *,
    overlays: bool,
    volume_format: VolumeFormat | None,
) -> Plan:
    plan = plan_jobs(
        sources,
        out,
        overlays=overlays,
        probabilities=how.probabilities,
        uncertainty=how.uncertainty,
        volume_format=volume_format,
    ).take(asked.shard)
    if any(job.is_volume for job in plan.jobs):
        refuse_probabilities(how)
    elif plan.jobs:
        refuse_volume_options(how)
        if volume_format is not None:
            raise UsageError("volume_format is for volumes, and no volume was given; leave it out")
    if not asked.resume:
        refuse_outputs(plan, out, overwrite=asked.overwrite)
    return plan


def _run_plan(
    model: Network,
    plan: Plan,
    out: Path,
    how: Inference,
    asked: _Asked,
    runner: Runner | None,
    progress: Progress,
) -> PredictionReport:
    cut = tell_planes(model, how) if any(job.is_volume for job in plan.jobs) else ""
    for note in [*plan.notes, *([cut] if cut else [])]:
        progress.note(note)
    channels = model.settings.preprocessing.channels
    plan = plan.without_companions(channels)
    origin = {"model": dict(model.describe()), "settings": describe_settings(how, model)}
    earlier = find_earlier(plan, out, origin, channels=channels) if asked.resume else Earlier()
    started = time.monotonic()
    likeness = Likeness(model)
    # Written first: an interrupted call can be resumed, and a folder that is not writable shows at once.
    with Record(out, origin, plan, earlier.rows) as record:
        here = runner or Here(model, asked.workers)
        outcomes = _run_jobs(model, plan, earlier, here, how, out, progress, workers=asked.workers)
        done = []
        for item in progress.track(outcomes, total=len(plan.jobs) + len(plan.failures), label="predict"):
            done.append(item)
            record.add(item)
            if isinstance(item, PredictedFile):
                likeness.keep(item)
        report = PredictionReport(
            out=out,
            files=_in_order(plan, done),
            failures=tuple(item for item in done if isinstance(item, Failure)),
            classes=dict(model.settings.classes),
            model=origin["model"],
            settings=origin["settings"],
            seconds=time.monotonic() - started,
        )
        record.finish(report)
    for line in likeness.summarise(len(report.files), [str(file.source) for file in report.files]):
        progress.note(line)
    return report


class _Pipeline:
    """The three steps of a job; reading and writing run in threads, the model in the caller's."""

    def __init__(self, likeness: Likeness, how: Inference, progress: Progress) -> None:
        self.model = likeness.model
        self.likeness = likeness
        self.how = how
        self.progress = progress
        self.failures: list[Failure] = []
        self.digests: dict[Path, str] = {}

    def run(self, jobs: Sequence[Job], workers: int) -> Generator[PredictedFile, None, None]:
        """Yield what was written, in order; what could not be read goes to `failures`."""
        ahead = self.how.batch_size
        by_source = {job.source: job for job in jobs}

        def write(item: Segmented) -> PredictedFile:
            source = item.case.source
            written = _write(item, by_source[source], self.digests.pop(source))
            return self.likeness.add_to(written, item.case.image)

        with (
            closing(map_ahead(self.read, jobs, workers=workers, ahead=ahead)) as loaded,
            closing(self.keep_readable(loaded)) as prepared,
            closing(segment(self.model, prepared, self.how)) as segmented,
            closing(map_ahead(write, segmented, workers=workers, ahead=ahead)) as written,
        ):
            yield from written

    def read(self, job: Job) -> Prepared | Failure:
        """Decode and prepare one image."""
        try:
            path = job.source
            refuse_other_kind(self.model, path, is_volume=False)
            self.digests[path] = digest_source(path)
            case = Case(id=path.stem, image=read_image(path), label=None, group=path.stem, source=path)
            return prepare(self.model, case, self.how)
        except DataError as error:
            return Failure(job.source, str(error))

    def keep_readable(self, loaded: Iterator[Prepared | Failure]) -> Generator[Prepared, None, None]:
        """Pass on what was read; note and keep the rest."""
        for item in loaded:
            if isinstance(item, Failure):
                self.failures.append(item)
                self.progress.note(item.reason)
            else:
                yield item


class Runner(Protocol):
    """What computes jobs: this process, or others."""

    def run(
        self, jobs: Sequence[Job], how: Inference, out: Path, progress: Progress
    ) -> Iterator[PredictedFile | Failure]:
        """Yield what came of each job, in any order; outputs lie in their places then."""
        ...


@dataclass(frozen=True)
class Here:
    """Computes jobs in this process.

    Attributes:
        model: loaded.
        workers: threads that read, and as many that write.
    """

    model: Network
    workers: int

    def run(
        self, jobs: Sequence[Job], how: Inference, out: Path, progress: Progress
    ) -> Iterator[PredictedFile | Failure]:
        """Yield what came of each job: images, those that cannot be read, and volumes."""
        likeness = Likeness(self.model)
        images = _Pipeline(likeness, how, progress)
        volumes = VolumePipeline(likeness, how, out, progress)
        yield from images.run([job for job in jobs if not job.is_volume], self.workers)
        yield from images.failures
        yield from volumes.run([job for job in jobs if job.is_volume])


def _run_jobs(
    model: Network,
    plan: Plan,
    earlier: Earlier,
    runner: Runner,
    how: Inference,
    out: Path,
    progress: Progress,
    *,
    workers: int,
) -> Iterator[PredictedFile | Failure]:
    for failure in plan.failures:
        progress.note(failure.reason)
    yield from plan.failures
    skipped = [job for job in plan.jobs if job.source in earlier.finished]
    for file in map_ahead(lambda job: _read_back(job, model), skipped, workers=workers, ahead=16):
        told = earlier.warnings[file.source] or file.warnings
        known = earlier.confidences.get(file.source)
        yield replace(file, sha256=earlier.finished[file.source], warnings=told, confidence=known)
    left = [job for job in plan.jobs if job.source not in earlier.finished]
    yield from runner.run(left, how, out, progress)


def _write(item: Segmented, job: Job, sha256: str) -> PredictedFile:
    # Whether existing outputs may be replaced was settled before any work.
    prediction = item.prediction
    legend = len(prediction.classes) > 2
    if job.overlay is not None:
        prediction.save_overlay(job.overlay, item.case.image, legend=legend, overwrite=True)
    if job.probabilities is not None:
        prediction.save_probabilities(job.probabilities, overwrite=True)
    if job.uncertainty is not None:
        prediction.save_uncertainty(job.uncertainty, overwrite=True)
    prediction.save(job.mask, overwrite=True)
    return PredictedFile(
        source=job.source,
        mask=job.mask,
        overlay=job.overlay,
        probabilities=job.probabilities,
        size=item.case.image.size,
        pixels=prediction.pixels,
        sha256=sha256,
        uncertainty=job.uncertainty,
        confidence=prediction.confidence,
    )


def _read_back(job: Job, model: Network) -> PredictedFile:
    if job.is_volume:
        return read_back(job)
    mask = read_label(job.mask)
    counts = np.bincount(mask.ravel(), minlength=max(model.settings.classes) + 1)
    return PredictedFile(
        source=job.source,
        mask=job.mask,
        overlay=job.overlay,
        probabilities=job.probabilities,
        uncertainty=job.uncertainty,
        size=(int(mask.shape[0]), int(mask.shape[1])),
        pixels={index: int(counts[index]) for index in model.settings.classes},
        skipped=True,
    )


def _in_order(plan: Plan, done: Sequence[PredictedFile | Failure]) -> tuple[PredictedFile, ...]:
    files = {item.source: item for item in done if isinstance(item, PredictedFile)}
    return tuple(files[job.source] for job in plan.jobs if job.source in files)

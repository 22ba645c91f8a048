"""`predict_files`: images and volumes in, masks and pictures out; files are read while the model computes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from dinoseg import __version__
from dinoseg.backbones.extractors import Precision
from dinoseg.data.case import Case
from dinoseg.data.images import read_image, read_label
from dinoseg.data.volumes import Plane
from dinoseg.errors import DataError, UsageError
from dinoseg.inference.engine import Options, Prepared, Segmented, prepare, segment
from dinoseg.inference.files.plan import (
    Job,
    Plan,
    VolumeFormat,
    plan_jobs,
    refuse_other_origin,
    refuse_outputs,
)
from dinoseg.inference.files.volume_pipeline import VolumePipeline, read_back
from dinoseg.inference.predictor import open_model
from dinoseg.inference.results.report import SUMMARY, Failure, PredictedFile, PredictionReport, describe_model
from dinoseg.inference.volumes import refuse_other_kind, refuse_probabilities
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import write_json
from dinoseg.progress import Progress, Silent
from dinoseg.streams import map_ahead


def predict_files(
    model: Segmenter | Path | str,
    sources: Sequence[Path],
    out: Path,
    *,
    window: int | None = None,
    overlap: float = 0.25,
    flips: bool = False,
    batch_size: int = 8,
    overlays: bool = True,
    probabilities: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    workers: int = 2,
    planes: Sequence[Plane] | None = None,
    volume_format: VolumeFormat | None = None,
    series: str | None = None,
    postprocess: bool = True,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> PredictionReport:
    """Segment files and write `out/masks`, `out/overlays`, `out/probabilities`, `out/predictions.json`.

    A file that cannot be read is reported and the others are done. About three batches of
    images, or one volume and its mask, are in memory at once, however many there are.

    Args:
        model: a Segmenter, or a run folder.
        sources: images, volumes, DICOM series (a folder or zip) and folders of them; folders are
            searched with their sub-folders, which the outputs keep.
        out: folder of the outputs.
        window: as in `predict`, like `overlap`, `flips` and `batch_size`.
        overlap: share of the window's side that neighbours have in common.
        flips: average over mirror images.
        batch_size: images, or windows of one image, at once.
        overlays: also write pictures of the masks on the images.
        probabilities: also write class probabilities (float16).
        overwrite: replace outputs that exist; otherwise one is an error before any work.
        resume: leave alone what an earlier call with the same model and settings has finished.
        workers: threads that read, and as many that write; the results do not depend on it.
        planes: as in `predict`.
        volume_format: of the masks of volumes; None for that of the input where it holds labels, else
            NIfTI. "dicom-seg" needs DICOM series.
        series: UID of the series to take where a folder or zip holds several.
        postprocess: as in `predict`.
        backbone: another place of the backbone's weights; only with a run folder.
        accept_license: accept the licence of the backbone's weights; only with a run folder.
        device: torch device to load a run folder to; a Segmenter stays where it is.
        precision: what the backbone of a run folder computes in; default: what it was trained in.
        progress: counts files and is told each failure when it happens.

    Raises:
        UsageError: an argument is not accepted.
        LayoutError: there is nothing to do, or two files would get the same name.
        OutputError: an output exists already or cannot be written; nothing is half written.
        RunError: the run folder cannot be used.
    """
    options = Options(
        window,
        overlap,
        flips,
        batch_size,
        probabilities,
        planes=None if planes is None else tuple(planes),
        postprocess=postprocess,
    )
    _check_choices(overwrite=overwrite, resume=resume, workers=workers)
    progress = progress or Silent()
    plan = plan_jobs(
        sources, out, overlays=overlays, probabilities=probabilities, volume_format=volume_format
    )
    for note in plan.notes:
        progress.note(note)
    _check_kinds(plan, options, {"planes": planes, "volume_format": volume_format, "series": series})
    if not (overwrite or resume):
        refuse_outputs(plan, out)
    loaded = open_model(
        model,
        backbone=backbone,
        accept_license=accept_license,
        device=device,
        precision=precision,
        progress=progress,
    )
    plan = plan.without_companions(loaded.settings.preprocessing.channels)
    origin = {"model": describe_model(loaded), "settings": _describe_options(options, loaded)}
    if resume:
        refuse_other_origin(plan, out, origin)
    # Written first: an interrupted call can be resumed, and a folder that is not writable shows at once.
    write_json(out / SUMMARY, {"dinoseg": __version__, "finished": False, **origin}, overwrite=True)
    started = time.monotonic()
    volumes = VolumePipeline(loaded, options, series, out, progress)
    outcomes = _run_jobs(_Pipeline(loaded, options, progress), volumes, plan, resume=resume, workers=workers)
    done = list(progress.track(outcomes, total=len(plan.jobs) + len(plan.failures), label="predict"))
    report = PredictionReport(
        out=out,
        files=_in_order(plan, done),
        failures=tuple(item for item in done if isinstance(item, Failure)),
        classes=dict(loaded.classes),
        **origin,
        seconds=time.monotonic() - started,
    )
    write_json(out / SUMMARY, {"dinoseg": __version__, **report.describe()}, overwrite=True)
    return report


class _Pipeline:
    """The three steps of a job; reading and writing run in threads, the model in the caller's."""

    def __init__(self, model: Segmenter, options: Options, progress: Progress) -> None:
        self.model = model
        self.options = options
        self.progress = progress
        self.failures: list[Failure] = []

    def run(self, jobs: Sequence[Job], workers: int) -> Generator[PredictedFile, None, None]:
        """Yield what was written, in order; what could not be read goes to `failures`."""
        ahead = self.options.batch_size
        by_source = {job.source: job for job in jobs}

        def write(item: Segmented) -> PredictedFile:
            return _write(item, by_source[item.case.source])

        with (
            closing(map_ahead(self.read, jobs, workers=workers, ahead=ahead)) as loaded,
            closing(self.keep_readable(loaded)) as prepared,
            closing(segment(self.model, prepared, self.options)) as segmented,
            closing(map_ahead(write, segmented, workers=workers, ahead=ahead)) as written,
        ):
            yield from written

    def read(self, job: Job) -> Prepared | Failure:
        """Decode and prepare one image."""
        try:
            path = job.source
            refuse_other_kind(self.model, path, is_volume=False)
            case = Case(id=path.stem, image=read_image(path), label=None, group=path.stem, source=path)
            return prepare(self.model, case, self.options)
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


def _run_jobs(
    images: _Pipeline, volumes: VolumePipeline, plan: Plan, *, resume: bool, workers: int
) -> Iterator[PredictedFile | Failure]:
    for failure in plan.failures:
        images.progress.note(failure.reason)
    yield from plan.failures
    finished = {job.source for job in plan.jobs if resume and all(path.exists() for path in job.outputs)}
    skipped = [job for job in plan.jobs if job.source in finished]
    yield from map_ahead(lambda job: _read_back(job, images.model), skipped, workers=workers, ahead=16)
    left = [job for job in plan.jobs if job.source not in finished]
    yield from images.run([job for job in left if not job.is_volume], workers)
    yield from images.failures
    yield from volumes.run([job for job in left if job.is_volume])


def _write(item: Segmented, job: Job) -> PredictedFile:
    # Whether existing outputs may be replaced was settled before any work.
    prediction = item.prediction
    legend = len(prediction.classes) > 2
    if job.overlay is not None:
        prediction.save_overlay(job.overlay, item.case.image, legend=legend, overwrite=True)
    if job.probabilities is not None:
        prediction.save_probabilities(job.probabilities, overwrite=True)
    prediction.save(job.mask, overwrite=True)
    return PredictedFile(
        source=job.source,
        mask=job.mask,
        overlay=job.overlay,
        probabilities=job.probabilities,
        size=item.case.image.size,
        pixels=prediction.pixels,
    )


def _read_back(job: Job, model: Segmenter) -> PredictedFile:
    if job.is_volume:
        return read_back(job)
    mask = read_label(job.mask)
    counts = np.bincount(mask.ravel(), minlength=max(model.classes) + 1)
    return PredictedFile(
        source=job.source,
        mask=job.mask,
        overlay=job.overlay,
        probabilities=job.probabilities,
        size=(int(mask.shape[0]), int(mask.shape[1])),
        pixels={index: int(counts[index]) for index in model.classes},
        skipped=True,
    )


def _in_order(plan: Plan, done: Sequence[PredictedFile | Failure]) -> tuple[PredictedFile, ...]:
    files = {item.source: item for item in done if isinstance(item, PredictedFile)}
    return tuple(files[job.source] for job in plan.jobs if job.source in files)


def _describe_options(options: Options, model: Segmenter) -> dict[str, Any]:
    """What changes a mask: the batch size does not, nor does an overlap without windows."""
    cleaning = model.postprocessing if options.postprocess else None
    return {
        "window": options.window,
        "overlap": None if options.window is None else options.overlap,
        "flips": options.flips,
        "planes": None if options.planes is None else list(options.planes),
        "postprocessing": None if cleaning is None else cleaning.describe(model.classes),
    }


def _check_kinds(plan: Plan, options: Options, choices: Mapping[str, object]) -> None:
    """Refuse what makes no sense for the files that were found."""
    if any(job.is_volume for job in plan.jobs):
        refuse_probabilities(options)
        return
    for name, value in choices.items():
        if value is not None and plan.jobs:
            raise UsageError(f"{name} is for volumes, and no volume was given; leave it out")


def _check_choices(*, overwrite: bool, resume: bool, workers: int) -> None:
    if overwrite and resume:
        raise UsageError("overwrite replaces everything and resume keeps what is finished; choose one")
    if workers < 1:
        raise UsageError(f"workers is at least 1, given {workers}")

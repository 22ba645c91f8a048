"""Volumes among the files of `predict_files`: one at a time, each with its mask, numbers and picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.config import Inference
from dinoseg.data.sources.digests import digest_source
from dinoseg.data.sources.source import open_volume
from dinoseg.data.volumes import Volume
from dinoseg.errors import DataError, OutputError, UsageError
from dinoseg.inference.files.plan import Job
from dinoseg.inference.likeness import Likeness
from dinoseg.inference.results.report import Failure, PredictedFile
from dinoseg.inference.results.volume_prediction import VolumePrediction
from dinoseg.inference.volumes import segment_volume
from dinoseg.progress import Progress


@dataclass(frozen=True)
class VolumePipeline:
    """Reads, segments and writes volumes; only one is in memory.

    Attributes:
        likeness: holds the model: trained on volumes, or every volume fails.
        how: it is applied.
        scratch: folder for temporary files of several planes.
        progress: is told failures, and counts the slices of each volume.
    """

    likeness: Likeness
    how: Inference
    scratch: Path
    progress: Progress

    def run(self, jobs: Sequence[Job]) -> Iterator[PredictedFile | Failure]:
        """Yield what was written, or why a volume could not be read, in order."""
        for job in jobs:
            done = self._run_job(job)
            if isinstance(done, Failure):
                self.progress.note(done.reason)
            yield done

    def _run_job(self, job: Job) -> PredictedFile | Failure:
        try:
            channels = self.likeness.model.settings.preprocessing.channels
            sha256 = digest_source(job.source, channels=channels, files=job.files)
            volume = open_volume(job.source, channels=channels, series=self.how.series, files=job.files)
            prediction = segment_volume(
                self.likeness.model, volume, how=self.how, scratch=self.scratch, progress=self.progress
            )
        except (DataError, UsageError) as error:  # of this volume; what holds for all was checked before
            return Failure(job.source, str(error))
        for line in prediction.warnings:
            self.progress.note(f"{job.source}: {line}")
        try:
            written = _write(prediction, volume, job, sha256)
        except DataError as error:  # a DICOM SEG that the headers of this series do not allow
            return Failure(job.source, str(error))
        return self.likeness.add_to(written, volume)


def read_back(job: Job) -> PredictedFile:
    """What an earlier call wrote about a volume.

    Raises:
        OutputError: its JSON is damaged.
    """
    if job.description is None:
        raise UsageError(f"{job.source} is no volume")
    try:
        found = json.loads(job.description.read_text(encoding="utf-8"))
        classes = {int(index): entry for index, entry in found["classes"].items()}
        volumes = {index: entry["ml"] for index, entry in classes.items()}
        return PredictedFile(
            source=job.source,
            mask=job.mask,
            overlay=job.overlay,
            probabilities=None,
            uncertainty=job.uncertainty,
            size=tuple(found["shape"]),
            pixels={index: int(entry["voxels"]) for index, entry in classes.items()},
            skipped=True,
            description=job.description,
            volumes_ml=None if None in volumes.values() else volumes,
            warnings=tuple(found.get("warnings", ())),  # files of earlier versions have none
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{job.description} is damaged ({error})"
        raise OutputError(f"{reason}; move it away, and it is made again with --resume") from error


def _write(prediction: VolumePrediction, volume: Volume, job: Job, sha256: str) -> PredictedFile:
    # Whether existing outputs may be replaced was settled before any work. The mask comes first: it is
    # the one that may not be possible.
    prediction.save(job.mask, overwrite=True)
    if job.overlay is not None:
        prediction.save_overlay(job.overlay, volume, overwrite=True)
    if job.uncertainty is not None:
        prediction.save_uncertainty(job.uncertainty, overwrite=True)
    if job.description is not None:
        prediction.save_description(job.description, overwrite=True)
    return PredictedFile(
        source=job.source,
        mask=job.mask,
        overlay=job.overlay,
        probabilities=None,
        size=prediction.geometry.shape,
        pixels=prediction.voxels,
        description=job.description,
        volumes_ml=prediction.volumes_ml,
        warnings=prediction.warnings,
        sha256=sha256,
        uncertainty=job.uncertainty,
        confidence=prediction.confidence,
    )

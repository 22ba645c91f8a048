"""From an upload to the files of a prediction, by what `dinoseg predict` reads, computes and writes with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dinoseg.config import Inference
from dinoseg.data.images.files import write_image
from dinoseg.data.sources.source import open_case, open_volume
from dinoseg.data.volumes import Volume
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import DataError
from dinoseg.inference.engine import prepare, segment
from dinoseg.inference.likeness import Likeness
from dinoseg.inference.results.prediction import Prediction
from dinoseg.inference.results.volume_prediction import VolumePrediction
from dinoseg.inference.volumes import segment_volume
from dinoseg.outputs import write_json
from dinoseg.serving.answers import ClassMeasure, PredictionAnswer
from dinoseg.serving.jobs import Reporter
from dinoseg.serving.models import Served, list_classes
from dinoseg.serving.scratch import remove_folder
from dinoseg.serving.uploads import INPUT, Upload

OUTPUTS = "outputs"  # folder of what clients may fetch, in that of the job
MEASURES = "measures.json"
_SHOWN = (".png", ".jpg", ".jpeg", ".bmp")  # images that browsers show
_NIFTI = ".nii.gz"

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """How a model is applied, and which files are written beside the mask.

    Attributes:
        how: the model is applied.
        only: the one file that the client fetches; None for all.
    """

    how: Inference
    only: str | None = None

    def wants(self, name: str) -> bool:
        """Whether a file is worth its time."""
        return self.only in (None, name)


@dataclass(frozen=True)
class Reporting:
    """The `Progress` of a job: counts, and ends the work where the job was cancelled."""

    reporter: Reporter

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Yield `items`, telling how many are done."""
        self.reporter.tell(label)
        self.reporter.report(0, total)
        for done, item in enumerate(items, start=1):
            yield item
            self.reporter.report(done, total)

    def note(self, message: str) -> None:
        """Tell the client."""
        self.reporter.tell(message)


def segment_upload(
    served: Served, upload: Upload, wanted: Wanted, folder: Path, reporter: Reporter
) -> Mapping[str, Any]:
    """Read, predict and write; what was uploaded is removed.

    Args:
        served: the model.
        upload: an image or volume.
        wanted: how the model is applied, and what is written.
        folder: of the job.
        reporter: told how far it is, and asked whether to go on.

    Returns:
        The fields of `PredictionAnswer`.

    Raises:
        DinosegError: it cannot be read, predicted or written.
    """
    out = folder / OUTPUTS
    out.mkdir()
    run = _segment_volume if upload.is_volume else _segment_image
    answer = run(served, upload, wanted, out, reporter)
    facts = {"model_facts": dict(served.network.describe()), **answer.model_dump(exclude={"outputs"})}
    write_json(out / MEASURES, facts)
    remove_folder(folder / INPUT)
    return answer.model_copy(update={"outputs": [*answer.outputs, MEASURES]}).model_dump()


def _segment_image(
    served: Served, upload: Upload, wanted: Wanted, out: Path, reporter: Reporter
) -> PredictionAnswer:
    case = open_case(upload.source)
    reporter.report(0, 1)
    prepared = prepare(served.network, case, wanted.how)
    (item,) = segment(served.network, [prepared], wanted.how, progress=Reporting(reporter))
    found = item.prediction
    warnings = Likeness(served.network).look(case.id, case.image, found.confidence)
    found.save(out / "mask.png")
    outputs = ["mask.png"]
    if wanted.wants("overlay.png"):
        found.save_overlay(out / "overlay.png", case.image, legend=len(found.classes) > 2)
        outputs.append("overlay.png")
    if wanted.wants("image.png") and upload.source.suffix.lower() not in _SHOWN:
        write_image(out / "image.png", case.image)
        outputs.append("image.png")
    reporter.report(1, 1)
    height, width = found.mask.shape
    return PredictionAnswer(
        kind="image",
        name=upload.name,
        model=served.name,
        width=width,
        height=height,
        slices=1,
        spacing=None if found.spacing is None else [1.0, *found.spacing],
        classes=_measure_image(found),
        confidence=None if found.confidence is None else found.confidence.describe(),
        outputs=outputs,
        warnings=[*warnings],
    )


def _measure_image(found: Prediction) -> list[ClassMeasure]:
    cell = None if found.spacing is None else found.spacing[0] * found.spacing[1]
    pixels = found.pixels
    return [
        ClassMeasure(
            **each.model_dump(),
            pixels=pixels[each.id],
            area_mm2=None if cell is None else round(pixels[each.id] * cell, 6),
            share=pixels[each.id] / found.mask.size,
        )
        for each in list_classes(found.classes)
    ]


def _segment_volume(
    served: Served, upload: Upload, wanted: Wanted, out: Path, reporter: Reporter
) -> PredictionAnswer:
    channels = served.network.settings.preprocessing.channels
    volume = open_volume(upload.source, channels=channels, series=wanted.how.series)
    found = segment_volume(served.network, volume, how=wanted.how, scratch=out, progress=Reporting(reporter))
    likeness = Likeness(served.network).look(volume.id, volume, found.confidence)
    reporter.check()
    outputs, refused = _write_volume(found, volume, upload, wanted, out)
    slices, height, width = found.mask.shape
    return PredictionAnswer(
        kind="volume",
        name=upload.name,
        model=served.name,
        width=width,
        height=height,
        slices=slices,
        spacing=None if found.spacing is None else [*found.spacing],
        classes=_measure_volume(found),
        confidence=None if found.confidence is None else found.confidence.describe(),
        outputs=outputs,
        warnings=[*found.warnings, *likeness, *refused],
    )


def _write_volume(
    found: VolumePrediction, volume: Volume, upload: Upload, wanted: Wanted, out: Path
) -> tuple[list[str], list[str]]:
    """Names of what was written, and why a DICOM SEG was not."""
    found.save(out / "mask.nii.gz")
    outputs = ["mask.nii.gz"]
    if wanted.wants("image.nii.gz"):
        _write_shown(volume, upload.source, out / "image.nii.gz")
        outputs.append("image.nii.gz")
    if wanted.wants("overlay.png"):
        found.save_overlay(out / "overlay.png", volume)
        outputs.append("overlay.png")
    if found.reference is None or not wanted.wants("seg.dcm"):
        return outputs, []
    try:
        found.save(out / "seg.dcm")
    except DataError as error:  # the headers of this series do not allow it; the mask is there
        return outputs, [str(error)]
    return [*outputs, "seg.dcm"], []


def _write_shown(volume: Volume, source: Path, path: Path) -> None:
    """The volume as NIfTI: the file that was sent where it is that already, else its first channel."""
    if source.name.lower().endswith(_NIFTI):
        with suppress(OSError):
            os.link(source, path)
            return
        shutil.copyfile(source, path)
        return
    write_grid(path, volume.array[0], volume.geometry)


def _measure_volume(found: VolumePrediction) -> list[ClassMeasure]:
    voxels, volumes = found.voxels, found.volumes_ml
    return [
        ClassMeasure(
            **each.model_dump(),
            pixels=voxels[each.id],
            volume_ml=None if volumes is None else round(volumes[each.id], 6),
            share=voxels[each.id] / found.mask.size,
        )
        for each in list_classes(found.classes)
    ]

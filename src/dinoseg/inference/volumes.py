"""Volumes: slice by slice through the model, the class maximum at once, back on the grid of the input.

Peak memory beyond the input and the uint8 mask is that of a few batches of slices: it does not grow with
their number. Several planes are averaged by way of the disk, see `fusion`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import Inference
from dinoseg.data.case import Case, Image
from dinoseg.data.cases.volumes import VolumeSlices, intensity_rule
from dinoseg.data.dicom import DicomVolume
from dinoseg.data.volumes import LabelVolume, Plane, Volume, find_doubts, to_canonical
from dinoseg.data.volumes.slices import plane_axis
from dinoseg.errors import DataError, UsageError
from dinoseg.inference.engine import Prepared, prepare, segment, segment_slabs
from dinoseg.inference.masks.fusion import Fusion
from dinoseg.inference.masks.postprocessing import clean_mask
from dinoseg.inference.results.prediction import Prediction
from dinoseg.inference.results.volume_prediction import VolumePrediction
from dinoseg.model.network import Network, find_reach
from dinoseg.progress import Progress, Silent
from dinoseg.streams import map_ahead

_READERS = 2


@dataclass(frozen=True, eq=False)
class _Work:
    """A model, a canonical volume and how the one is applied to the other."""

    model: Network
    volume: Volume
    how: Inference
    progress: Progress

    @property
    def planes(self) -> tuple[Plane, ...]:
        return self.how.planes or (self.model.settings.preprocessing.plane,)

    def write(self, target: NDArray[np.uint8], scratch: Path | None) -> None:
        """Write class ids into `target`, the canonical mask (D, H, W)."""
        if len(self.planes) == 1:
            _write_plane(self, self.planes[0], target)
        else:
            _write_fused(self, target, scratch)


def segment_volume(
    model: Network,
    volume: Volume,
    *,
    how: Inference | None = None,
    scratch: Path | str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> VolumePrediction:
    """Segment a volume; the mask has the axes, directions and geometry of `volume`.

    Args:
        model: trained on volumes; a Segmenter is left in eval mode.
        volume: in the orientation of its file.
        how: a window and flips are those of the slices.
        scratch: folder for temporary files, which only several planes need (one byte for each voxel,
            foreground class and plane); default: the system's.
        progress: counts slices.
        options: fields of `Inference` by name.

    Raises:
        DataError: the model was trained on images, or on another number of channels.
        UsageError: an option is not accepted, or probabilities are asked for.
        OutputError: the disk of `scratch` is too small.
    """
    scratch = None if scratch is None else Path(scratch)
    how = Inference.choose(how, options)
    refuse_probabilities(how)
    refuse_other_kind(model, volume.id, is_volume=True)
    _refuse_other_channels(model, volume)
    canonical = to_canonical(volume)
    work = _Work(model, canonical.volume, replace(how, postprocess=False), progress or Silent())
    label = LabelVolume(np.zeros(volume.geometry.shape, np.uint8), volume.geometry, volume.source, volume.id)
    # A view: what is written into it lies in the input's own order.
    work.write(canonical.orientation.apply(label).array, scratch)
    prediction = _describe(work, volume, label)
    if how.postprocess and model.postprocessing is not None:
        clean_mask(prediction.mask, model.postprocessing, cell=prediction.voxel_volume, name=volume.id)
    return prediction


def _describe(work: _Work, volume: Volume, label: LabelVolume) -> VolumePrediction:
    settings = work.model.settings
    return VolumePrediction(
        id=volume.id,
        mask=label.array,
        classes=dict(settings.classes),
        geometry=volume.geometry,
        source=volume.source,
        planes=work.planes,
        preprocessing=settings.preprocessing,
        method=settings.decoder.method,
        reference=volume.reference if isinstance(volume, DicomVolume) else None,
        warnings=_find_doubts(work.model, volume),
    )


def refuse_probabilities(how: Inference) -> None:
    """Raise where probabilities of a volume are asked for.

    Raises:
        UsageError: they are.
    """
    if how.probabilities:
        raise UsageError(
            "probabilities are for images: of a volume they take a hundred times the space of its mask; "
            "leave them out, or predict slices as images"
        )


def refuse_volume_options(how: Inference) -> None:
    """Raise where something is chosen that only volumes have.

    Raises:
        UsageError: planes, or a series.
    """
    for name, value in (("planes", how.planes), ("series", how.series)):
        if value is not None:
            raise UsageError(f"{name} is for volumes, and no volume was given; leave it out")


def refuse_other_kind(model: Network, name: object, *, is_volume: bool) -> None:
    """Raise unless a model was trained on what it is asked about: volumes, or images.

    Raises:
        DataError: it was trained on the other.
    """
    if model.settings.preprocessing.for_volumes == is_volume:
        return
    if is_volume:
        raise DataError(
            f"{name} is a volume, and the model was trained on images (model.preprocessing.intensity is "
            "null); use a model that was trained on volumes"
        )
    raise DataError(
        f"{name} is an image, and the model was trained on volumes; use a model that was trained on images, "
        "or give it the volume that the image is from"
    )


def _refuse_other_channels(model: Network, volume: Volume) -> None:
    wanted = model.settings.preprocessing.channels
    if volume.channels != wanted:
        raise DataError(
            f"{volume.source} has {volume.channels} channels, and the model was trained on {wanted}; give "
            "a 4D file with all of them, or NAME_0000 with the others beside it"
        )


def _find_doubts(model: Network, volume: Volume) -> tuple[str, ...]:
    intensity = model.settings.preprocessing.intensity
    return find_doubts(volume, None if intensity is None else intensity_rule(intensity))


def take_plane(array: NDArray[np.uint8], plane: Plane, index: int) -> NDArray[np.uint8]:
    """Slice `index` of a canonical mask (D, H, W), as a view."""
    return array[(slice(None),) * plane_axis(plane) + (index,)]


def _write_plane(work: _Work, plane: Plane, target: NDArray[np.uint8]) -> None:
    with closing(_predict_slices(work, plane, work.how)) as found:
        for index, prediction in enumerate(found):
            take_plane(target, plane, index)[:] = prediction.mask


def _write_fused(work: _Work, target: NDArray[np.uint8], scratch: Path | None) -> None:
    shape = work.volume.geometry.shape
    how = replace(work.how, probabilities=True)
    with Fusion(
        shape, planes=work.planes, classes=len(work.model.settings.classes), scratch=scratch
    ) as fusion:
        for plane in work.planes:
            with closing(_predict_slices(work, plane, how)) as found:
                for prediction in found:
                    if prediction.probabilities is not None:
                        fusion.add(plane, prediction.probabilities)
        fusion.write_mask(target)


def _predict_slices(work: _Work, plane: Plane, how: Inference) -> Generator[Prediction, None, None]:
    settings = work.model.settings.preprocessing.model_copy(update={"plane": plane})
    slices = VolumeSlices(work.volume, settings)

    def read(index: int) -> Prepared:
        name = f"{work.volume.id}, {plane} slice {index}"
        case = Case(name, slices.image(index), None, group=work.volume.id, source=work.volume.source)
        prepared = prepare(work.model, case, how)
        # Only its size is needed from here on, and a few batches of slices are waiting.
        blank = Image(np.broadcast_to(np.float32(0), (1, *slices.size)))
        return replace(prepared, case=replace(case, image=blank))

    label = f"{work.volume.id}, {plane}"
    with closing(map_ahead(read, range(len(slices)), workers=_READERS, ahead=how.batch_size)) as prepared:
        reach = find_reach(work.model)
        if reach:
            found = segment_slabs(work.model, prepared, how, reach=reach)
        else:
            found = segment(work.model, prepared, how)
        for item in work.progress.track(found, total=len(slices), label=label):
            yield item.prediction

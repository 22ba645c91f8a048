"""Volumes: slice by slice through the model, the class maximum at once, back on the grid of the input.

Peak memory beyond the input and the uint8 mask is that of a few batches of slices: it does not grow with
their number. Several planes are averaged by way of the disk, see `fusion`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
from dinoseg.model.confidence import Tally, calibration_of, estimate, find_uncertainty
from dinoseg.model.network import Array, Network, find_reach
from dinoseg.progress import Progress, Silent
from dinoseg.streams import map_ahead

_READERS = 2
Number = TypeVar("Number", bound=np.generic)


Watch = Callable[[int, Array], None]
"""Told the index of a slice along the model's plane, and its class probabilities."""


@dataclass
class _Gathered:
    """What the slices of a volume say together.

    Attributes:
        uncertainty: (D, H, W), canonical, to be filled; None where it is not asked for.
        watch: told the probabilities of each slice; None for nobody.
        tally: sums over the slices so far.
        embedding: sum of theirs.
        slices: their number.
    """

    uncertainty: Array | None
    watch: Watch | None
    tally: Tally | None = None
    embedding: Array | None = None
    slices: int = 0

    def add(self, plane: Plane, index: int, found: Prediction) -> None:
        if found.tally is not None:
            self.tally = found.tally if self.tally is None else self.tally + found.tally
        if found.embedding is not None:
            self.embedding = found.embedding if self.embedding is None else self.embedding + found.embedding
        self.slices += 1
        if self.uncertainty is not None and found.uncertainty is not None:
            take_plane(self.uncertainty, plane, index)[:] = found.uncertainty
        if self.watch is not None and found.probabilities is not None:
            self.watch(index, found.probabilities)

    @property
    def mean_embedding(self) -> Array | None:
        """(C,), over the slices."""
        return None if self.embedding is None else self.embedding / np.float32(self.slices)


@dataclass(frozen=True, eq=False)
class _Work:
    """A model, a canonical volume and how the one is applied to the other."""

    model: Network
    volume: Volume
    how: Inference
    progress: Progress
    gathered: _Gathered

    @property
    def planes(self) -> tuple[Plane, ...]:
        return self.how.planes or self.model.settings.preprocessing.planes

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
    watch: Watch | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> VolumePrediction:
    """Segment a volume; the mask has the axes, directions and geometry of `volume`.

    Args:
        model: trained on volumes; a Segmenter is left in eval mode.
        volume: in the orientation of its file.
        how: a window and flips are those of the slices.
        scratch: folder for temporary files, which only several planes need; default: the system's.
        watch: told the class probabilities of each slice, on the canonical grid of the one plane.
        progress: counts slices.
        options: fields of `Inference` by name.

    Raises:
        DataError: the model was trained on images, or on another number of channels.
        UsageError: an option is not accepted, or probabilities are asked for.
        OutputError: the disk of `scratch` is too small.
    """
    how = Inference.choose(how, options)
    refuse_probabilities(how)
    refuse_other_kind(model, volume.id, is_volume=True)
    _refuse_other_channels(model, volume)
    canonical, spread = to_canonical(volume), _make_uncertainty(volume) if how.uncertainty else None
    view = None if spread is None else canonical.orientation.apply(spread).array[0]
    raw, gathered = replace(how, postprocess=False), _Gathered(view, watch)
    work = _Work(model, canonical.volume, raw, progress or Silent(), gathered)
    label = LabelVolume(np.zeros(volume.geometry.shape, np.uint8), volume.geometry, volume.source, volume.id)
    # A view: what is written into it lies in the input's own order.
    work.write(canonical.orientation.apply(label).array, None if scratch is None else Path(scratch))
    prediction = _describe(work, volume, label, None if spread is None else spread.array[0])
    if how.postprocess and model.postprocessing is not None:
        clean_mask(prediction.mask, model.postprocessing, cell=prediction.voxel_volume, name=volume.id)
    return prediction


def _make_uncertainty(volume: Volume) -> Volume:
    """An empty map on the grid of a volume."""
    array = np.zeros((1, *volume.geometry.shape), np.float32)
    return Volume(array, volume.geometry, volume.source, volume.id)


def _describe(work: _Work, volume: Volume, label: LabelVolume, uncertainty: Array | None) -> VolumePrediction:
    settings, tally, embedding = work.model.settings, work.gathered.tally, work.gathered.mean_embedding
    calibration = calibration_of(work.model)
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
        confidence=None if tally is None else estimate(calibration, tally, embedding),
        uncertainty=uncertainty,
        tally=tally,
        embedding=embedding,
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


def tell_planes(model: Network, how: Inference) -> str:
    """One line where a model averages several planes without being asked, and what one alone saves, or ""."""
    planes = model.settings.preprocessing.planes
    if how.planes or len(planes) == 1:
        return ""
    return (
        f"volumes are cut into {', '.join(planes)} slices, as the model learned, and averaged; "
        f"--planes {planes[0]} alone takes less time"
    )


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


def take_plane(array: NDArray[Number], plane: Plane, index: int) -> NDArray[Number]:
    """Slice `index` of a canonical array (D, H, W), as a view."""
    return array[(slice(None),) * plane_axis(plane) + (index,)]


def _write_plane(work: _Work, plane: Plane, target: NDArray[np.uint8]) -> None:
    how = replace(work.how, probabilities=work.gathered.watch is not None)
    with closing(_predict_slices(work, plane, how)) as found:
        for index, prediction in enumerate(found):
            take_plane(target, plane, index)[:] = prediction.mask
            work.gathered.add(plane, index, prediction)


def _write_fused(work: _Work, target: NDArray[np.uint8], scratch: Path | None) -> None:
    shape = work.volume.geometry.shape
    how = replace(work.how, probabilities=True, uncertainty=False)
    with Fusion(
        shape, planes=work.planes, classes=len(work.model.settings.classes), scratch=scratch
    ) as fusion:
        for plane in work.planes:
            with closing(_predict_slices(work, plane, how)) as found:
                for index, prediction in enumerate(found):
                    if prediction.probabilities is not None:
                        fusion.add(plane, prediction.probabilities)
                    work.gathered.add(plane, index, prediction)
        measure = partial(find_uncertainty, calibration_of(work.model))
        fusion.write_mask(target, work.gathered.uncertainty, measure)


def _predict_slices(work: _Work, plane: Plane, how: Inference) -> Generator[Prediction, None, None]:
    settings = work.model.settings.preprocessing.in_plane(plane)
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
        geometry = work.volume.geometry
        spacing = geometry.spacing[plane_axis(plane)] if geometry.spacing_known else None
        reach = find_reach(work.model, spacing)
        if reach:
            found = segment_slabs(work.model, prepared, how, reach=reach, spacing=spacing)
        else:
            found = segment(work.model, prepared, how)
        for item in work.progress.track(found, total=len(slices), label=label):
            yield item.prediction

"""From files of volumes to prediction and target on the native grid; one volume is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import Inference
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.volumes import VolumeCase, VolumeSlices, read_volume_case
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.volumes import LabelVolume
from dinoseg.data.volumes.slices import plane_axis
from dinoseg.errors import DataError, LabelError, UsageError
from dinoseg.evaluation.calibration import PIXELS, Pixels
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.examples import draw_example
from dinoseg.evaluation.metrics import leave_out
from dinoseg.inference.results.volume_prediction import VolumePrediction
from dinoseg.inference.volumes import segment_volume
from dinoseg.model.network import Network
from dinoseg.progress import Progress

Ids = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class VolumeView:
    """One volume as it is scored.

    Attributes:
        case: in the orientation of its file.
        found: the prediction, on the same grid.
        target: (D, H, W) class ids, without the ones to ignore.
        decided: whether the target decides any voxel.
        pixels: some voxels with their probabilities; None where nobody asked.
    """

    case: VolumeCase
    found: VolumePrediction
    target: Ids
    decided: bool = True
    pixels: Pixels | None = None

    @property
    def prediction(self) -> Ids:
        """(D, H, W) class ids."""
        return self.found.mask

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Of a voxel in mm along (D, H, W); None where the file does not say."""
        return self.found.spacing

    @property
    def cell(self) -> float | None:
        """Volume of a voxel in mm³; None where the file does not say."""
        return self.found.voxel_volume

    def leave_out(self) -> VolumeView:
        """The view with background in both masks where nobody decided, which changes them in place."""
        return replace(self, decided=leave_out(self.prediction, self.target))

    def draw(self, classes: Mapping[int, str]) -> bytes:
        """JPEG of the slice that tells most: where target and prediction differ most, else the fullest."""
        turn = self.case.orientation
        upright = turn.apply(self.case.image)
        plane = self.found.preprocessing.planes[0]
        slices = VolumeSlices(upright, self.found.preprocessing.in_plane(plane))
        axis = plane_axis(plane)
        target, prediction = (
            np.moveaxis(self._turn(array), axis, 0) for array in (self.target, self.prediction)
        )
        index = find_telling_slice(target, prediction)
        return draw_example(
            slices.image(index).array,
            np.ascontiguousarray(target[index]),
            np.ascontiguousarray(prediction[index]),
            classes=classes,
            spacing=tuple(length for place, length in enumerate(upright.spacing) if place != axis),
        )

    def _turn(self, ids: Ids) -> Ids:
        label = LabelVolume(ids, self.case.image.geometry, self.case.source, self.case.id)
        return self.case.orientation.apply(label).array


def find_telling_slice(target: Ids, prediction: Ids) -> int:
    """Index along the first axis where two masks differ most; where they never do, the fullest one."""
    wrong = [int(np.count_nonzero(one != two)) for one, two in zip(target, prediction, strict=True)]
    shown = wrong if any(wrong) else [int(np.count_nonzero(plane)) for plane in target]
    return int(np.argmax(shown))


def stream_volume_views(
    model: Network,
    files: Iterable[CaseFiles],
    mapping: LabelMapping,
    *,
    how: Inference,
    failures: list[Failure],
    progress: Progress,
    raw: bool = False,
    observe: bool = False,
) -> Iterator[VolumeView]:
    """Yield a view of each volume in order; let go of one before asking for the next.

    Args:
        model: a Segmenter is put in eval mode.
        files: of cases with labels.
        mapping: label values -> class ids.
        how: the model is applied.
        failures: cases that cannot be read are appended here.
        progress: counts the slices of each volume.
        raw: masks as predicted and `IGNORE_ID` in the targets, which are not to be scored as they are.
        observe: look at the probabilities of some voxels; not where several planes are averaged.
    """
    for item in files:
        try:
            view = _view(model, item, mapping, how, progress, observe=observe)
            yield view if raw or mapping.ignore is None else view.leave_out()
            del view  # before the next one is read
        except (DataError, UsageError) as error:
            failures.append(Failure(item.id, str(error)))


def _view(
    model: Network,
    item: CaseFiles,
    mapping: LabelMapping,
    how: Inference,
    progress: Progress,
    *,
    observe: bool,
) -> VolumeView:
    case = read_volume_case(item, mapping)
    if case.label is None:
        raise LabelError(f"{item.image} has no label to score against; add one or leave the case out")
    planes = how.planes or model.settings.preprocessing.planes
    if not observe or len(planes) > 1:
        found = segment_volume(model, case.image, how=how, progress=progress)
        return VolumeView(case, found, case.label.array)
    upright = np.moveaxis(case.orientation.apply(case.label).array, plane_axis(planes[0]), 0)
    seen: list[Pixels] = []
    most = -(-PIXELS // len(upright))

    def watch(index: int, scores: NDArray[np.float32]) -> None:
        label = np.ascontiguousarray(upright[index])
        seen.append(Pixels.draw(f"{case.id} {index}", scores, label, most=most))

    found = segment_volume(model, case.image, how=how, watch=watch, progress=progress)
    return VolumeView(case, found, case.label.array, pixels=Pixels.join(seen))

"""Looking at every volume of a data set, one at a time: geometry, intensities, labels, copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dinoseg.config import PreprocessingSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.volumes import (
    VolumeCase,
    read_geometry,
    read_volume_case,
    summarise_doubts,
    take_label_slice,
)
from dinoseg.data.checks.findings import Finding, list_cases
from dinoseg.data.checks.inspection import CaseFailure
from dinoseg.data.checks.regions import MeasuredMask, measure_mask
from dinoseg.data.checks.summaries import ClassSummary, VolumeSummary
from dinoseg.data.labels.histograms import count_values
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.layouts.dataset import Dataset, is_ct
from dinoseg.data.splits.volume_duplicates import digest_voxels
from dinoseg.data.volumes import CTWindows, Geometry, describe_volume, volume_suffix
from dinoseg.data.volumes.doubts import doubt_hounsfield
from dinoseg.errors import DataError, FileFormatError, LabelError
from dinoseg.progress import Progress

MOST_SLICES = 24  # of a volume, whose regions are measured
CUBIC = 2.0  # longest side of a voxel, relative to its shortest: up to here every plane shows the same things
FEWEST_SLICES = 16  # along the shortest side: below, the other planes show narrow stripes


@dataclass(frozen=True)
class VolumeFacts:
    """What one readable volume shows.

    Attributes:
        id: of the case.
        geometry: as in the file.
        kind: extension and number type, e.g. ".nii.gz int16".
        channels: of the image.
        voxels: class id -> number of voxels, without the background.
        constant: every voxel has one value.
        digest: of the voxels, whatever the file format.
        lowest: smallest value of all channels.
        highest: largest value.
        placement: one line where the file's two placements disagree, or "".
        hounsfield: one line where the values are probably no Hounsfield units, or "".
        slices: axial slices that show a class, `MOST_SLICES` evenly spread ones at most.
    """

    id: str
    geometry: Geometry
    kind: str
    channels: int
    voxels: Mapping[int, int]
    constant: bool
    digest: str
    lowest: float
    highest: float
    placement: str = ""
    hounsfield: str = ""
    slices: tuple[MeasuredMask, ...] = field(default=(), repr=False)

    @property
    def voxel_count(self) -> int:
        """Voxels of one channel."""
        return int(np.prod(self.geometry.shape))


def inspect_volumes(
    cases: Sequence[CaseFiles], mapping: LabelMapping, progress: Progress
) -> tuple[list[VolumeFacts], list[CaseFailure]]:
    """Read every volume and label completely; the second list holds those that cannot be used."""
    facts: list[VolumeFacts] = []
    failures: list[CaseFailure] = []
    for case in progress.track(cases, total=len(cases), label="Reading volumes"):
        # Without a mapping the images are still worth reading.
        files = case if mapping.kind != "unknown" else replace(case, label=None)
        try:
            facts.append(_describe(read_volume_case(files, mapping), mapping))
        except LabelError as error:
            failures.append(CaseFailure(case.id, "label", str(error)))
        except DataError as error:
            topic = "unreadable" if isinstance(error, FileFormatError) else "voxels"
            failures.append(CaseFailure(case.id, topic, str(error)))
    return facts, failures


def check_volumes(facts: Sequence[VolumeFacts], dataset: Dataset) -> list[Finding]:
    """What is odd about readable volumes."""
    constant = [case.id for case in facts if case.constant]
    empty = [case.id for case in dataset.cases if case.id in dataset.empty]
    unknown = [case.id for case in facts if not case.geometry.spacing_known]
    findings = list_cases("warning", "flat", constant, "every voxel has the same value")
    findings += _warn("geometry", {case.id: case.placement for case in facts})
    if is_ct(dataset):
        findings += _warn("hounsfield", {case.id: case.hounsfield for case in facts})
    findings += list_cases("info", "empty", empty, "the label is empty")
    undecided = [case.id for case in dataset.cases if case.id in dataset.undecided]
    findings += list_cases("info", "undecided", undecided, "every voxel of the label is ignored")
    if unknown and len(unknown) < len(facts):
        findings += list_cases(
            "warning", "spacing", unknown, "the voxel size is not known, so that distances cannot be in mm"
        )
    elif unknown:
        findings.append(Finding("info", "spacing", "no file tells its voxel size: distances are in pixels"))
    if proposal := _propose_planes([case.geometry for case in facts]):
        findings.append(Finding("info", "planes", proposal))
    channels = Counter(case.channels for case in facts)
    if len(channels) > 1:
        listed = ", ".join(f"{count} with {number}" for number, count in sorted(channels.items()))
        findings.append(Finding("error", "channels", f"the volumes differ in their channels: {listed}"))
    directions = Counter(case.geometry.directions for case in facts)
    if len(directions) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in directions.most_common())
        message = (
            f"the volumes are stored in {len(directions)} orientations ({listed}); all are turned upright"
        )
        findings.append(Finding("info", "orientation", message))
    return findings


def note_planes(cases: Sequence[CaseFiles], settings: PreprocessingSettings) -> str:
    """The proposal of `data check` to learn from three planes, before a training in one, or "".

    Args:
        cases: volumes, of which only the headers are read.
        settings: say how they are cut.

    Raises:
        FileFormatError: a header cannot be read.
    """
    if len(settings.planes) > 1 or settings.window is not None:
        return ""
    return _propose_planes([read_geometry(case) for case in cases])


def _propose_planes(geometries: Sequence[Geometry]) -> str:
    if not geometries or not all(geometry.spacing_known for geometry in geometries):
        return ""
    longer = float(np.median([max(each.spacing) / min(each.spacing) for each in geometries]))
    if longer > CUBIC or np.median([min(each.shape) for each in geometries]) < FEWEST_SLICES:
        return ""
    return (
        f"voxels are nearly cubes (longest side {longer:.2g} times the shortest, median): three planes can "
        "be learned from and averaged: --set model.preprocessing.plane=axial,coronal,sagittal"
    )


def _warn(topic: str, doubts: Mapping[str, str]) -> list[Finding]:
    return [Finding("warning", topic, line) for line in summarise_doubts(doubts)]


def summarise_volumes(facts: Sequence[VolumeFacts]) -> VolumeSummary:
    """Sizes, voxel sizes and orientations of all volumes."""
    shapes = sorted((case.geometry.shape for case in facts), key=lambda shape: (np.prod(shape), shape))
    known = np.array([case.geometry.spacing for case in facts if case.geometry.spacing_known])
    foreground = sum(sum(case.voxels.values()) for case in facts)
    return VolumeSummary(
        smallest=shapes[0] if shapes else None,
        largest=shapes[-1] if shapes else None,
        finest=tuple(known.min(axis=0).tolist()) if known.size else None,
        coarsest=tuple(known.max(axis=0).tolist()) if known.size else None,
        orientations=dict(Counter(case.geometry.directions for case in facts).most_common()),
        kinds=dict(Counter(case.kind for case in facts).most_common()),
        foreground_share=foreground / max(sum(case.voxel_count for case in facts), 1),
        lowest=min((case.lowest for case in facts), default=None),
        highest=max((case.highest for case in facts), default=None),
    )


def summarise_classes(facts: Sequence[VolumeFacts], classes: Mapping[int, str]) -> dict[int, ClassSummary]:
    """Cases and voxels of each class besides the background."""
    total = max(sum(case.voxel_count for case in facts), 1)
    return {
        id_: ClassSummary(
            name=name,
            cases=sum(id_ in case.voxels for case in facts),
            pixel_share=sum(case.voxels.get(id_, 0) for case in facts) / total,
        )
        for id_, name in classes.items()
        if id_ != 0
    }


def _describe(case: VolumeCase, mapping: LabelMapping) -> VolumeFacts:
    array = case.image.array
    counts = {} if case.label is None else count_values(case.label.array)
    background = {0, IGNORE_ID} if mapping.ignore is not None else {0}
    described = describe_volume(case.image)
    return VolumeFacts(
        id=case.id,
        geometry=case.image.geometry,
        kind=f"{volume_suffix(case.source) or 'DICOM'} {array.dtype.name}",
        channels=case.image.channels,
        voxels={id_: count for id_, count in counts.items() if id_ not in background},
        constant=all(bool(channel.min() == channel.max()) for channel in array),
        digest=digest_voxels(case.image),
        lowest=described.lowest,
        highest=described.highest,
        placement=case.image.geometry.placement_doubt,
        hounsfield=doubt_hounsfield(case.image, CTWindows()) or "",
        slices=_measure_slices(case, sorted(set(counts) - background)),
    )


def _measure_slices(case: VolumeCase, classes: Sequence[int]) -> tuple[MeasuredMask, ...]:
    """The regions in axial slices, which is how volumes are learned unless told otherwise."""
    label = case.canonical().label
    if label is None or not classes:
        return ()
    shown = np.flatnonzero(np.isin(label.array, classes).any(axis=(1, 2)))
    chosen = shown[np.linspace(0, len(shown) - 1, min(MOST_SLICES, len(shown))).round().astype(int)]
    ids = ((index, take_label_slice(label, int(index), plane="axial").array) for index in chosen)
    return tuple(measure_mask(f"{case.id}, slice {index}", array, classes) for index, array in ids)

"""DICOM SEG as a label volume on the grid of the series it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.dicom.entries import Entry
from dinoseg.data.dicom.headers import Plane, count_frames, find_group, numbers, read_dataset, text
from dinoseg.data.dicom.libraries import explaining, load_pydicom
from dinoseg.data.dicom.reference import SeriesReference, read_reference
from dinoseg.data.dicom.stacks import plane_affine
from dinoseg.data.volumes.access import refuse_non_file
from dinoseg.data.volumes.volume import LabelVolume, smallest_id_type
from dinoseg.errors import FileFormatError, LabelError, UsageError

PLACE_TOLERANCE = 0.05  # of a voxel; how far the corners of a frame may be from those of its slice

_ALONG = 0  # the axis of (D, H, W) that counts slices


@dataclass(frozen=True, eq=False)
class NamedLabelVolume(LabelVolume):
    """A label volume whose file names its classes.

    Attributes:
        classes: id -> name, without the background.
    """

    classes: Mapping[int, str]


@dataclass(frozen=True)
class ClassChoice:
    """What a segment or structure of a file becomes.

    Attributes:
        id: in the label volume.
        name: as in the file.
    """

    id: int
    name: str


def read_segmentation(
    path: Path | str,
    series: SeriesReference | Path | str,
    *,
    names: Sequence[str] | None = None,
    threshold: float | None = None,
) -> NamedLabelVolume:
    """Read a DICOM SEG onto the grid of its series; slices without a frame are background.

    Args:
        path: the SEG file.
        series: the series it was drawn on, or the folder or zip where that series lies.
        names: labels of the segments wanted; ids are then 1, 2, ... in this order. Without, all
            segments with their numbers as ids.
        threshold: 0 to 1, for fractional segmentations: from where on a voxel belongs to the segment.

    Raises:
        DinosegError: pydicom is not installed.
        FileFormatError: the file is no SEG, or damaged.
        LabelError: it belongs to another series, a frame lies on none of its slices or names another
            slice than the one it lies on, segments overlap, or it is fractional and no threshold was
            given.
        UsageError: no segment of such a name, or a threshold out of range.
    """
    series = Path(series) if isinstance(series, str) else series
    path = Path(path)
    dataset = read_object(path, "SEG")
    with explaining(path):
        reference = resolve_series(series, referenced_series(dataset))
        _check_series(path, dataset, reference)
        reader = _Frames(path, dataset, reference, threshold)
        classes = choose_names(path, "segment", list_segments(dataset), names)
        array = reader.fill(classes)
    return NamedLabelVolume(array, reference.geometry, path, path.stem, name_ids(classes))


def read_object(path: Path, modality: str) -> Any:
    """The dataset of a single file of a certain modality, with pixels.

    Raises:
        FileFormatError: missing, not DICOM, damaged, or of another modality.
    """
    refuse_non_file(path)
    dataset = read_dataset(Entry(path, path.stat().st_size), pixels=True)
    if dataset is None:
        raise FileFormatError(f"{path} is not a DICOM file")
    with explaining(path):
        found = text(dataset, "Modality")
    if found != modality:
        raise FileFormatError(f"{path} has the modality {found or 'unknown'}; accepted is {modality}")
    return dataset


def resolve_series(series: SeriesReference | Path, uids: Sequence[str]) -> SeriesReference:
    """The series itself or, from a folder or zip, the one of `uids` that lies there.

    Raises:
        FileFormatError: it cannot be read.
        UsageError: it is not there.
    """
    if isinstance(series, SeriesReference):
        return series
    return read_reference(series, series=uids[0] if len(uids) == 1 else None)


def choose_names(
    path: Path, what: str, found: Mapping[int, str], wanted: Sequence[str] | None
) -> dict[int, ClassChoice]:
    """Which segments (or structures) are read: number in the file -> id and name.

    Raises:
        FileFormatError: the file holds none.
        UsageError: a name that is not there, is there twice, or is asked for twice.
    """
    if not found:
        raise FileFormatError(f"{path} holds no {what}")
    if wanted is None:
        return {number: ClassChoice(number, name) for number, name in found.items()}
    listed = ", ".join(found.values())
    chosen: dict[int, ClassChoice] = {}
    for identifier, name in enumerate(wanted, start=1):
        matching = [number for number, each in found.items() if each == name]
        if len(matching) != 1 or matching[0] in chosen:
            count = "no" if not matching else f"{len(matching)}"
            raise UsageError(f"{path} has {count} {what} {name!r} to choose once; it holds {listed}")
        chosen[matching[0]] = ClassChoice(identifier, name)
    if not chosen:
        raise UsageError(f"{path}: no {what} was chosen; it holds {listed}")
    return chosen


def name_ids(classes: Mapping[int, ClassChoice]) -> dict[int, str]:
    """Id -> name."""
    return {choice.id: choice.name for choice in classes.values()}


class _Frames:
    """Puts the frames of a SEG where their positions say."""

    def __init__(self, path: Path, dataset: Any, reference: SeriesReference, threshold: float | None) -> None:
        self._path = path
        self._dataset = dataset
        self._reference = reference
        self._kind = text(dataset, "SegmentationType")
        self._threshold = _check_threshold(path, self._kind, threshold)

    def fill(self, classes: Mapping[int, ClassChoice]) -> NDArray[Any]:
        """Class ids (D, H, W) of the chosen segments."""
        names = name_ids(classes)
        array = np.zeros(self._reference.geometry.shape, dtype=smallest_id_type(max(names)))
        for frame in range(count_frames(self._dataset)):
            pieces = list(self._read_frame(frame, classes))
            depth = self._place(frame) if pieces else 0
            for segment, mask in pieces:
                identifier = classes[segment].id
                taken = np.unique(array[depth][mask])
                taken = taken[(taken != 0) & (taken != identifier)]
                if taken.size:
                    raise LabelError(
                        f"{self._path}: the segments {names[int(taken[0])]} and {names[identifier]} overlap, "
                        "and a voxel has one class; choose segments that don't with names"
                    )
                array[depth][mask] = identifier
        return array

    def _read_frame(
        self, frame: int, classes: Mapping[int, ClassChoice]
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """The chosen segments of a frame, each with its voxels (H, W)."""
        if self._kind == "LABELMAP":
            ids = self._decode(frame)
            yield from (
                (segment, ids == segment) for segment in np.unique(ids).tolist() if segment in classes
            )
            return
        group = find_group(self._dataset, frame, "SegmentIdentificationSequence")
        segment = int(group.ReferencedSegmentNumber)
        if segment in classes:
            pixels = self._decode(frame)
            if self._threshold is None:
                yield segment, pixels != 0
            else:
                share = pixels / float(self._dataset.MaximumFractionalValue)
                yield segment, (share >= self._threshold) & (pixels > 0)

    def _decode(self, frame: int) -> NDArray[Any]:
        pixels: NDArray[Any] = load_pydicom("pydicom.pixels").pixel_array(self._dataset, index=frame)
        return pixels

    def _place(self, frame: int) -> int:
        """Which slice a frame lies on; by its position, which must agree with the slice it names."""
        plane = self._plane(frame)
        slices, height, width = self._reference.geometry.shape
        if plane.size != (height, width):
            raise LabelError(f"{self._path} has frames of {plane.size} pixels; its series {(height, width)}")
        corners = np.array([[0, h, w, 1] for h in (0, height - 1) for w in (0, width - 1)], dtype=np.float64)
        there = corners @ (np.linalg.inv(self._reference.geometry.affine) @ plane_affine(plane)).T  # (4, 4)
        depth = int(np.rint(there[:, _ALONG].mean()))
        offset = float(np.abs(there[:, :3] - corners[:, :3] - [depth, 0, 0]).max())
        if offset > PLACE_TOLERANCE or not 0 <= depth < slices:
            where = ", ".join(f"{value:.2f}" for value in plane.position or ())
            raise LabelError(
                f"{self._path}: frame {frame + 1} at ({where}) lies on none of the {slices} slices of "
                f"{self._reference.source} (up to {offset:.2g} voxels off); is a slice missing, or the grid "
                "another one?"
            )
        self._check_source(frame, depth)
        return depth

    def _plane(self, frame: int) -> Plane:
        data = self._dataset
        position = find_group(data, frame, "PlanePositionSequence")
        orientation = find_group(data, frame, "PlaneOrientationSequence")
        measures = find_group(data, frame, "PixelMeasuresSequence")
        plane = Plane(
            entry=Entry(self._path, 0),
            frame=frame,
            sop_uid="",
            sop_class="",
            size=(int(data.Rows), int(data.Columns)),
            position=numbers(position, "ImagePositionPatient", 3),
            orientation=numbers(orientation, "ImageOrientationPatient", 6),
            spacing=numbers(measures, "PixelSpacing", 2),
            thickness=None,
        )
        if plane.position is None or plane.orientation is None or plane.spacing is None:
            raise LabelError(f"{self._path}: frame {frame + 1} does not say where it lies")
        return plane

    def _check_source(self, frame: int, depth: int) -> None:
        """Raise where a frame names slices, and the one it lies on is none of them."""
        derivation = find_group(self._dataset, frame, "DerivationImageSequence")
        sources = (derivation.get("SourceImageSequence") if derivation is not None else None) or ()
        here = self._reference.slices[depth]
        named = [
            text(source, "ReferencedSOPInstanceUID") for source in sources if _names_frame(source, here.frame)
        ]
        if sources and here.sop_uid and here.sop_uid not in named:
            said = sorted({text(source, "ReferencedSOPInstanceUID") for source in sources})
            raise LabelError(
                f"{self._path}: frame {frame + 1} lies on slice {depth} ({here.sop_uid}), but says that it "
                f"was drawn on {', '.join(said)}"
            )


def _names_frame(source: Any, frame: int) -> bool:
    """Whether a reference means a frame of its file; one without numbers means all."""
    said = source.get("ReferencedFrameNumber")
    if said is None or said == "":
        return True
    return frame + 1 in [int(number) for number in (said if hasattr(said, "__iter__") else [said])]


def _check_threshold(path: Path, kind: str, threshold: float | None) -> float | None:
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise FileFormatError(f"{path} is a segmentation of the type {kind!r}; accepted is BINARY")
    if kind != "FRACTIONAL":
        return None
    if threshold is None:
        raise LabelError(
            f"{path} is fractional: its voxels belong to a segment in part; give a threshold, for example 0.5"
        )
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold {threshold} is not accepted; give a number above 0 and up to 1")
    return threshold


def list_segments(dataset: Any) -> dict[int, str]:
    """Number of each segment -> its label."""
    segments = {int(each.SegmentNumber): text(each, "SegmentLabel") for each in dataset.SegmentSequence}
    return {number: name for number, name in segments.items() if number != 0}  # LABELMAP may name 0


def referenced_series(dataset: Any) -> list[str]:
    """UIDs of the series that a SEG names; none where it names only a space."""
    return [text(each, "SeriesInstanceUID") for each in dataset.get("ReferencedSeriesSequence") or ()]


def _check_series(path: Path, dataset: Any, reference: SeriesReference) -> None:
    named = referenced_series(dataset)
    if named:
        if reference.uid not in named:
            raise LabelError(
                f"{path} belongs to the series {', '.join(named)}; {reference.source} holds {reference.uid}"
            )
        return
    frame_of_reference = text(dataset, "FrameOfReferenceUID")
    if not frame_of_reference or frame_of_reference != reference.frame_of_reference:
        raise LabelError(
            f"{path} names no series, and its frame of reference is not that of {reference.source}"
        )

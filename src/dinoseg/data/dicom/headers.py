"""What the header of one DICOM file says, before any pixel is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dinoseg.data.dicom.entries import Entry
from dinoseg.data.dicom.libraries import explaining, load_pydicom, shorten
from dinoseg.errors import FileFormatError

# Objects with rows and columns, or without, that are no images to segment.
NOT_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "KO", "PR", "REG", "DOC"})

_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_LONGEST = 256  # characters; names and UIDs have at most 64
_TAGS = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "SliceThickness",
    "SpacingBetweenSlices",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Plane:
    """One slice: a file, or a frame of a multi-frame file. None where the file says nothing.

    Attributes:
        entry: the file.
        frame: index of the frame, from 0.
        sop_uid: identifies the file's object.
        sop_class: kind of that object.
        size: (rows, columns).
        position: x, y, z of the first pixel's centre in mm, LPS.
        orientation: six direction cosines in LPS: along a row, then along a column.
        spacing: mm between rows and between columns.
        thickness: mm between slices or, where that is not said, of a slice.
    """

    entry: Entry
    frame: int
    sop_uid: str
    sop_class: str
    size: tuple[int, int]
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    thickness: float | None

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return f"{self.entry.path.name} frame {self.frame + 1}" if self.frame else self.entry.path.name


@dataclass(frozen=True)
class Header:
    """One DICOM file.

    Attributes:
        entry: the file.
        series_uid: Series Instance UID; empty where it was removed.
        study_uid: Study Instance UID; empty where it was removed.
        frame_of_reference: UID of the space that positions are in; empty where it is not given.
        modality: "CT", "MR", "SEG" and so on.
        description: Series Description.
        patient: eight hex digits that tell patients apart without naming them; empty where the file
            names none.
        localizer: whether it is a scout view.
        planes: its slices; none where it is no image.
        problem: why an image has no slices; empty where it has.
    """

    entry: Entry
    series_uid: str
    study_uid: str
    frame_of_reference: str
    modality: str
    description: str
    patient: str
    localizer: bool
    planes: tuple[Plane, ...]
    problem: str = ""


def read_header(entry: Entry) -> Header | None:
    """Read the header of a DICOM file; None for a file that is not DICOM, or only a directory of others.

    Raises:
        FileFormatError: it begins as DICOM, but cannot be read.
    """
    with explaining(entry.path):  # values are converted, and found to be damaged, when they are asked for
        dataset = read_dataset(entry, tags=_TAGS)
        if dataset is None or text(dataset.file_meta, "MediaStorageSOPClassUID") == _DIRECTORY_CLASS:
            return None
        if "SeriesInstanceUID" not in dataset:
            raise FileFormatError(f"{entry.path} has no Series Instance UID; is it truncated?")
        return _header(entry, dataset)


def read_dataset(entry: Entry, *, tags: list[str] | None = None, pixels: bool = False) -> Any:
    """The pydicom dataset of a file, or None where it is not DICOM.

    Args:
        entry: the file.
        tags: keywords of the elements wanted; all where None.
        pixels: also read the pixel data.

    Raises:
        FileFormatError: it begins as DICOM, but cannot be read.
    """
    pydicom = load_pydicom()
    if not entry.is_dicom():
        return None
    with entry.open() as file:
        return pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=tags)


def text(dataset: Any, keyword: str) -> str:
    """An element as text that prints, without surrounding spaces; empty where it is missing or empty."""
    value = str(dataset.get(keyword) or "")
    return "".join(letter for letter in value[:_LONGEST] if letter.isprintable()).strip()


def instance_uid(dataset: Any) -> str:
    """SOP Instance UID; anonymisers that empty it leave the copy in the file's meta header."""
    return text(dataset, "SOPInstanceUID") or text(dataset.file_meta, "MediaStorageSOPInstanceUID")


def class_uid(dataset: Any) -> str:
    """SOP Class UID, from the meta header where the element was emptied."""
    return text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")


def find_group(dataset: Any, frame: int, keyword: str) -> Any:
    """The functional group `keyword` of a frame: its own or else the one shared by all; None without."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for groups in ([own[frame]] if frame < len(own) else [], shared):
        for item in groups:
            if item.get(keyword):
                return item.get(keyword)[0]
    return None


def numbers(dataset: Any, keyword: str, count: int) -> Vector | None:
    """`count` finite numbers of an element; None where it is missing or empty.

    Raises:
        ValueError: another count, or no numbers.
    """
    value = None if dataset is None else dataset.get(keyword)
    if value is None or value == "":
        return None
    words = [value] if count == 1 else list(value)
    if not words:
        return None
    vector = tuple(float(word) for word in words)
    if len(vector) != count or any(abs(number) == float("inf") or number != number for number in vector):
        raise ValueError(f"{keyword} {value}; accepted are {count} finite numbers")
    return vector


def count_frames(dataset: Any) -> int:
    """Number of Frames; 1 where the element is missing."""
    return int(dataset.get("NumberOfFrames") or 1)


def _header(entry: Entry, dataset: Any) -> Header:
    planes: tuple[Plane, ...] = ()
    problem = ""
    try:
        if text(dataset, "Modality") not in NOT_IMAGES:
            planes = tuple(_list_planes(entry, dataset))
    except (ValueError, TypeError, OverflowError) as error:
        problem = shorten(str(error))
    return Header(
        entry=entry,
        series_uid=text(dataset, "SeriesInstanceUID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        modality=text(dataset, "Modality"),
        description=text(dataset, "SeriesDescription"),
        patient=_hash_patient(dataset),
        localizer="LOCALIZER" in str(dataset.get("ImageType") or "").upper(),
        planes=planes,
        problem=problem,
    )


def _list_planes(entry: Entry, dataset: Any) -> Iterator[Plane]:
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise ValueError("no Rows or Columns: is it an image at all, or truncated?")
    if not dataset.get("PerFrameFunctionalGroupsSequence"):
        if count_frames(dataset) > 1:
            raise ValueError(f"{count_frames(dataset)} frames without positions: a film, not a volume")
        yield _plane(entry, dataset, 0, dataset, dataset, dataset)
        return
    if count_frames(dataset) != len(dataset.PerFrameFunctionalGroupsSequence):
        given = len(dataset.PerFrameFunctionalGroupsSequence)
        raise ValueError(f"{count_frames(dataset)} frames with the positions of {given}")
    for frame in range(count_frames(dataset)):
        position = find_group(dataset, frame, "PlanePositionSequence")
        orientation = find_group(dataset, frame, "PlaneOrientationSequence")
        yield _plane(
            entry, dataset, frame, position, orientation, find_group(dataset, frame, "PixelMeasuresSequence")
        )


def _plane(entry: Entry, dataset: Any, frame: int, position: Any, orientation: Any, measures: Any) -> Plane:
    thickness = numbers(measures, "SpacingBetweenSlices", 1) or numbers(measures, "SliceThickness", 1)
    return Plane(
        entry=entry,
        frame=frame,
        sop_uid=instance_uid(dataset),
        sop_class=class_uid(dataset),
        size=(int(dataset.Rows), int(dataset.Columns)),
        position=numbers(position, "ImagePositionPatient", 3),
        orientation=numbers(orientation, "ImageOrientationPatient", 6),
        spacing=numbers(measures, "PixelSpacing", 2),
        thickness=abs(thickness[0]) if thickness else None,
    )


def _hash_patient(dataset: Any) -> str:
    named = text(dataset, "PatientID") or text(dataset, "PatientName")
    return hashlib.sha256(named.encode()).hexdigest()[:8] if named else ""

"""DICOM SEG out of a label volume, pointing to the series it was made from; read back before it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg import __version__
from dinoseg.data.dicom.codes import find_code
from dinoseg.data.dicom.headers import class_uid, count_frames, instance_uid, text
from dinoseg.data.dicom.libraries import explaining, load_highdicom, load_pydicom, shorten
from dinoseg.data.dicom.reference import SeriesReference
from dinoseg.data.dicom.segmentation_reader import read_segmentation
from dinoseg.data.volumes.geometry import refuse_other_geometry
from dinoseg.data.volumes.volume import LabelVolume
from dinoseg.errors import DinosegError, LabelError, UsageError
from dinoseg.outputs import atomic_path, refuse_existing
from dinoseg.streams import ignoring_warnings

SUFFIX = ".dcm"
MAX_NAME = 64  # characters of a segment's label
MAX_SEGMENTS = 255

# A SEG belongs to a study and points to objects; without these there is nothing to point to.
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# Elements that every image should have and that a SEG copies; empty where an anonymiser removed them.
_COPIED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
# What else of an image is read while a SEG is made.
_READ = ("SeriesNumber", "InstanceNumber", "SliceThickness", "SpacingBetweenSlices")
_SEXES = ("M", "F", "O")


@dataclass(frozen=True)
class WrittenSegmentation:
    """What was written.

    Attributes:
        path: the file.
        segments: number of a segment in the file -> the class id it holds.
        empty: names of the classes without a voxel; the file has segments for them only if it is
            all of them.
    """

    path: Path
    segments: Mapping[int, int]
    empty: tuple[str, ...]


def write_segmentation(
    path: Path | str,
    label: LabelVolume,
    *,
    reference: SeriesReference,
    classes: Mapping[int, str],
    algorithm_name: str,
    algorithm_version: str,
    overwrite: bool = False,
) -> WrittenSegmentation:
    """Write a binary DICOM SEG with one segment for each class that has voxels.

    A label without any is a result too: all classes then have segments, whose frames are all zero.
    The file is read back and compared with `label` before it takes its name.

    Args:
        path: ends in .dcm.
        label: class ids on the grid of the series.
        reference: the series; see `read_series` and `read_reference`.
        classes: id -> name; 0 is background and not written. Names become the segments' labels, and
            coded terms where `find_code` knows them.
        algorithm_name: stands in the file for what made the segments.
        algorithm_version: of it.
        overwrite: replace an existing file.

    Returns:
        What was written, and which classes are empty.

    Raises:
        DinosegError: pydicom or highdicom is not installed.
        UsageError: another suffix, or a name that does not fit.
        LabelError: another grid, ids without a name, no class beside the background, or a series
            whose identifiers were removed, whose headers do not parse, or whose segments do not read back
            as what was written.
        OutputError: the file exists or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"{path} cannot hold a DICOM SEG; accepted is the extension {SUFFIX}")
    refuse_existing(path, overwrite=overwrite)
    _refuse_names(classes)
    found = _find_classes(label, classes)
    segments = _number_segments(label, found or [number for number in classes if number != 0])
    refuse_other_geometry(
        reference.geometry,
        label.geometry,
        image_name=reference.source,
        label_name=label.id,
    )
    sources = _prepare_sources(reference)
    with atomic_path(path, overwrite=overwrite) as temporary:
        with _building(reference, sources):
            segmentation = _build(
                sources,
                _stack_frames(label, reference, segments),
                [classes[number] for number in segments.values()],
                algorithm_name=algorithm_name,
                algorithm_version=algorithm_version,
                omit_empty_frames=bool(found),  # without frames it would be no image
            )
            segmentation.save_as(temporary)
        _check_written(path, temporary, label, reference, segments)
    empty = tuple(name for number, name in classes.items() if number != 0 and number not in found)
    return WrittenSegmentation(path, segments, empty)


@contextmanager
def _building(reference: SeriesReference, sources: Sequence[Any]) -> Iterator[None]:
    """Hide what the libraries warn of; what they refuse in the headers of the series becomes one line."""
    try:
        with ignoring_warnings():
            yield
    except (DinosegError, OSError):
        raise
    except Exception as error:  # headers of the source that highdicom finds wrong, in many ways
        culprits = _list_nonconformant(sources)
        found = " and ".join(culprits) or "a header"
        raise LabelError(
            f"{reference.source} cannot become a DICOM SEG: it has {found}, not as the standard wants "
            f"({shorten(str(error)) or type(error).__name__}); correct that element, or write NIfTI"
        ) from error


def _list_nonconformant(sources: Sequence[Any]) -> list[str]:
    """Elements that a SEG copies and whose values do not parse, each with its value; every name once."""
    found: dict[str, str] = {}
    for source in sources:
        for keyword in (*_COPIED, *_READ):
            try:
                value = text(source, keyword)
            except (ValueError, TypeError):  # pydicom converts a value when it is asked for
                found.setdefault(keyword, f"a {keyword}")
                continue
            if value and keyword not in found and not _parses(keyword, value):
                found[keyword] = f"the {keyword} {value!r}"
    return list(found.values())


def _parses(keyword: str, value: str) -> bool:
    if keyword == "PatientSex":
        return value in _SEXES
    values, kind = load_pydicom("pydicom.valuerep"), load_pydicom("pydicom.datadict").dictionary_VR(keyword)
    parse = {"DA": values.DA, "TM": values.TM, "IS": values.IS, "DS": values.DSfloat}.get(kind, str)
    try:
        with ignoring_warnings():
            parse(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _refuse_names(classes: Mapping[int, str]) -> None:
    for name in classes.values():
        if not name.strip() or len(name) > MAX_NAME or "\\" in name:
            raise UsageError(
                f"the class name {name!r} does not fit a DICOM segment; accepted are 1 to {MAX_NAME} "
                "characters without backslash"
            )


def _find_classes(label: LabelVolume, classes: Mapping[int, str]) -> list[int]:
    """Ids of the classes that have voxels, in order."""
    found = [int(number) for number in np.unique(label.array) if number != 0]
    unnamed = [number for number in found if number not in classes]
    if unnamed:
        raise LabelError(f"{label.id} holds the ids {unnamed}, which have no name; named are {dict(classes)}")
    return found


def _number_segments(label: LabelVolume, ids: Sequence[int]) -> dict[int, int]:
    """Segment number -> class id; DICOM counts the segments of a file from 1 without gaps."""
    if not 0 < len(ids) <= MAX_SEGMENTS:
        raise LabelError(
            f"{label.id} would be a DICOM SEG of {len(ids)} classes beside the background; accepted are 1 to "
            f"{MAX_SEGMENTS}"
        )
    return dict(enumerate(ids, start=1))


def _prepare_sources(reference: SeriesReference) -> list[Any]:
    """Headers in the order that highdicom wants frames in: slice by slice, or the one multi-frame file."""
    if len(reference.datasets) < len(reference.slices) and len(reference.datasets) > 1:
        raise LabelError(
            f"{reference.source} has several multi-frame files; a DICOM SEG can point to one: write NIfTI"
        )
    chosen = [reference.datasets[each.dataset] for each in reference.slices]
    chosen = chosen if len(reference.datasets) == len(reference.slices) else list(reference.datasets)
    return [_complete(reference, dataset) for dataset in chosen]


def _complete(reference: SeriesReference, dataset: Any) -> Any:
    with explaining(reference.source):
        source = copy(dataset)
        source.SOPInstanceUID, source.SOPClassUID = instance_uid(dataset), class_uid(dataset)
        for keyword in _COPIED:
            if keyword not in source:
                setattr(source, keyword, "")
        if not text(source, "SliceThickness"):
            # What a scanner leaves out is measured: the distance between slices.
            source.SliceThickness = f"{reference.geometry.spacing[0]:.10g}"
        if "SpecificCharacterSet" in source and not source.SpecificCharacterSet:
            del source.SpecificCharacterSet  # empty means ASCII, but highdicom wants a name
    missing = [word for word in (*_NEEDED, "SOPInstanceUID", "SOPClassUID") if not text(source, word)]
    if missing:
        raise LabelError(
            f"{reference.source} has no {', '.join(missing)}, so that a DICOM SEG could not point to it: "
            "write NIfTI, or anonymise by replacing identifiers instead of emptying them"
        )
    return source


def _stack_frames(
    label: LabelVolume, reference: SeriesReference, segments: Mapping[int, int]
) -> NDArray[np.uint8]:
    """Segment numbers (frames, H, W) in the order of the source's frames."""
    lookup = np.zeros(max(segments.values()) + 1, dtype=np.uint8)
    for segment, number in segments.items():
        lookup[number] = segment
    frames: NDArray[np.uint8] = lookup[label.array]  # (D, H, W)
    if len(reference.datasets) == 1 and len(reference.slices) == count_frames(reference.datasets[0]):
        order = np.argsort([each.frame for each in reference.slices])
        return np.ascontiguousarray(frames[order])
    return frames


def _build(
    sources: Sequence[Any],
    frames: NDArray[np.uint8],
    names: Sequence[str],
    *,
    algorithm_name: str,
    algorithm_version: str,
    omit_empty_frames: bool,
) -> Any:
    seg, generate_uid = load_highdicom("highdicom.seg"), load_pydicom("pydicom.uid").generate_uid
    algorithm = load_highdicom().AlgorithmIdentificationSequence(
        name=algorithm_name,
        family=load_pydicom("pydicom.sr.codedict").codes.cid7162.ArtificialIntelligence,
        version=algorithm_version,
        source="dinoseg",
    )
    return seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _describe_segment(number, name, algorithm) for number, name in enumerate(names, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=_series_number(sources[0]),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="dinoseg",
        manufacturer_model_name=algorithm_name,
        software_versions=__version__,
        device_serial_number=algorithm_version,
        omit_empty_frames=omit_empty_frames,
        content_label="SEGMENTATION",
        content_description=f"Made by {algorithm_name}"[:MAX_NAME],
        series_description=f"{algorithm_name} segmentation"[:MAX_NAME],
    )


def _describe_segment(number: int, name: str, algorithm: Any) -> Any:
    seg, code = load_highdicom("highdicom.seg"), find_code(name)
    description = seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=code.category.as_concept(),
        segmented_property_type=code.kind.as_concept(),
        algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    if code.side is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [code.side.as_concept()]
    return description


def _series_number(source: Any) -> int:
    # Beside the series it was made from: viewers sort by this number.
    with suppress(ValueError, TypeError):
        return int(source.get("SeriesNumber") or 0) + 1000
    return 1000


def _check_written(
    path: Path,
    temporary: Path,
    label: LabelVolume,
    reference: SeriesReference,
    segments: Mapping[int, int],
) -> None:
    ids = np.zeros(max(segments) + 1, dtype=np.int64)  # an id without a voxel may not fit the label's type
    for segment, number in segments.items():
        ids[segment] = number
    back = read_segmentation(temporary, reference)
    # Slice by slice: no second label in memory.
    if not all(
        np.array_equal(ids[ours], theirs) for ours, theirs in zip(back.array, label.array, strict=True)
    ):
        raise LabelError(f"{path} was not written: read back, its voxels are not those of {label.id}")

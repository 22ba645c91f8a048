"""DICOM files drawn for the tests: series, multi-frame files and contours, with known voxels and places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))  # along a row, along a column
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
OBLIQUE = ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8))
ORIGIN = (-10.0, 20.0, 30.0)
SPACING = (2.5, 0.8, 0.5)  # between slices, rows, columns
SHAPE = (5, 6, 7)

Directions = tuple[tuple[float, ...], tuple[float, ...]]


def voxels(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Different numbers everywhere, (D, H, W) uint16."""
    return (np.arange(np.prod(shape)) * 7 % 4001).reshape(shape).astype(np.uint16)


def ras_affine(directions: Directions = AXIAL, *, step: Sequence[float] | None = None) -> np.ndarray:
    """Affine of (d, h, w), written down independently of the package."""
    row, column = np.array(directions)
    step = np.cross(row, column) * SPACING[0] if step is None else np.array(step)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, column * SPACING[1], row * SPACING[2]
    affine[:3, 3] = ORIGIN
    return np.diag([-1, -1, 1, 1]) @ affine


def uid(*words: object) -> str:
    return generate_uid(entropy_srcs=[str(word) for word in words])


def draw_slice(
    pixels: np.ndarray,
    *,
    position: Sequence[float],
    directions: Directions = AXIAL,
    series: str = "a",
    patient: str = "p1",
    number: int = 0,
    **elements: object,
) -> Dataset:
    """A CT slice; `elements` replaces elements, None removes one."""
    dataset = _start(CTImageStorage, uid(series, "slice", number), series, patient)
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
    dataset.ImageOrientationPatient = [*directions[0], *directions[1]]
    dataset.PixelSpacing = [SPACING[1], SPACING[2]]
    dataset.SliceThickness = 9.0  # on purpose not the distance between slices
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    put_pixels(dataset, pixels)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def draw_series(
    folder: Path,
    *,
    array: np.ndarray | None = None,
    directions: Directions = AXIAL,
    step: Sequence[float] | None = None,
    depths: Sequence[float] | None = None,
    series: str = "a",
    per_slice: Sequence[dict[str, object]] = (),
    **elements: object,
) -> list[Path]:
    """Write slices whose file names are in no order; returns them in the order of their positions."""
    array = voxels() if array is None else array
    affine = np.diag([-1, -1, 1, 1]) @ ras_affine(directions, step=step)
    depths = range(len(array)) if depths is None else depths
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (pixels, depth) in enumerate(zip(array, depths, strict=True)):
        own = {**elements, **(per_slice[index] if per_slice else {})}
        dataset = draw_slice(
            pixels,
            position=(affine @ [depth, 0, 0, 1])[:3],
            directions=own.pop("directions", directions),
            series=own.pop("series", series),
            patient=own.pop("patient", "p1"),
            number=index,
            **own,
        )
        paths.append(folder / f"{(index * 3 + 1) % 97:02d}_{series}.dcm")
        save(paths[-1], dataset)
    return paths


def draw_multiframe(path: Path, *, order: Sequence[int] | None = None, **elements: object) -> np.ndarray:
    """An enhanced MR of all slices in one file, frames in `order`; returns the voxels by position."""
    array = voxels()
    order = list(range(len(array))) if order is None else list(order)
    affine = np.diag([-1, -1, 1, 1]) @ ras_affine()
    dataset = _start(EnhancedMRImageStorage, uid("multi"), "multi", "p1")
    dataset.Modality = "MR"
    put_pixels(dataset, array[order])
    dataset.NumberOfFrames = len(order)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[2]], 9.0
    orientation.ImageOrientationPatient = [*AXIAL[0], *AXIAL[1]]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([orientation])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    frames = []
    for depth in order:
        frame, position, transformation = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [float(value) for value in (affine @ [depth, 0, 0, 1])[:3]]
        transformation.RescaleSlope, transformation.RescaleIntercept = 2, depth
        transformation.RescaleType = "US"
        frame.PlanePositionSequence = Items([position])
        frame.PixelValueTransformationSequence = Items([transformation])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, dataset)
    return array


def draw_structures(
    path: Path,
    structures: dict[str, list[tuple[int, list[tuple[float, float]]]]],
    *,
    series: str = "a",
    kind: str = "CLOSED_PLANAR",
    named: int | None = None,
) -> None:
    """An RTSTRUCT of an axial series: name -> contours, each its slice and points (h, w) in voxels.

    Args:
        named: the slice that every contour says it was drawn on; its own one if None.
    """
    to_lps = np.diag([-1, -1, 1, 1]) @ ras_affine()
    dataset = _start(RTStructureSetStorage, uid("rt"), "rt", "p1")
    dataset.Modality = "RTSTRUCT"
    study, referenced, space = Dataset(), Dataset(), Dataset()
    referenced.SeriesInstanceUID = uid(series)
    study.RTReferencedSeriesSequence = Items([referenced])
    space.RTReferencedStudySequence = Items([study])
    space.FrameOfReferenceUID = uid("space")
    dataset.ReferencedFrameOfReferenceSequence = Items([space])
    rois, drawn = [], []
    for number, (name, contours) in enumerate(structures.items(), start=1):
        roi, contour_set = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        contour_set.ReferencedROINumber = number
        items = []
        for depth, points in contours:
            contour, image = Dataset(), Dataset()
            image.ReferencedSOPInstanceUID = uid(series, "slice", depth if named is None else named)
            contour.ContourImageSequence = Items([image])
            contour.ContourGeometricType = kind
            places = [(to_lps @ [depth, h, w, 1])[:3] for h, w in points]
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.6f}" for place in places for value in place]
            items.append(contour)
        contour_set.ContourSequence = Items(items)
        rois.append(roi)
        drawn.append(contour_set)
    dataset.StructureSetROISequence, dataset.ROIContourSequence = Items(rois), Items(drawn)
    save(path, dataset)


def put_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Pixel data and the elements that describe it."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"


def save(path: Path, dataset: Dataset) -> None:
    dataset.save_as(path, enforce_file_format=True)


def _start(sop_class: str, instance: str, series: str, patient: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = instance
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid(series)
    dataset.FrameOfReferenceUID = uid("space")
    dataset.SeriesDescription = f"series {series}"
    dataset.PatientID, dataset.PatientName = patient, f"Doe^{patient}"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20260101", "120000", ""
    return dataset

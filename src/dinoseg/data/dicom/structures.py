"""RTSTRUCT: drawn contours as a label volume on the grid of the series they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.dicom.contours import fill_contours
from dinoseg.data.dicom.headers import text
from dinoseg.data.dicom.libraries import explaining
from dinoseg.data.dicom.reference import SeriesReference
from dinoseg.data.dicom.segmentation_reader import (
    ClassChoice,
    NamedLabelVolume,
    choose_names,
    name_ids,
    read_object,
    resolve_series,
)
from dinoseg.data.volumes.volume import smallest_id_type
from dinoseg.errors import FileFormatError, LabelError

DEPTH_TOLERANCE = 0.1  # of the distance between slices; how far a contour may be from its slice

_AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Contour:
    """Points of one contour on one slice, in voxels (N, 2) along (H, W)."""

    depth: int
    points: NDArray[np.float64]


def read_structures(
    path: Path | str, series: SeriesReference | Path | str, names: Sequence[str] | None = None
) -> NamedLabelVolume:
    """Read the contours of an RTSTRUCT as class ids on the grid of their series.

    A voxel belongs to a structure where its centre lies inside the contours on its slice, by the even-odd
    rule; `contours.fill_contours` has the convention for borders. Slices between contours stay empty:
    nothing is interpolated.

    Args:
        path: the RTSTRUCT file.
        series: the series it was drawn on, or the folder or zip where that series lies.
        names: structures wanted; ids are then 1, 2, ... in this order. Without, all structures with
            their numbers as ids.

    Raises:
        DinosegError: pydicom is not installed.
        FileFormatError: the file is no RTSTRUCT, or damaged.
        LabelError: it belongs to another series, a contour lies on no slice of the series or on another
            one than it names, structures overlap, or one has points or lines instead of areas.
        UsageError: no structure of such a name.
    """
    series = Path(series) if isinstance(series, str) else series
    path = Path(path)
    dataset = read_object(path, "RTSTRUCT")
    with explaining(path):
        uids = structured_series(dataset)
        reference = resolve_series(series, uids)
        _check_series(path, uids, reference, dataset)
        chosen = choose_names(path, "structure", list_structures(dataset), names)
        array = _fill(path, dataset, reference, chosen)
    classes = name_ids(chosen)
    return NamedLabelVolume(array, reference.geometry, path, path.stem, classes)


def _fill(
    path: Path, dataset: Any, reference: SeriesReference, chosen: Mapping[int, ClassChoice]
) -> NDArray[Any]:
    names = name_ids(chosen)
    array = np.zeros(reference.geometry.shape, dtype=smallest_id_type(max(names)))
    for structure in dataset.get("ROIContourSequence") or ():
        number = int(structure.ReferencedROINumber)
        if number not in chosen:
            continue
        identifier, name = chosen[number].id, chosen[number].name
        slices: dict[int, list[NDArray[np.float64]]] = {}
        for contour in _list_contours(path, name, structure, reference):
            slices.setdefault(contour.depth, []).append(contour.points)
        for depth, contours in slices.items():
            mask = fill_contours(contours, shape=reference.geometry.shape[1:])
            taken = np.unique(array[depth][mask])
            if (taken != 0).any():
                other = names[int(taken[taken != 0][0])]
                raise LabelError(
                    f"{path}: the structures {other} and {name} overlap, and a voxel has one class; choose "
                    "structures that don't with names"
                )
            array[depth][mask] = identifier
    return array


def _list_contours(path: Path, name: str, structure: Any, reference: SeriesReference) -> Iterator[_Contour]:
    depths = {each.sop_uid: depth for depth, each in enumerate(reference.slices) if each.sop_uid}
    to_voxels = np.linalg.inv(reference.geometry.affine)
    for contour in structure.get("ContourSequence") or ():
        kind = text(contour, "ContourGeometricType")
        if kind not in _AREAS:
            raise LabelError(
                f"{path}: the structure {name} has a contour of the type {kind}, which is no area; choose "
                "other structures with names"
            )
        data = np.array([float(value) for value in contour.get("ContourData") or ()])
        if data.size == 0 or data.size % 3:
            raise FileFormatError(
                f"{path}: a contour of {name} has {data.size} numbers; accepted are x, y, z"
            )
        points = data.reshape(-1, 3) * _LPS_TO_RAS
        voxels = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]  # (N, 3) along (D, H, W)
        depth = _find_slice(path, name, voxels[:, 0], data[:3], reference)
        _check_named_slice(path, name, contour, depth, depths)
        yield _Contour(depth, voxels[:, 1:])


def _find_slice(
    path: Path,
    name: str,
    depths: NDArray[np.float64],
    point: NDArray[np.float64],
    reference: SeriesReference,
) -> int:
    depth = int(np.rint(depths.mean()))
    where = ", ".join(f"{value:.2f}" for value in point)
    if np.ptp(depths) > DEPTH_TOLERANCE:
        raise LabelError(
            f"{path}: a contour of {name} at ({where}) runs across slices; accepted are flat ones"
        )
    count = reference.geometry.shape[0]
    if abs(float(depths.mean()) - depth) > DEPTH_TOLERANCE or not 0 <= depth < count:
        raise LabelError(
            f"{path}: a contour of {name} at ({where}) lies on none of the {count} slices of "
            f"{reference.source}; the slice it was drawn on is missing: export the whole series"
        )
    return depth


def _check_named_slice(path: Path, name: str, contour: Any, depth: int, depths: Mapping[str, int]) -> None:
    named = [text(each, "ReferencedSOPInstanceUID") for each in contour.get("ContourImageSequence") or ()]
    if not named or not depths:
        return
    missing = [uid for uid in named if uid not in depths]
    if missing:
        raise LabelError(
            f"{path}: a contour of {name} was drawn on the slice {missing[0]}, which the series does not have"
        )
    if depth not in [depths[uid] for uid in named]:
        raise LabelError(
            f"{path}: a contour of {name} lies on slice {depth}, but says that it was drawn on slice "
            f"{depths[named[0]]}"
        )


def list_structures(dataset: Any) -> dict[int, str]:
    """Number of each structure -> its name."""
    listed = dataset.get("StructureSetROISequence") or ()
    return {int(each.ROINumber): text(each, "ROIName") for each in listed}


def structured_series(dataset: Any) -> list[str]:
    """UIDs of the series that an RTSTRUCT names; none where it names only a space."""
    return [
        text(series, "SeriesInstanceUID")
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    ]


def _check_series(path: Path, uids: Sequence[str], reference: SeriesReference, dataset: Any) -> None:
    if uids:
        if reference.uid not in uids:
            raise LabelError(
                f"{path} belongs to the series {', '.join(uids)}; {reference.source} holds {reference.uid}"
            )
        return
    spaces = [
        text(each, "FrameOfReferenceUID") for each in dataset.get("ReferencedFrameOfReferenceSequence") or ()
    ]
    if not reference.frame_of_reference or reference.frame_of_reference not in spaces:
        raise LabelError(
            f"{path} names no series, and its frame of reference is not that of {reference.source}"
        )

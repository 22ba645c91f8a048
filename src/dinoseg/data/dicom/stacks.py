"""From single slices to one volume: sorted by position, and refused with the reason where they are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.dicom.headers import Plane
from dinoseg.data.volumes.geometry import Geometry, file_geometry
from dinoseg.errors import FileFormatError

# How far things may be off before slices count as uneven. Positions are often rounded to 0.1 mm.
STEP_TOLERANCE = 0.05  # of the distance between slices
ANGLE_TOLERANCE = 1e-3  # difference of direction cosines
TILT_TOLERANCE = 0.01  # sine of the angle between the step of the slices and their normal
SPACING_TOLERANCE = 1e-3  # of the spacing

_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
_NAMED = 5  # how many of a long list are named


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that make one volume.

    Attributes:
        planes: along the normal of the slices (row direction × column direction), one for each index of D.
        geometry: (D, H, W): H counts rows, W columns.
    """

    planes: tuple[Plane, ...]
    geometry: Geometry


def stack_planes(name: object, planes: Sequence[Plane]) -> Stack:
    """Sort slices by their position along their normal; where they are no volume, say why.

    Args:
        name: of the series, for messages.
        planes: in any order.

    Raises:
        FileFormatError: no position, orientation or spacing; other sizes, directions or spacings within
            the series; a sheared stack (gantry tilt); slices that are missing, double, or at uneven
            distances; or a single slice of unknown thickness.
    """
    _refuse_incomplete(name, planes)
    _refuse_mixed(name, planes)
    row, column = np.asarray(planes[0].orientation).reshape(2, 3)
    _refuse_skewed(name, row, column)
    normal = np.cross(row, column)
    positions = np.array([plane.position for plane in planes])  # (D, 3)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = tuple(planes[index] for index in order)
    positions = positions[order]
    step = _find_step(name, ordered, positions, normal)
    affine = _affine(positions[0], step, row, column, ordered[0])
    shape = (len(ordered), *ordered[0].size)
    return Stack(ordered, file_geometry(name, shape, affine))


def plane_affine(plane: Plane) -> NDArray[np.float64]:
    """Affine (4, 4) of (d, h, w) in RAS of one slice; d is along the normal, in mm."""
    row, column = np.asarray(plane.orientation).reshape(2, 3)
    return _affine(np.asarray(plane.position), np.cross(row, column), row, column, plane)


def _affine(
    position: NDArray[np.float64],
    step: NDArray[np.float64],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    plane: Plane,
) -> NDArray[np.float64]:
    between_rows, between_columns = plane.spacing or (1.0, 1.0)
    affine = np.eye(4)
    # Going down the rows (H) follows the direction of a column, and the other way round.
    affine[:3, :3] = np.column_stack([step, column * between_rows, row * between_columns])
    affine[:3, 3] = position
    affine[:3] *= _LPS_TO_RAS[:, None]
    return affine


def _refuse_incomplete(name: object, planes: Sequence[Plane]) -> None:
    for keyword, missing in (
        ("Image Position (Patient)", [plane for plane in planes if plane.position is None]),
        ("Image Orientation (Patient)", [plane for plane in planes if plane.orientation is None]),
        ("Pixel Spacing", [plane for plane in planes if plane.spacing is None]),
    ):
        if missing:
            raise FileFormatError(
                f"{name}: {len(missing)} of {len(planes)} slices have no {keyword} ({_names(missing)}): "
                "pictures without a place in the patient make no volume"
            )
    for plane in planes:
        if min(plane.spacing or (1.0,)) <= 0:
            raise FileFormatError(f"{name}: {plane.name} has the Pixel Spacing {plane.spacing}")


def _refuse_mixed(name: object, planes: Sequence[Plane]) -> None:
    _refuse_two(name, planes, "sizes", lambda plane: plane.size, lambda a, b: a == b)
    _refuse_two(
        name,
        planes,
        "orientations",
        lambda plane: plane.orientation,
        lambda a, b: bool(np.abs(np.subtract(a, b)).max() <= ANGLE_TOLERANCE),
    )
    _refuse_two(
        name,
        planes,
        "pixel spacings",
        lambda plane: plane.spacing,
        lambda a, b: bool(np.allclose(a, b, rtol=SPACING_TOLERANCE, atol=0)),
    )


def _refuse_two(
    name: object,
    planes: Sequence[Plane],
    what: str,
    value: Callable[[Plane], Any],
    agree: Callable[[Any, Any], bool],
) -> None:
    first = value(planes[0])
    other = [plane for plane in planes if not agree(first, value(plane))]
    if other:
        raise FileFormatError(
            f"{name} mixes {what}: {_show(first)} in {planes[0].name}, {_show(value(other[0]))} in "
            f"{_names(other)}; put each kind into a folder of its own"
        )


def _refuse_skewed(name: object, row: NDArray[np.float64], column: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > ANGLE_TOLERANCE or abs(row @ column) > ANGLE_TOLERANCE:
        directions = _show([*row, *column])
        raise FileFormatError(
            f"{name} has the directions {directions}; accepted are two of length 1 at right angles"
        )


def _find_step(
    name: object, planes: Sequence[Plane], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The vector from one slice to the next."""
    if len(planes) == 1:
        if not planes[0].thickness:
            raise FileFormatError(f"{name} has one slice and does not say how thick it is (Slice Thickness)")
        return normal * planes[0].thickness
    depths = positions @ normal
    _refuse_duplicates(name, planes, depths)
    _refuse_uneven(name, planes, depths)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    length = float(np.linalg.norm(step))
    sideways = float(np.linalg.norm(step - (step @ normal) * normal)) / length
    if sideways > TILT_TOLERANCE:
        angle = np.degrees(np.arcsin(min(sideways, 1.0)))
        raise FileFormatError(
            f"{name} is sheared: each slice is shifted against the one before, {angle:.1f}° off their normal "
            "(a tilted gantry); resample it to a straight grid first"
        )
    expected = positions[0] + np.arange(len(planes))[:, None] * step
    offsets = np.linalg.norm(positions - expected, axis=1)
    worst = int(offsets.argmax())
    if offsets[worst] > STEP_TOLERANCE * length:
        raise FileFormatError(
            f"{name}: {planes[worst].name} lies {offsets[worst]:.2f} mm beside the line of the other slices"
        )
    return np.asarray(step)


def _refuse_duplicates(name: object, planes: Sequence[Plane], depths: NDArray[np.float64]) -> None:
    gaps = np.diff(depths)
    typical = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.0
    # Slices closer together than a hundredth of the usual step are at one place.
    same = np.concatenate([[False], gaps <= max(typical * 0.01, 1e-6)])
    if not same.any():
        return
    starts = np.flatnonzero(~same)
    counts = Counter(np.diff([*starts, len(planes)]).tolist())
    if len(counts) == 1:
        (times,) = counts
        raise FileFormatError(
            f"{name} has {times} slices at each of its {len(starts)} positions: several times, echoes or "
            "copies in one series; put each into a folder of its own"
        )
    second = int(np.flatnonzero(same)[0])
    copy = planes[second].sop_uid == planes[second - 1].sop_uid and planes[second].sop_uid
    raise FileFormatError(
        f"{name} has {int(same.sum())} slices at a position that another one has: {planes[second - 1].name} "
        f"and {planes[second].name} at {depths[second]:.2f} mm"
        f"{' (the same image twice)' if copy else ''}; take one of them away"
    )


def _refuse_uneven(name: object, planes: Sequence[Plane], depths: NDArray[np.float64]) -> None:
    gaps = np.diff(depths)
    step = float(gaps.min())
    # The smallest step may be rounded down: judge by those that are about as small.
    step = float(gaps[gaps < 1.5 * step].mean())
    steps = gaps / step
    if (np.abs(steps - 1) <= STEP_TOLERANCE * 2).all():
        return
    if (np.abs(steps - np.rint(steps)) <= STEP_TOLERANCE * 2).all():
        missing = [
            depths[index] + step * extra
            for index, count in enumerate(np.rint(steps).astype(int))
            for extra in range(1, count)
        ]
        places = ", ".join(f"{place:.2f}" for place in missing[:_NAMED])
        places += f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise FileFormatError(
            f"{name} lacks {len(missing)} of {len(planes) + len(missing)} slices: none at {places} mm along "
            f"their normal, where one follows every {step:.2f} mm; export the whole series again"
        )
    widest = int(np.abs(steps - 1).argmax())
    raise FileFormatError(
        f"{name} has slices at uneven distances: {gaps.min():.2f} to {gaps.max():.2f} mm, "
        f"{gaps[widest]:.2f} mm after {planes[widest].name}; accepted is one distance throughout"
    )


def _names(planes: Sequence[Plane]) -> str:
    named = ", ".join(plane.name for plane in planes[:_NAMED])
    return f"{named} and {len(planes) - _NAMED} more" if len(planes) > _NAMED else named


def _show(value: Any) -> str:
    return " ".join(f"{number:.6g}" for number in value)

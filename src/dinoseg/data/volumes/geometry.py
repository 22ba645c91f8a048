"""`Geometry`: where the voxels of a volume lie in the patient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.forms import NiftiForms
from dinoseg.errors import DataError, FileFormatError, LabelError, UsageError

AXES = "DHW"
TOLERANCE = 0.01  # of a voxel; how far corresponding corners of the same grid may be apart

_DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))  # (towards minus, towards plus) of x, y, z
_PARALLEL = 1e-4  # volume of the parallelepiped of three unit vectors; 1 = at right angles


@dataclass(frozen=True)
class Rounding:
    """How far a grid may be off because its file states directions with few digits.

    Attributes:
        turn: angle in radians that the whole grid may be turned by, about its first voxel.
        corner: distance in voxels that the last corner may be off.
    """

    turn: float = 0.0
    corner: float = 0.0


@dataclass(frozen=True, eq=False)
class Geometry:
    """Grid of a volume in the world of the patient.

    The world is in mm with x to the patient's right, y to anterior, z to superior (RAS). An
    affine with a negative determinant is an ordinary flip.

    Attributes:
        shape: voxels along (D, H, W), the order of the array's axes.
        affine: (4, 4) float64, read-only; maps (d, h, w, 1) to (x, y, z, 1). Columns may have
            any angles between them (oblique, tilted), but must not be parallel.
        spacing_known: false where the file says nothing about its voxel size; then `spacing`
            is 1 and distances are in voxels, not mm.
        rounding: how exactly the file states all this.
        forms: how the header of a NIfTI file says all this; None for other files and turned grids.

    Raises:
        DataError: an axis without voxels, or an affine that is not finite, has a zero column or
            cannot be inverted.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    spacing_known: bool = True
    rounding: Rounding = Rounding()
    forms: NiftiForms | None = None

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(length) for length in self.shape))
        _check_shape(self.shape)
        _check_affine(affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along (D, H, W): the lengths of the affine's columns."""
        depth, height, width = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(depth), float(height), float(width)

    @property
    def unit(self) -> str:
        """What distances on this grid are in: "mm", or "voxels" where the spacing is unknown."""
        return "mm" if self.spacing_known else "voxels"

    @property
    def placement_doubt(self) -> str:
        """One line where the file places its voxels in two ways, or ""."""
        return self.forms.disagreement if self.forms else ""

    @property
    def directions(self) -> str:
        """Towards where D, H and W run, one letter each: "IPL" is inferior, posterior, left."""
        cosines = self.affine[:3, :3] / np.array(self.spacing)
        axes = assign_axes(cosines)
        return "".join(_DIRECTIONS[axis][int(cosines[axis, column] > 0)] for column, axis in enumerate(axes))

    def corners(self) -> NDArray[np.float64]:
        """World positions (8, 3) of the centres of the corner voxels."""
        last = np.array(self.shape, dtype=np.float64) - 1
        indices = np.array(list(itertools.product((0, 1), repeat=3))) * last  # (8, 3)
        return np.asarray(indices @ self.affine[:3, :3].T + self.affine[:3, 3])

    def describe(self) -> str:
        """One phrase with shape, spacing, directions and the first voxel's place."""
        shape = "×".join(str(length) for length in self.shape)
        spacing = "×".join(f"{length:.4g}" for length in self.spacing)
        size = f"of {spacing} mm" if self.spacing_known else "of unknown size"
        place = ", ".join(f"{value:.3f}" for value in self.affine[:3, 3])
        return f"{shape} voxels (D×H×W) {size} towards {self.directions} from ({place})"


def upright_geometry(
    shape: Sequence[int], *, spacing: Sequence[float] = (1.0, 1.0, 1.0), spacing_known: bool = True
) -> Geometry:
    """Geometry with canonical directions (see `orientation`) and its first voxel at the world's origin.

    Args:
        shape: voxels along (D, H, W).
        spacing: mm along (D, H, W).
        spacing_known: whether `spacing` was measured or is a stand-in.

    Raises:
        UsageError: `spacing` holds other than three numbers.
        DataError: as for `Geometry`.
    """
    if len(spacing) != 3:
        raise UsageError(f"spacing has {len(spacing)} numbers; give three in mm along D, H and W")
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = -np.asarray(spacing, dtype=np.float64)
    affine[3, 3] = 1.0
    return Geometry(_triple(shape), affine, spacing_known)


def file_geometry(
    name: object,
    shape: Sequence[int],
    affine: NDArray[np.float64],
    *,
    spacing_known: bool = True,
    rounding: Rounding = Rounding(),
    forms: NiftiForms | None = None,
) -> Geometry:
    """`Geometry` of a file; what is wrong with it is said with the file's name.

    Raises:
        FileFormatError: as `DataError` for `Geometry`.
    """
    try:
        return Geometry(_triple(shape), affine, spacing_known, rounding, forms)
    except DataError as error:
        raise FileFormatError(f"{name} has {error}") from error


def reverse_axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine of (d, h, w) from that of (i, j, k), the order of most headers (or the other way round)."""
    return np.asarray(affine[:, [2, 1, 0, 3]], dtype=np.float64)


def assign_axes(cosines: NDArray[np.float64]) -> tuple[int, int, int]:
    """World axis (0 = x, 1 = y, 2 = z) of each column, so that the angles are small together.

    Args:
        cosines: (3, 3), columns of length 1.
    """
    strength = np.round(cosines**2, 9)  # rounded: of equal choices the first one, on every machine
    options = list(itertools.permutations(range(3)))
    scores = [sum(strength[axis, column] for column, axis in enumerate(axes)) for axes in options]
    x, y, z = options[int(np.argmax(scores))]
    return x, y, z


@dataclass(frozen=True)
class GridOffset:
    """How far two grids are apart.

    Attributes:
        millimetres: largest distance of corresponding corners.
        voxels: the largest of their distances along an axis, in voxels of the first grid.
        first: the same of the first voxel alone.
    """

    millimetres: float
    voxels: float
    first: float


def measure_offset(image: Geometry, label: Geometry) -> GridOffset:
    """How far the corners of two grids are apart."""
    apart = label.corners() - image.corners()  # (8, 3)
    along = np.abs(apart @ np.linalg.inv(image.affine[:3, :3]).T)
    return GridOffset(float(np.linalg.norm(apart, axis=1).max()), float(along.max()), float(along[0].max()))


def is_same_grid(image: Geometry, label: Geometry) -> bool:
    """Whether two grids are the same.

    They are where their shapes agree and all corners are within 1/100 of a voxel. Where a file rounds its
    directions (a quaternion in single precision, a text with few digits), the other grid may be turned as
    far as that rounding goes; the first voxel, the voxel size and the angles between axes stay judged.
    """
    if image.shape != label.shape:
        return False
    nearest = _turn_towards(image, label, most=image.rounding.turn + label.rounding.turn)
    offset = measure_offset(nearest, label)
    return offset.first <= TOLERANCE and offset.voxels <= _accepted_offset(image, label)


def _accepted_offset(image: Geometry, label: Geometry) -> float:
    """How far the last corners may be apart, in voxels."""
    return TOLERANCE + image.rounding.corner + label.rounding.corner


def refuse_other_geometry(
    image: Geometry, label: Geometry, *, image_name: object, label_name: object
) -> None:
    """Raise unless both grids are the same, by the rule of `is_same_grid`.

    Raises:
        LabelError: they are not.
    """
    if is_same_grid(image, label):
        return
    offset, accepted = measure_offset(image, label), _accepted_offset(image, label)
    placed = image.placement_doubt
    raise LabelError(
        f"{label_name} does not lie on the grid of its image {image_name}: the label has {label.describe()}, "
        f"the image {image.describe()}; corners are up to {offset.millimetres:.4g} mm apart "
        f"({offset.voxels:.3g} voxels), accepted are {accepted:.2g} voxels; export the label on the grid "
        f"of the image{f'. Of the image, {placed}' if placed else ''}"
    )


def corner_rounding(
    shape: Sequence[int], steps: NDArray[np.float64], errors: NDArray[np.float64] | float
) -> Rounding:
    """How far the last corner may be off where the numbers of steps are rounded.

    Args:
        shape: voxels along the three axes.
        steps: (3, 3), the step of each axis as a column, in mm.
        errors: largest error of the numbers of each step, in mm.
    """
    spacing = float(np.linalg.norm(steps, axis=0).min())
    off = float(np.sum((np.asarray(shape) - 1) * errors)) * np.sqrt(3)  # all three numbers at their worst
    return Rounding(corner=off / spacing if spacing > 0 else 0.0)


def _turn_towards(image: Geometry, label: Geometry, *, most: float) -> Geometry:
    """`image` turned about its first voxel onto the directions of `label`, if that takes at most `most`."""
    if most == 0 or image.shape != label.shape:
        return image
    relative = label.affine[:3, :3] @ np.linalg.inv(image.affine[:3, :3])
    left, _, right = np.linalg.svd(relative)
    rotation = left @ right  # of all rotations the nearest one
    angle = float(np.linalg.norm(rotation - np.eye(3)) / np.sqrt(2))  # for small ones
    if angle > most:
        return image
    affine = image.affine.copy()
    affine[:3, :3] = rotation @ affine[:3, :3]
    return Geometry(image.shape, affine)


def _triple(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise DataError(f"{len(shape)} axes; a volume has three: D, H and W")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise DataError(f"{len(shape)} axes; a volume has three: D, H and W")
    for name, length in zip(AXES, shape, strict=True):
        if length < 1:
            raise DataError(f"{length} voxels along {name}; every axis needs at least one")


def _check_affine(affine: NDArray[np.float64]) -> None:
    if affine.shape != (4, 4):
        raise DataError(f"an affine of shape {affine.shape}; accepted is (4, 4)")
    if not np.isfinite(affine).all():
        raise DataError("NaN or infinity in its affine; export it again")
    if not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise DataError(f"an affine whose last row is {affine[3].tolist()}; accepted is [0, 0, 0, 1]")
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    for name, length in zip(AXES, spacing, strict=True):
        if not 0 < length < np.inf:
            raise DataError(f"a voxel size of {length:g} mm along {name}; accepted are sizes above 0")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < _PARALLEL:
        raise DataError("a singular affine (two of its axes are parallel); export it again")

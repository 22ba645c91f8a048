from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.data.volumes import Geometry, LabelVolume, Volume, check_same_geometry, upright_geometry
from dinoseg.errors import DataError, LabelError, UsageError
from tests.data.volumes.samples import SHAPE, counting, make_label, make_volume, oblique_affine, tilted_affine


def test_spacing_is_the_length_of_the_columns() -> None:
    geometry = Geometry(SHAPE, oblique_affine(spacing=(4.5, 1.25, 0.75)))
    np.testing.assert_allclose(geometry.spacing, (4.5, 1.25, 0.75), rtol=1e-12)
    assert geometry.unit == "mm"


def test_corners_are_the_centres_of_the_outermost_voxels() -> None:
    corners = upright_geometry((3, 4, 5), spacing=(2.0, 1.0, 0.5)).corners()
    assert corners.shape == (8, 3)
    assert corners.min(axis=0).tolist() == [-2.0, -3.0, -4.0]  # x, y, z
    assert corners.max(axis=0).tolist() == [0.0, 0.0, 0.0]


def test_directions_name_where_the_axes_run() -> None:
    assert upright_geometry(SHAPE).directions == "IPL"
    assert Geometry(SHAPE, np.diag([2.0, 3.0, 4.0, 1.0])).directions == "RAS"


def test_description_holds_shape_spacing_and_place() -> None:
    text = upright_geometry(SHAPE, spacing=(2.5, 1, 1)).describe()
    assert text == "4×5×6 voxels (D×H×W) of 2.5×1×1 mm towards IPL from (0.000, 0.000, 0.000)"
    assert "of unknown size" in upright_geometry(SHAPE, spacing_known=False).describe()


def test_unknown_spacing_counts_in_voxels() -> None:
    geometry = upright_geometry(SHAPE, spacing_known=False)
    assert (geometry.spacing, geometry.unit) == ((1.0, 1.0, 1.0), "voxels")


def test_affine_is_a_copy_that_nobody_changes() -> None:
    affine = oblique_affine()
    geometry = Geometry(SHAPE, affine)
    affine[0, 3] = 99.0
    assert geometry.affine[0, 3] == -101.5
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 1.0


def test_flipped_and_tilted_axes_are_legal() -> None:
    flipped = oblique_affine() @ np.diag([1.0, 1.0, -1.0, 1.0])
    assert np.linalg.det(Geometry(SHAPE, flipped).affine) * np.linalg.det(oblique_affine()) < 0
    np.testing.assert_array_equal(Geometry(SHAPE, tilted_affine()).affine, tilted_affine())


def _affine(place: tuple[int, int], value: float) -> np.ndarray:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[place] = value
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        (SHAPE, _affine((0, 3), np.nan), "NaN or infinity in its affine"),
        (SHAPE, _affine((1, 1), np.inf), "NaN or infinity in its affine"),
        (SHAPE, _affine((1, 1), 0.0), "a voxel size of 0 mm along H"),
        (SHAPE, _affine((2, 2), 1e300), "a voxel size of inf mm along W"),
        (SHAPE, np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.0, 0], [0, 0, 0, 1]]), "singular"),
        (SHAPE, _affine((3, 0), 1.0), "last row"),
        (SHAPE, np.eye(3), r"shape \(3, 3\)"),
        ((4, 0, 6), np.eye(4), "0 voxels along H"),
        ((4, 5), np.eye(4), "2 axes"),
    ],
)
def test_impossible_geometry_is_refused(shape: tuple[int, ...], affine: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Geometry(shape, affine)


def test_spacing_needs_three_numbers() -> None:
    with pytest.raises(UsageError, match="2 numbers"):
        upright_geometry(SHAPE, spacing=(1.0, 1.0))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(SHAPE, np.float32), r"\(C, D, H, W\)"),
        (np.zeros((1, *SHAPE), np.float64), "float64"),
        (np.zeros((1, *SHAPE), np.complex64), "complex64"),
        (np.zeros((1, 4, 5, 7), np.float32), "geometry"),
        (np.zeros((0, *SHAPE), np.float32), "empty axes"),
        (np.full((1, *SHAPE), np.nan, np.float32), "NaN or infinite"),
        (np.full((1, *SHAPE), -np.inf, np.float32), "NaN or infinite"),
    ],
)
def test_impossible_volume_is_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Volume(array, upright_geometry(SHAPE), Path("a.nii"), "a")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(SHAPE, np.float32), "float32"),
        (np.zeros(SHAPE, bool), "bool"),
        (np.full(SHAPE, -1), "-1; accepted are 0"),
        (np.full(SHAPE, 65536), "65536; accepted are 0"),
    ],
)
def test_impossible_label_is_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(LabelError, match=words):
        LabelVolume(array, upright_geometry(SHAPE), Path("a.nii"), "a")


def test_label_is_no_volume() -> None:
    assert not isinstance(make_label(), Volume)
    assert not isinstance(make_volume(), LabelVolume)


@pytest.mark.parametrize(("share", "fits"), [(0.009, True), (0.011, False), (-0.009, True), (0.3, False)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_same_geometry_passes_within_a_hundredth_of_a_voxel(axis: int, share: float, fits: bool) -> None:
    moved = oblique_affine()
    moved[:3, 3] += share * moved[:3, axis]  # voxels of 4.5, 1.25 and 0.75 mm: not a distance in mm
    if fits:
        check_same_geometry(make_volume(), make_label(affine=moved))
        return
    with pytest.raises(LabelError, match=rf"\({share:.3g} voxels\), accepted are 0\.01 voxels"):
        check_same_geometry(make_volume(), make_label(affine=moved))


def test_other_geometry_is_refused_with_both_and_the_offset() -> None:
    moved = oblique_affine()
    moved[0, 3] += 2.5
    with pytest.raises(LabelError) as caught:
        check_same_geometry(make_volume(), make_label(affine=moved))
    message = str(caught.value)
    assert "\n" not in message
    for words in (
        "mask.nii.gz",
        "scan.nii.gz",
        "up to 2.5 mm apart",
        "-99.000",
        "-101.500",
        "(1.89 voxels)",
        "0.01 voxels",
    ):
        assert words in message


def test_turned_label_is_refused_although_its_first_voxel_fits() -> None:
    turned = oblique_affine()
    turned[:3, :3] = turned[:3, :3] @ np.diag([1.0, -1.0, 1.0])
    with pytest.raises(LabelError, match="up to 10 mm apart"):  # 4 steps of 1.25 mm, both ways
        check_same_geometry(make_volume(), make_label(affine=turned))


def test_other_shape_is_refused_although_the_affines_agree() -> None:
    with pytest.raises(LabelError, match=r"4×5×7 .* 4×5×6"):
        check_same_geometry(make_volume(), make_label(counting((4, 5, 7), np.uint8)))

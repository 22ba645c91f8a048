"""Contours: the border convention against an exact rule, holes, slices, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from dinoseg.data.dicom import SeriesReference, read_reference, read_structures
from dinoseg.data.dicom.contours import fill_contours
from dinoseg.errors import FileFormatError, LabelError, UsageError
from tests.data.dicom.drawn import SHAPE, draw_series, draw_structures, uid

SQUARE = [(1.0, 2.0), (1.0, 5.0), (4.0, 5.0), (4.0, 2.0)]


@pytest.fixture
def reference(tmp_path: Path) -> SeriesReference:
    draw_series(tmp_path / "ct")
    return read_reference(tmp_path / "ct")


def fill(*contours: list[tuple[float, float]], shape: tuple[int, int] = (8, 9)) -> np.ndarray:
    return fill_contours([np.array(contour) for contour in contours], shape=shape)


class TestContours:
    def test_centres_on_borders(self) -> None:
        expected = np.zeros((8, 9), dtype=bool)
        expected[1:4, 2:5] = True  # top and left border inside, bottom and right outside
        np.testing.assert_array_equal(fill(SQUARE), expected)
        np.testing.assert_array_equal(fill(SQUARE[::-1]), expected)
        np.testing.assert_array_equal(fill(SQUARE[2:] + SQUARE[:2]), expected)

    def test_half_a_pixel_decides(self) -> None:
        assert fill([(0.5, 0.5), (0.5, 2.5), (2.5, 2.5), (2.5, 0.5)]).sum() == 4
        assert fill([(0.51, 0.51), (0.51, 0.99), (0.99, 0.99), (0.99, 0.51)]).sum() == 0

    def test_noise_of_conversions_does_not_matter(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(20):
            moved = [(h + rng.normal() * 1e-9, w + rng.normal() * 1e-9) for h, w in SQUARE]
            np.testing.assert_array_equal(fill(moved), fill(SQUARE))

    def test_neighbours_neither_overlap_nor_leave_a_seam(self) -> None:
        rng = np.random.default_rng(1)
        for _ in range(50):
            cut = [(float(h), float(w)) for h, w in zip(range(-1, 10), rng.integers(0, 9, 11), strict=True)]
            left = fill([(-1.0, -1.0), *cut, (9.0, -1.0)])
            right = fill([(-1.0, 9.0), *cut, (9.0, 9.0)])
            assert (left ^ right).all()

    def test_hole_and_island(self) -> None:
        outer = [(0.5, 0.5), (0.5, 7.5), (7.5, 7.5), (7.5, 0.5)]
        inner = [(2.5, 2.5), (2.5, 5.5), (5.5, 5.5), (5.5, 2.5)]
        island = [(3.5, 3.5), (3.5, 4.5), (4.5, 4.5), (4.5, 3.5)]
        assert fill(outer).sum() == 49
        assert fill(outer, inner).sum() == 49 - 9
        assert fill(outer, inner, island).sum() == 49 - 9 + 1

    def test_against_matplotlib(self) -> None:
        rng = np.random.default_rng(2)
        centres = np.stack(np.meshgrid(np.arange(30), np.arange(40), indexing="ij"), axis=-1).reshape(-1, 2)
        for _ in range(20):
            angles = np.sort(rng.uniform(0, 2 * np.pi, 25))
            radii = rng.uniform(4, 14, 25)
            points = np.stack([15 + radii * np.sin(angles), 20 + radii * np.cos(angles)], axis=1)
            expected = Outline(points).contains_points(centres).reshape(30, 40)
            np.testing.assert_array_equal(fill_contours([points], shape=(30, 40)), expected)

    def test_partly_and_wholly_outside(self) -> None:
        beyond = [(-5.0, -5.0), (-5.0, 3.0), (3.0, 3.0), (3.0, -5.0)]
        expected = np.zeros((8, 9), dtype=bool)
        expected[:3, :3] = True
        np.testing.assert_array_equal(fill(beyond), expected)
        assert not fill([(20.0, 20.0), (20.0, 25.0), (25.0, 25.0)]).any()
        assert fill([(-9.0, -9.0), (-9.0, 99.0), (99.0, 99.0), (99.0, -9.0)]).all()

    def test_a_point_is_no_area(self) -> None:
        assert not fill([(2.0, 2.0)]).any()
        assert not fill([(2.0, 2.0), (2.0, 6.0)]).any()


class TestStructures:
    def test_ids_and_places(self, tmp_path: Path, reference: SeriesReference) -> None:
        small = [(0.6, 0.6), (0.6, 1.4), (1.4, 1.4), (1.4, 0.6)]
        draw_structures(tmp_path / "rt.dcm", {"liver": [(1, SQUARE), (3, SQUARE)], "spot": [(0, small)]})
        label = read_structures(tmp_path / "rt.dcm", reference)
        assert label.classes == {1: "liver", 2: "spot"}
        expected = np.zeros(SHAPE, dtype=np.uint8)
        expected[1, 1:4, 2:5] = expected[3, 1:4, 2:5] = 1
        expected[0, 1, 1] = 2
        np.testing.assert_array_equal(label.array, expected)
        np.testing.assert_array_equal(label.affine, reference.geometry.affine)
        chosen = read_structures(tmp_path / "rt.dcm", tmp_path / "ct", names=["spot"])
        assert chosen.classes == {1: "spot"}
        np.testing.assert_array_equal(chosen.array, expected == 2)

    def test_a_structure_without_contours_is_empty(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"nothing": [], "liver": [(2, SQUARE)]})
        label = read_structures(tmp_path / "rt.dcm", reference)
        assert label.classes == {1: "nothing", 2: "liver"}
        assert set(np.unique(label.array)) == {0, 2}

    def test_overlap(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"body": [(2, SQUARE)], "liver": [(2, SQUARE)]})
        with pytest.raises(LabelError, match=r"structures body and liver overlap.*with names"):
            read_structures(tmp_path / "rt.dcm", reference)
        assert read_structures(tmp_path / "rt.dcm", reference, names=["liver"]).array.sum() == 9

    def test_missing_slice(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path / "ct")
        draw_structures(tmp_path / "rt.dcm", {"liver": [(4, SQUARE)]})
        paths[4].unlink()
        with pytest.raises(LabelError, match=r"liver at .* lies on none of the 4 slices .* missing"):
            read_structures(tmp_path / "rt.dcm", tmp_path / "ct")

    def test_between_slices(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"liver": [(1.5, SQUARE)]}, named=1)
        with pytest.raises(LabelError, match="lies on none of the 5 slices"):
            read_structures(tmp_path / "rt.dcm", reference)

    def test_other_slice_than_named(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"liver": [(1, SQUARE)]}, named=3)
        with pytest.raises(LabelError, match="lies on slice 1, but says that it was drawn on slice 3"):
            read_structures(tmp_path / "rt.dcm", reference)
        draw_structures(tmp_path / "rt.dcm", {"liver": [(1, SQUARE)]}, named=30)
        with pytest.raises(LabelError, match=r"was drawn on the slice .*, which the series does not have"):
            read_structures(tmp_path / "rt.dcm", reference)

    def test_other_series(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"liver": [(1, SQUARE)]}, series="b")
        with pytest.raises(LabelError, match=f"belongs to the series {uid('b')}"):
            read_structures(tmp_path / "rt.dcm", reference)

    def test_points(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"marker": [(1, SQUARE[:1])]}, kind="POINT")
        with pytest.raises(LabelError, match="marker has a contour of the type POINT, which is no area"):
            read_structures(tmp_path / "rt.dcm", reference)

    def test_names_and_empty_files(self, tmp_path: Path, reference: SeriesReference) -> None:
        draw_structures(tmp_path / "rt.dcm", {"liver": [(1, SQUARE)]})
        with pytest.raises(UsageError, match="has no structure 'heart' to choose once; it holds liver"):
            read_structures(tmp_path / "rt.dcm", reference, names=["heart"])
        draw_structures(tmp_path / "none.dcm", {})
        with pytest.raises(FileFormatError, match="holds no structure"):
            read_structures(tmp_path / "none.dcm", reference)

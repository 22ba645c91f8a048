"""Series as volumes: order, place, values; what is no volume is refused with the reason."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from dinoseg.data.dicom import find_series, read_reference, read_series
from dinoseg.data.volumes import to_canonical
from dinoseg.errors import DinosegError, FileFormatError, UsageError
from tests.data.dicom.drawn import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    SAGITTAL,
    SHAPE,
    SPACING,
    draw_multiframe,
    draw_series,
    draw_slice,
    ras_affine,
    save,
    uid,
    voxels,
)


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_slices_lie_where_their_headers_say(tmp_path: Path, directions: tuple) -> None:
    draw_series(tmp_path / "ct", directions=directions)
    volume = read_series(tmp_path / "ct")
    np.testing.assert_array_equal(volume.array[0], voxels())
    np.testing.assert_allclose(volume.affine, ras_affine(directions), atol=1e-5)
    np.testing.assert_allclose(volume.spacing, SPACING, atol=1e-5)
    assert volume.array.dtype == np.uint16
    assert (volume.id, volume.source) == ("ct", tmp_path / "ct")


def test_canonical_axial_slices_are_upright(tmp_path: Path) -> None:
    draw_series(tmp_path)
    turned = to_canonical(read_series(tmp_path)).volume
    assert turned.geometry.directions == "IPL"
    # DICOM's axial rows and columns are upright already; only the order of slices is turned.
    np.testing.assert_array_equal(turned.array[0], voxels()[::-1])
    assert turned.reference.geometry.directions == "SPL"


def test_order_follows_the_normal_not_the_step(tmp_path: Path) -> None:
    draw_series(tmp_path, step=(0, 0, -SPACING[0]))
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.array[0], voxels()[::-1])
    assert volume.affine[2, 0] == pytest.approx(SPACING[0])
    assert volume.affine[2, 3] == pytest.approx(30 - 4 * SPACING[0])


def test_rounded_positions_are_one_distance(tmp_path: Path) -> None:
    draw_series(tmp_path, depths=[0, 1.02, 1.98, 3.03, 4])
    volume = read_series(tmp_path)
    assert volume.spacing[0] == pytest.approx(SPACING[0], rel=1e-6)


def test_one_slice_takes_its_thickness(tmp_path: Path) -> None:
    draw_series(tmp_path / "one", array=voxels()[:1])
    assert read_series(tmp_path / "one").spacing == pytest.approx((9.0, *SPACING[1:]))
    draw_series(tmp_path / "flat", array=voxels()[:1], SliceThickness=None)
    with pytest.raises(FileFormatError, match="one slice and does not say how thick"):
        read_series(tmp_path / "flat")


class TestValues:
    def test_whole_intercepts_keep_integers(self, tmp_path: Path) -> None:
        draw_series(tmp_path, RescaleIntercept=-1024, BitsStored=12, HighBit=11)
        volume = read_series(tmp_path)
        assert volume.array.dtype == np.int16
        np.testing.assert_array_equal(volume.array[0], voxels().astype(int) - 1024)

    def test_values_beyond_16_bits_widen(self, tmp_path: Path) -> None:
        array = voxels()
        array[2, 3, 4] = 65535
        draw_series(tmp_path, array=array, RescaleIntercept=-1024)
        volume = read_series(tmp_path)
        assert volume.array.dtype == np.int32
        np.testing.assert_array_equal(volume.array[0], array.astype(int) - 1024)

    def test_signed_numbers(self, tmp_path: Path) -> None:
        array = voxels().astype(np.int16) - 2000
        draw_series(tmp_path, array=array)
        volume = read_series(tmp_path)
        assert volume.array.dtype == np.int16
        np.testing.assert_array_equal(volume.array[0], array)

    def test_8_bits(self, tmp_path: Path) -> None:
        array = (voxels() % 251).astype(np.uint8)
        draw_series(tmp_path, array=array)
        volume = read_series(tmp_path)
        assert volume.array.dtype == np.uint8
        np.testing.assert_array_equal(volume.array[0], array)

    def test_slope_of_each_slice(self, tmp_path: Path) -> None:
        slopes = [0.5, 1.5, 0.25, 2, 1]
        draw_series(tmp_path, per_slice=[{"RescaleSlope": slope} for slope in slopes], Modality="PT")
        volume = read_series(tmp_path)
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array[0], voxels() * np.array(slopes)[:, None, None])

    def test_only_one_slice_with_a_slope(self, tmp_path: Path) -> None:
        draw_series(tmp_path, per_slice=[{}, {}, {"RescaleSlope": 0.5}, {}, {}])
        expected = voxels().astype(np.float32)
        expected[2] /= 2
        np.testing.assert_array_equal(read_series(tmp_path).array[0], expected)

    def test_monochrome1_is_turned_round_where_it_is_display(self, tmp_path: Path) -> None:
        draw_series(
            tmp_path / "xa",
            PhotometricInterpretation="MONOCHROME1",
            Modality="XA",
            BitsStored=12,
            HighBit=11,
            RescaleIntercept=10,
        )
        np.testing.assert_array_equal(read_series(tmp_path / "xa").array[0], 4095 - voxels().astype(int) + 10)
        signed = voxels().astype(np.int16) - 2000
        draw_series(tmp_path / "us", array=signed, PhotometricInterpretation="MONOCHROME1", Modality="US")
        np.testing.assert_array_equal(read_series(tmp_path / "us").array[0], -1 - signed)

    @pytest.mark.parametrize("elements", [{"Modality": "CT"}, {"Modality": "OT", "RescaleType": "HU"}])
    def test_monochrome1_leaves_quantities(self, tmp_path: Path, elements: dict) -> None:
        draw_series(tmp_path, PhotometricInterpretation="MONOCHROME1", **elements)
        np.testing.assert_array_equal(read_series(tmp_path).array[0], voxels())


class TestMultiFrame:
    def test_frames_are_sorted_and_rescaled(self, tmp_path: Path) -> None:
        array = draw_multiframe(tmp_path / "mr.dcm", order=[3, 0, 4, 1, 2])
        volume = read_series(tmp_path / "mr.dcm")
        np.testing.assert_array_equal(volume.array[0], array * 2.0 + np.arange(5)[:, None, None])
        np.testing.assert_allclose(volume.affine, ras_affine(), atol=1e-6)
        assert [each.frame for each in volume.reference.slices] == [1, 3, 4, 0, 2]
        assert volume.id == "mr"

    def test_frames_at_one_position(self, tmp_path: Path) -> None:
        draw_multiframe(tmp_path / "mr.dcm", order=[0, 1, 1, 2])
        with pytest.raises(FileFormatError, match="1 slices at a position"):
            read_series(tmp_path)

    def test_a_film_is_no_volume(self, tmp_path: Path) -> None:
        draw_multiframe(tmp_path / "us.dcm", PerFrameFunctionalGroupsSequence=[])
        with pytest.raises(FileFormatError, match="5 frames without positions: a film"):
            read_series(tmp_path)

    def test_frames_that_are_promised_only(self, tmp_path: Path) -> None:
        draw_multiframe(tmp_path / "mr.dcm", NumberOfFrames=50_000)
        with pytest.raises(FileFormatError, match="50000 frames with the positions of 5"):
            read_series(tmp_path)


class TestRefusals:
    def check(self, place: Path, message: str) -> None:
        """Both ways of reading refuse it, and the listing says why."""
        for read in (read_series, read_reference):
            with pytest.raises(FileFormatError, match=message) as caught:
                read(place)
            assert "\n" not in str(caught.value)
        (series,) = find_series(place)
        assert (series.shape, series.spacing) == (None, None)
        assert series.problem

    def test_missing_slices(self, tmp_path: Path) -> None:
        draw_series(tmp_path, depths=[0, 1, 3, 4, 7])
        self.check(tmp_path, r"lacks 3 of 8 slices: none at 35\.00, 42\.50, 45\.00 mm")

    def test_uneven_distances(self, tmp_path: Path) -> None:
        draw_series(tmp_path, depths=[0, 1, 2, 3.4, 4.4])
        self.check(tmp_path, r"uneven distances: 2\.50 to 3\.50 mm")

    def test_duplicates(self, tmp_path: Path) -> None:
        draw_series(tmp_path, depths=[0, 1, 1, 2, 3])
        self.check(tmp_path, r"1 slices at a position that another one has: 04_a\.dcm and 07_a\.dcm")

    def test_a_copy_says_so(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path)
        (tmp_path / "copy of 04.dcm").write_bytes(paths[1].read_bytes())
        self.check(tmp_path, "the same image twice")

    def test_all_positions_twice(self, tmp_path: Path) -> None:
        draw_series(tmp_path, array=voxels()[:4], depths=[0, 0, 1, 1])
        self.check(tmp_path, "2 slices at each of its 2 positions: several times, echoes or copies")

    def test_tilted_gantry(self, tmp_path: Path) -> None:
        tilt = np.radians(15)
        draw_series(tmp_path, step=(0, SPACING[0] * np.sin(tilt), SPACING[0] * np.cos(tilt)))
        self.check(tmp_path, r"sheared: .* 15\.0° off their normal \(a tilted gantry\)")

    def test_a_slice_beside_the_others(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path)
        dataset = pydicom.dcmread(paths[2])
        dataset.ImagePositionPatient[0] += 5
        save(paths[2], dataset)
        self.check(tmp_path, r"07_a\.dcm lies 5\.00 mm beside the line")

    def test_mixed_orientations(self, tmp_path: Path) -> None:
        draw_series(tmp_path, per_slice=[{}, {}, {}, {}, {"directions": SAGITTAL}])
        self.check(tmp_path, r"mixes orientations: 1 0 0 0 1 0 in .*, 0 1 0 0 0 -1 in 13_a\.dcm")

    def test_mixed_sizes(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path)
        save(paths[0], draw_slice(voxels()[0, :, :5], position=(-10, 20, 30)))
        self.check(tmp_path, r"mixes sizes: ")

    def test_mixed_spacings(self, tmp_path: Path) -> None:
        draw_series(tmp_path, per_slice=[{"PixelSpacing": [0.8, 0.51]}, {}, {}, {}, {}])
        self.check(tmp_path, r"mixes pixel spacings: 0\.8 0\.51 in 01_a\.dcm, 0\.8 0\.5 in")

    def test_two_patients(self, tmp_path: Path) -> None:
        draw_series(tmp_path, per_slice=[{}, {}, {}, {"patient": "p2"}, {}])
        self.check(tmp_path, "holds slices of 2 patients")
        with pytest.raises(FileFormatError) as caught:
            read_series(tmp_path)
        assert "p2" not in str(caught.value)
        assert "Doe" not in str(caught.value)

    def test_localizers(self, tmp_path: Path) -> None:
        draw_series(tmp_path, per_slice=[{"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {}, {}, {}, {}])
        self.check(tmp_path, r"1 localizers among its 5 images \(01_a\.dcm\)")

    @pytest.mark.parametrize(
        ("keyword", "name"),
        [
            ("ImagePositionPatient", "Image Position"),
            ("ImageOrientationPatient", "Image Orientation"),
            ("PixelSpacing", "Pixel Spacing"),
        ],
    )
    def test_no_place(self, tmp_path: Path, keyword: str, name: str) -> None:
        draw_series(tmp_path, per_slice=[{}, {keyword: None}, {}, {}, {}])
        self.check(tmp_path, rf"1 of 5 slices have no {name}.* \(04_a\.dcm\)")

    def test_zero_spacing(self, tmp_path: Path) -> None:
        draw_series(tmp_path, PixelSpacing=[0, 0.5])
        self.check(tmp_path, r"Pixel Spacing \(0\.0, 0\.5\)")

    def test_directions_that_are_none(self, tmp_path: Path) -> None:
        draw_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0])
        self.check(tmp_path, "accepted are two of length 1 at right angles")

    def test_two_numbers_as_position(self, tmp_path: Path) -> None:
        draw_series(tmp_path, ImagePositionPatient=[1.0, 2.0])
        self.check(tmp_path, "accepted are 3 finite numbers")

    def test_two_frames_of_reference(self, tmp_path: Path) -> None:
        draw_series(tmp_path, per_slice=[{}, {}, {}, {}, {"FrameOfReferenceUID": uid("elsewhere")}])
        self.check(tmp_path, "mixes frames of reference")


class TestPixelRefusals:
    @pytest.mark.parametrize(
        ("elements", "message"),
        [
            ({"PixelData": None}, r"01_a\.dcm has no pixel data"),
            ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, r"in colour \(RGB\)"),
            ({"PhotometricInterpretation": "PALETTE COLOR"}, r"in colour \(PALETTE COLOR\)"),
            ({"PhotometricInterpretation": None}, "no Photometric Interpretation"),
            ({"BitsStored": None}, "does not say its BitsStored"),
            ({"BitsStored": 17}, "stores 17 of 16 bits"),
            ({"RescaleSlope": 0}, "rescale slope 0"),
            ({"PixelData": b"\0" * 20}, r"01_a\.dcm is truncated"),
        ],
    )
    def test_refused(self, tmp_path: Path, elements: dict, message: str) -> None:
        draw_series(tmp_path, per_slice=[elements, {}, {}, {}, {}])
        with pytest.raises(FileFormatError, match=message) as caught:
            read_series(tmp_path)
        assert "\n" not in str(caught.value)

    def test_cut_off_file(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path)
        paths[3].write_bytes(paths[3].read_bytes()[:-30])
        with pytest.raises(FileFormatError, match=rf"{paths[3].name} is truncated"):
            read_series(tmp_path)

    def test_every_cut_is_an_error(self, tmp_path: Path) -> None:
        paths = draw_series(tmp_path, array=voxels()[:3])
        whole = paths[2].read_bytes()
        for length in range(140, len(whole), 37):
            paths[2].write_bytes(whole[:length])
            with pytest.raises((FileFormatError, UsageError)):
                read_series(tmp_path)

    def test_size_that_is_a_lie_takes_no_memory(self, tmp_path: Path) -> None:
        draw_series(tmp_path, Rows=60_000, Columns=60_000)
        with pytest.raises(FileFormatError, match="is truncated"):
            read_series(tmp_path)


class TestCompression:
    def test_rle(self, tmp_path: Path) -> None:
        for path in draw_series(tmp_path):
            dataset = pydicom.dcmread(path)
            dataset.compress(RLELossless)
            dataset.save_as(path)
        np.testing.assert_array_equal(read_series(tmp_path).array[0], voxels())

    def test_jpeg_2000(self, tmp_path: Path) -> None:
        array = voxels((3, 40, 48))
        for path in draw_series(tmp_path, array=array):
            dataset = pydicom.dcmread(path)
            dataset.compress(JPEG2000Lossless)
            dataset.save_as(path)
        np.testing.assert_array_equal(read_series(tmp_path).array[0], array)

    def test_without_a_decoder_the_pip_line_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._encode_as(tmp_path, JPEG2000Lossless)
        decoder = pydicom.pixels.get_decoder(JPEG2000Lossless)
        monkeypatch.setattr(decoder, "_available", {})
        with pytest.raises(FileFormatError, match=r"JPEG 2000.*no decoder.*pip install \"dinoseg\[dicom\]\""):
            read_series(tmp_path)

    def test_a_film_codec(self, tmp_path: Path) -> None:
        self._encode_as(tmp_path, "1.2.840.10008.1.2.4.102")
        with pytest.raises(FileFormatError, match=r"encoded as MPEG-4 .*, which nothing here reads"):
            read_series(tmp_path)

    def _encode_as(self, folder: Path, syntax: str) -> None:
        for path in draw_series(folder):
            dataset = pydicom.dcmread(path)
            dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path)


@pytest.mark.parametrize("library", ["pydicom", "pydicom.pixels"])
def test_without_pydicom_the_pip_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    draw_series(tmp_path)
    load = importlib.import_module

    def absent(name: str, *rest: object) -> object:
        if name == library:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return load(name, *rest)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DinosegError, match=r'needs pydicom.*run pip install "dinoseg\[dicom\]"') as caught:
        read_series(tmp_path)
    assert caught.value.exit_code == 1


def test_importing_the_package_needs_neither_library() -> None:
    code = "import sys; sys.modules |= {'pydicom': None, 'highdicom': None}; import dinoseg.data.dicom"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_are_read_in_any_order(tmp_path: Path) -> None:
    expected = voxels()[:3]
    for number, names in enumerate(itertools.permutations("abc")):
        folder = tmp_path / str(number)
        for path, name in zip(draw_series(folder, array=expected), names, strict=True):
            path.rename(folder / name)
        np.testing.assert_array_equal(read_series(folder).array[0], expected)


def test_header_without_pixels_is_kept_for_references(tmp_path: Path) -> None:
    draw_series(tmp_path)
    for reference in (read_series(tmp_path).reference, read_reference(tmp_path)):
        assert reference.geometry.shape == SHAPE
        assert [each.sop_uid for each in reference.slices] == [uid("a", "slice", n) for n in range(5)]
        assert not any("PixelData" in dataset for dataset in reference.datasets)
        assert reference.uid == uid("a")

"""Odd volumes and series, as they come from scanners and programs: read rightly, or refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.data.conversion.conversion import convert
from dinoseg.data.dicom import read_segmentation, read_series
from dinoseg.data.layouts.surveys import survey_data
from dinoseg.data.volumes import check_same_geometry, read_label, read_volume
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import FileFormatError, LabelError
from tests.data.dicom.case_folders import add_case, draw_ids
from tests.data.dicom.drawn import draw_series, voxels
from tests.data.volume_folders import make_raw, write_nifti
from tests.data.volumes.samples import (
    SHAPE,
    counting,
    oblique_affine,
    save_h5,
    save_nifti,
    save_text_nrrd,
)
from tests.data.volumes.test_forms import save_forms


def test_gzip_of_several_members(tmp_path: Path) -> None:
    """As bgzip and pigz write it."""
    content = save_nifti(tmp_path / "a.nii", counting()).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(b"".join(gzip.compress(content[at : at + 100]) for at in range(0, len(content), 100)))
    np.testing.assert_array_equal(read_volume(path).array[0], counting())


def test_big_endian(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Image(counting().transpose(2, 1, 0).astype(">i2"), np.eye(4), header)
    nibabel.save(image, tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array[0], counting())


def test_one_time_is_no_fourth_axis(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", counting(), dim=[4, 6, 5, 4, 1, 1, 1, 1])
    np.testing.assert_array_equal(read_volume(path).array[0], counting())


def test_an_sform_of_zeros_is_refused(tmp_path: Path) -> None:
    rows = dict.fromkeys(("srow_x", "srow_y", "srow_z"), [0.0] * 4)
    path = save_nifti(tmp_path / "a.nii", counting(), sform_code=1, **rows)
    with pytest.raises(FileFormatError, match="a voxel size of 0 mm"):
        read_volume(path)


def test_negative_voxel_sizes_beside_an_sform_stay_as_they_were(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", counting(), pixdim=[1, -0.75, 1.25, 4.5, 0, 0, 0, 0], qform_code=0)
    image = read_volume(path)
    np.testing.assert_allclose(image.affine, oblique_affine(), atol=1e-4)
    write_grid(tmp_path / "b.nii", image.array[0], image.geometry)
    headers = [
        nibabel.Nifti1Header((tmp_path / name).read_bytes()[:348], check=False) for name in ("a.nii", "b.nii")
    ]
    assert headers[0]["pixdim"].tolist() == headers[1]["pixdim"].tolist()


def test_a_negative_voxel_size_with_neither_form_is_its_absolute_value(tmp_path: Path) -> None:
    pixdim = [1, -0.75, 1.25, 4.5, 0, 0, 0, 0]
    path = save_nifti(tmp_path / "a.nii", counting(), pixdim=pixdim, qform_code=0, sform_code=0)
    assert read_volume(path).spacing == (4.5, 1.25, 0.75)


def test_a_label_on_the_other_form_of_its_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    sform, qform = oblique_affine(), np.diag([-1.0, 1.0, 1.0, 1.0]) @ oblique_affine()
    image = read_volume(save_forms(tmp_path / "a.nii", sform=sform, qform=qform, codes=(4, 1)))
    label = read_label(save_forms(tmp_path / "b.nii", sform=qform, qform=qform, codes=(1, 1)))
    with pytest.raises(LabelError, match=r"does not lie on the grid .* its sform and qform disagree"):
        check_same_geometry(image, label)


@pytest.mark.parametrize(("highest", "dtype"), [(40_000_001, np.int32), (2**40 + 1, np.int64)])
def test_integers_of_64_bits_stay_exact(tmp_path: Path, highest: int, dtype: type) -> None:
    root = tmp_path / "data"
    for number in (1, 2):
        scan = np.zeros((6, 20, 24), np.int64)
        scan[2, 3, 4] = highest
        (root / "images").mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(scan.transpose(2, 1, 0), np.eye(4), dtype=np.int64)
        nibabel.save(image, root / f"images/c{number}.nii.gz")
        label = np.zeros((6, 20, 24), np.uint8)
        label[1:3, 2:5, 3:6] = 1
        write_nifti(root / f"masks/c{number}.nii.gz", label, np.eye(4))
    convert(root, tmp_path / "raw", to="nnunet")
    back = read_volume(tmp_path / "raw/imagesTr/c1_0000.nii.gz").array
    assert (back.dtype, int(back.max())) == (np.dtype(dtype), highest)


def test_lines_that_end_as_on_windows(tmp_path: Path) -> None:
    lines = (
        "type: short\r\nendian: little\r\ndimension: 3\r\nsizes: 6 5 4\r\nencoding: raw\r\n"
        "space: LPS\r\nspace directions: (1,0,0) (0,1,0) (0,0,1)"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0004\r\n" + lines.encode() + b"\r\n\r\n" + counting(dtype="<i2").tobytes())
    np.testing.assert_array_equal(read_volume(path).array[0], counting())


def test_a_space_with_three_axes_of_its_own_is_refused(tmp_path: Path) -> None:
    lines = (
        "type: short\nendian: little\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nspace: scanner-xyz\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)"
    )
    with pytest.raises(FileFormatError, match="in the space 'scanner-xyz'"):
        read_volume(save_text_nrrd(tmp_path / "a.nrrd", lines, counting(dtype="<i2").tobytes()))


def test_flags_and_foreign_byte_order_in_hdf5(tmp_path: Path) -> None:
    path = save_h5(tmp_path / "a.h5", image=counting(dtype=">f4"))
    with h5py.File(path, "a") as file:
        file["label"] = counting() % 2 == 1
    np.testing.assert_array_equal(read_volume(path).array[0], counting())
    np.testing.assert_array_equal(read_label(path).array, counting() % 2)


def test_overlays_in_unused_bits_are_no_values(tmp_path: Path) -> None:
    array = voxels() % 4096
    draw_series(tmp_path, array=array | 0xA000, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_series(tmp_path).array[0], array)


def test_twelve_bits_with_a_sign(tmp_path: Path) -> None:
    array = (voxels() % 4096).astype(np.int16) - 2048
    stored = (array.astype(np.int32) & 0xFFF).astype(np.uint16)
    draw_series(tmp_path, array=stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(read_series(tmp_path).array[0], array)


def test_bits_at_another_place_are_refused(tmp_path: Path) -> None:
    draw_series(tmp_path, array=voxels() << 4, BitsStored=12, HighBit=15)
    with pytest.raises(FileFormatError, match=r"stores its 12 bits up to bit 15 \(HighBit\)"):
        read_series(tmp_path)


def test_files_without_a_preamble_are_counted_not_read(tmp_path: Path) -> None:
    for path in draw_series(tmp_path):
        path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(FileFormatError, match=r"no DICOM file \(5 other files\)"):
        read_series(tmp_path)


def test_jpeg_lossless_is_read_or_its_decoders_are_named(tmp_path: Path) -> None:
    for path in draw_series(tmp_path):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xc3" + b"\0" * 60])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(path)
    with pytest.raises(FileFormatError, match=r"JPEG Lossless.*install one of|cannot be read"):
        read_series(tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian])
def test_a_compressed_seg(tmp_path: Path, syntax: str) -> None:
    path = add_case(tmp_path, "a")
    dataset = pydicom.dcmread(path)
    ids = draw_ids()
    if syntax == RLELossless:  # which knows bytes only: as shares
        stored = dataset.pixel_array * np.uint8(255)
        dataset.SegmentationType, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (
            "FRACTIONAL",
            8,
            8,
            7,
        )
        dataset.SegmentationFractionalType, dataset.MaximumFractionalValue = "PROBABILITY", 255
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OB"
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    threshold = 0.5 if syntax == RLELossless else None
    label = read_segmentation(path, tmp_path / "a/ct", threshold=threshold)
    np.testing.assert_array_equal(label.array, ids)


def test_a_fractional_seg_in_a_data_set_is_refused(tmp_path: Path) -> None:
    path = add_case(tmp_path, "a")
    dataset = pydicom.dcmread(path)
    dataset.SegmentationType = "FRACTIONAL"
    dataset.save_as(path)
    dataset = open_dataset(tmp_path)
    with pytest.raises(LabelError, match="is fractional"):
        read_volume_case(dataset.cases[0], dataset.labels)


def test_names_in_latin_letters(tmp_path: Path) -> None:
    path = add_case(tmp_path, "a", kind="RTSTRUCT")
    dataset = pydicom.dcmread(path)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.StructureSetROISequence[0].ROIName = "Läsion"
    dataset.save_as(path)
    assert open_dataset(tmp_path).classes == {0: "background", 1: "Läsion", 2: "Tumour"}


def test_a_name_that_stands_twice_is_a_problem(tmp_path: Path) -> None:
    path = add_case(tmp_path, "a", kind="RTSTRUCT")
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[1].ROIName = "Liver"
    dataset.save_as(path)
    assert any("names 'Liver' 2 times" in line for line in survey_data(tmp_path).problems)


def test_a_point_among_the_structures_is_left_out_by_name(tmp_path: Path) -> None:
    path = add_case(tmp_path, "a", kind="RTSTRUCT")
    dataset = pydicom.dcmread(path)
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        contour.ContourGeometricType = "POINT"
    dataset.save_as(path)
    (tmp_path / "dataset.yaml").write_text("classes: {0: background, 1: Tumour}\nnames: {Liver: 0}")
    dataset = open_dataset(tmp_path)
    case = read_volume_case(dataset.cases[0], dataset.labels)
    assert case.label is not None
    np.testing.assert_array_equal(case.label.array, draw_ids() == 2)


def test_a_label_of_another_shape_is_refused(tmp_path: Path) -> None:
    root = make_raw(tmp_path / "raw", 1)
    write_nifti(root / "labelsTr/c1.nii.gz", np.zeros(SHAPE, np.uint8))
    dataset = open_dataset(root)
    with pytest.raises(LabelError, match="does not lie on the grid"):
        read_volume_case(dataset.cases[0], dataset.labels)


def test_every_row_of_the_manual_names_a_test_that_exists() -> None:
    root = Path(__file__).parents[2]
    rows = [
        line
        for line in (root / "docs/reliability.md")
        .read_text()
        .partition("## Volumes and series")[2]
        .splitlines()
        if "| `" in line
    ]
    named = [line.rpartition("| `")[2].rstrip("` |") for line in rows]
    assert len(named) > 50
    for name in named:
        file, _, test = name.partition("::")
        assert (
            f"{'class' if test.startswith('Test') else 'def'} {test}" in (root / "tests" / file).read_text()
        ), name

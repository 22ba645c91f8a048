"""Every format reads as another library wrote it: voxels, types and geometry."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from dinoseg.data.volumes import (
    SUFFIXES,
    read_label,
    read_volume,
    read_volume_info,
    volume_stem,
    volume_suffix,
)
from dinoseg.errors import FileFormatError, LabelError, UsageError
from tests.data.volumes.samples import (
    SHAPE,
    counting,
    edit_nifti,
    ijk,
    oblique_affine,
    save_h5,
    save_mha,
    save_nifti,
    save_nrrd,
    save_text_nrrd,
    tilted_affine,
)

ITK = Path(__file__).parent / "itk"
EXPECTED = json.loads((ITK / "expected.json").read_text())
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    "path", sorted(path for path in ITK.iterdir() if volume_suffix(path)), ids=lambda p: p.name
)
def test_files_of_itk(path: Path) -> None:
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array[0], EXPECTED["array"])
    tolerance = 1e-5 if ".nii" in path.name else 1e-12  # NIfTI-1 has 24 bits for a number
    np.testing.assert_allclose(volume.affine, EXPECTED["affine"], atol=tolerance)
    np.testing.assert_allclose(volume.spacing, EXPECTED["spacing"], rtol=1e-6)
    assert volume.id == volume_stem(path)
    assert volume.source == path


def test_itk_files_are_all_there() -> None:
    assert {volume_suffix(path) for path in ITK.iterdir()} - {""} == {
        ".mha",
        ".mhd",
        ".nrrd",
        ".nhdr",
        ".nii.gz",
    }


# NIfTI


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "<i4", ">u4", "i8", "<f4", ">f4", "f8"])
def test_nifti_types(tmp_path: Path, name: str, dtype: str) -> None:
    array = counting(dtype=dtype)
    data = array.transpose(2, 1, 0)
    image = nibabel.Nifti1Image(
        data,
        ijk(oblique_affine()),
        nibabel.Nifti1Header(endianness=dtype[0]) if dtype[0] in "<>" else None,
        dtype=array.dtype,
    )
    nibabel.save(image, tmp_path / name)
    volume = read_volume(tmp_path / name)
    expected = np.dtype(dtype).newbyteorder("=") if np.dtype(dtype).kind in "iu" else np.float32
    assert volume.array.dtype == expected
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_allclose(volume.affine, oblique_affine(), atol=1e-5)


def test_nifti_2(tmp_path: Path) -> None:
    image = nibabel.Nifti2Image(counting().transpose(2, 1, 0), ijk(oblique_affine()))
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array[0], counting())
    np.testing.assert_array_equal(volume.affine, oblique_affine())  # in double precision


def test_compression_is_told_by_the_content_not_the_name(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", counting()).rename(tmp_path / "b.nii.gz")
    save_nifti(tmp_path / "c.nii.gz", counting()).rename(tmp_path / "d.nii")
    for name in ("b.nii.gz", "d.nii"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array[0], counting())


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", counting(), scl_slope=0.5, scl_inter=-10.0)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], counting() * 0.5 - 10)
    np.testing.assert_array_equal(volume.array[0].T, nibabel.load(path).get_fdata())


def test_slope_zero_means_none(tmp_path: Path) -> None:
    volume = read_volume(save_nifti(tmp_path / "a.nii", counting(), scl_slope=0.0, scl_inter=5.0))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array[0], counting())


def test_sform_goes_before_qform_before_voxel_sizes(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(counting().transpose(2, 1, 0), np.eye(4))
    image.set_sform(ijk(tilted_affine()), code=1)
    image.set_qform(ijk(oblique_affine(seed=7)), code=1)
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    np.testing.assert_allclose(read_volume(path).affine, tilted_affine(), atol=1e-5)
    edit_nifti(path, sform_code=0)
    np.testing.assert_allclose(read_volume(path).affine, oblique_affine(seed=7), atol=1e-5)
    edit_nifti(path, qform_code=0)
    volume = read_volume(path)
    np.testing.assert_allclose(ijk(volume.affine), nibabel.load(path).affine, atol=1e-5)
    np.testing.assert_allclose(volume.spacing, (4.5, 1.25, 0.75), rtol=1e-6)


def test_qfac_zero_means_one(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(counting().transpose(2, 1, 0), None)
    affine = ijk(oblique_affine())
    affine = affine if np.linalg.det(affine) > 0 else affine @ np.diag([1, 1, -1, 1])
    image.set_qform(affine, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    before = read_volume(tmp_path / "a.nii").affine
    pixdim = nibabel.load(tmp_path / "a.nii").header["pixdim"].copy()
    pixdim[0] = 0
    np.testing.assert_array_equal(read_volume(edit_nifti(tmp_path / "a.nii", pixdim=pixdim)).affine, before)


def test_negative_determinant_is_a_flip(tmp_path: Path) -> None:
    for sign in (1.0, -1.0):
        affine = oblique_affine() @ np.diag([1.0, 1.0, sign, 1.0])
        volume = read_volume(save_nifti(tmp_path / f"{sign}.nii", counting(), affine))
        np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
        np.testing.assert_array_equal(volume.array[0], counting())


def test_axes_of_length_one_at_the_end_are_dropped(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", counting((1, 1, *SHAPE)))
    np.testing.assert_array_equal(read_volume(path).array[0], counting())
    np.testing.assert_array_equal(read_label(path).array, counting())


# A fourth axis


def _save_4d(folder: Path, kind: str) -> tuple[Path, np.ndarray]:
    array = counting((3, *SHAPE))
    if kind == "nifti":
        return save_nifti(folder / "a.nii.gz", array), array
    if kind == "h5":
        return save_h5(folder / "a.h5", image=array), array
    steps = "(0.75,0,0) (0,1.25,0) (0,0,4.5)"
    lines = "type: short\nendian: little\ndimension: 4\nspace: RAS\nencoding: raw\n"
    if kind == "nrrd-first":
        lines += f"sizes: 3 6 5 4\nspace directions: none {steps}\nkinds: list domain domain domain"
        voxels = array.transpose(1, 2, 3, 0).tobytes()
        return save_text_nrrd(folder / "a.nrrd", lines, voxels), array
    if kind == "nrrd-last":
        lines += f"sizes: 6 5 4 3\nspace directions: {steps} none"
        return save_text_nrrd(folder / "a.nrrd", lines, array.tobytes()), array
    if kind == "nrrd-time":
        lines = lines.replace("RAS", "right-anterior-superior-time")
        lines += "sizes: 6 5 4 3\nspace directions: (0.75,0,0,0) (0,1.25,0,0) (0,0,4.5,0) (0,0,0,2)\n"
        lines += "space origin: (1,2,3,0)"
        return save_text_nrrd(folder / "a.nrrd", lines, array.tobytes()), array
    if kind == "mha-channels":
        fields = {"ElementNumberOfChannels": 3}
        return save_mha(folder / "a.mha", fields, array.transpose(1, 2, 3, 0).tobytes()), array
    fields = {"NDims": 4, "DimSize": "6 5 4 3", "Offset": "0 0 0 0", "ElementSpacing": "0.75 1.25 4.5 1"}
    fields["TransformMatrix"] = " ".join(str(value) for value in np.eye(4).ravel())
    return save_mha(folder / "a.mha", fields, array.tobytes()), array


KINDS_4D = ["nifti", "h5", "nrrd-first", "nrrd-last", "nrrd-time", "mha-channels", "mha-times"]


@pytest.mark.parametrize("kind", KINDS_4D)
def test_fourth_axis_needs_a_choice(tmp_path: Path, kind: str) -> None:
    path, array = _save_4d(tmp_path, kind)
    with pytest.raises(FileFormatError, match=r"4D and holds 3 volumes; choose with channel \(0 to 2"):
        read_volume(path)
    np.testing.assert_array_equal(read_volume(path, time=1).array, array[1:2])
    np.testing.assert_array_equal(read_volume(path, channel=2).array, array[2:])
    np.testing.assert_array_equal(read_volume(path, channel=(2, 0)).array, array[[2, 0]])
    info = read_volume_info(path)
    assert (info.count, info.geometry.shape, info.dtype) == (3, SHAPE, np.int16)
    if kind != "h5":
        np.testing.assert_allclose(info.geometry.spacing, (4.5, 1.25, 0.75), rtol=1e-6)


def test_choices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path, _ = _save_4d(tmp_path, "nifti")
    with pytest.raises(UsageError, match="no channel 3; it holds 3"):
        read_volume(path, channel=3)
    with pytest.raises(UsageError, match="no time -1"):
        read_volume(path, time=-1)
    with pytest.raises(UsageError, match="not both"):
        read_volume(path, channel=0, time=0)
    with pytest.raises(UsageError, match="no channel of"):
        read_volume(path, channel=())


@pytest.mark.parametrize("kind", ["nifti", "nrrd-last"])
def test_label_with_a_fourth_axis_is_refused(tmp_path: Path, kind: str) -> None:
    path, _ = _save_4d(tmp_path, kind)
    with pytest.raises(LabelError, match="4D and holds 3 volumes"):
        read_label(path)


# NRRD


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "u4", "f4", "f8"])
def test_nrrd_encodings(tmp_path: Path, suffix: str, encoding: str, dtype: str) -> None:
    array = counting(dtype=dtype)
    path = save_nrrd(tmp_path / f"a{suffix}", array, {"encoding": encoding})
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.array.dtype == (np.float32 if "f" in dtype else np.dtype(dtype).newbyteorder("="))


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        (None, (-1, -1, 1)),
    ],
)
def test_nrrd_spaces(tmp_path: Path, space: str | None, signs: tuple[int, ...]) -> None:
    directions = np.array([[0.7, 0.1, 0.0], [-0.1, 1.2, 0.3], [0.0, -0.5, 4.4]])
    fields = {"space": space, "space directions": directions, "space origin": np.array([1.5, -2.5, 3.5])}
    if space is None:
        fields["space dimension"] = 3
    volume = read_volume(save_nrrd(tmp_path / "a.nrrd", counting(), fields))
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = directions.T, (1.5, -2.5, 3.5)
    np.testing.assert_array_equal(ijk(volume.affine), np.diag([*signs, 1]) @ expected)


def test_nrrd_with_spacings_only(tmp_path: Path) -> None:
    lines = "type: uint8\ndimension: 3\nsizes: 6 5 4\nspacings: 0.75 1.25 4.5\nencoding: raw"
    volume = read_volume(save_text_nrrd(tmp_path / "a.nrrd", lines, counting(dtype=np.uint8).tobytes()))
    np.testing.assert_array_equal(ijk(volume.affine), LPS @ np.diag([0.75, 1.25, 4.5, 1.0]))
    assert volume.geometry.spacing_known


def test_nrrd_without_any_spacing_says_so(tmp_path: Path) -> None:
    lines = "type: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: raw"
    volume = read_volume(save_text_nrrd(tmp_path / "a.nrrd", lines, counting(dtype=np.uint8).tobytes()))
    assert (volume.spacing, volume.geometry.unit) == ((1.0, 1.0, 1.0), "voxels")


def test_nrrd_skips_lines_and_bytes(tmp_path: Path) -> None:
    voxels = counting(dtype=np.uint8).tobytes()
    lines = "type: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nspacings: 1 1 1"
    (tmp_path / "skip.raw").write_bytes(b"one\ntwo\nxyz" + voxels)
    for name, skips in (("a", "line skip: 2\nbyteskip: 3"), ("b", "byte skip: -1"), ("c", "byte skip: 11")):
        path = save_text_nrrd(tmp_path / f"{name}.nhdr", f"{lines}\n{skips}\ndata file: skip.raw")
        np.testing.assert_array_equal(read_volume(path).array[0], counting())


def test_nrrd_header_has_comments_and_keys(tmp_path: Path) -> None:
    lines = "# a comment: here\nTYPE: UCHAR\ndimension: 3\nsizes: 6 5 4\nencoding: Raw\nmodality:=CT\n"
    lines += 'space units: "mm" "mm" "mm"'
    volume = read_volume(save_text_nrrd(tmp_path / "a.nrrd", lines, counting(dtype=np.uint8).tobytes()))
    np.testing.assert_array_equal(volume.array[0], counting())


def test_nrrd_as_pynrrd_reads_it(tmp_path: Path) -> None:
    directions = oblique_affine(seed=5)[:3, :3].T
    path = save_nrrd(tmp_path / "a.nrrd", counting(), {"space directions": directions, "encoding": "gzip"})
    array, header = nrrd.read(str(path), index_order="C")
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_array_equal(ijk(volume.affine)[:3, :3], LPS[:3, :3] @ header["space directions"].T)


# MetaImage


def test_mha_of_every_layout(tmp_path: Path) -> None:
    packed = zlib.compress(counting(dtype="<i2").tobytes())
    text = " ".join(str(value) for value in counting().ravel()).encode()
    (tmp_path / "a.raw").write_bytes(counting(dtype="<i2").tobytes())
    (tmp_path / "head.raw").write_bytes(b"header" + counting(dtype="<i2").tobytes())
    (tmp_path / "a.zraw").write_bytes(packed)
    files = [
        save_mha(tmp_path / "raw.mha"),
        save_mha(tmp_path / "big.mha", {"BinaryDataByteOrderMSB": True}, counting(dtype=">i2").tobytes()),
        save_mha(
            tmp_path / "packed.mha", {"CompressedData": True, "CompressedDataSize": len(packed)}, packed
        ),
        save_mha(tmp_path / "text.mha", {"BinaryData": False}, text),
        save_mha(tmp_path / "a.mhd", {"ElementDataFile": "a.raw"}),
        save_mha(tmp_path / "z.mhd", {"ElementDataFile": "a.zraw", "CompressedData": True}),
        save_mha(tmp_path / "h.mhd", {"ElementDataFile": "head.raw", "HeaderSize": 6}),
        save_mha(tmp_path / "e.mhd", {"ElementDataFile": "head.raw", "HeaderSize": -1}),
    ]
    for path in files:
        volume = read_volume(path)
        assert volume.array.dtype == np.int16
        np.testing.assert_array_equal(volume.array[0], counting())
        np.testing.assert_array_equal(ijk(volume.affine)[:3, 3], (-1, -2, 3))


def test_mha_without_spacing_says_so(tmp_path: Path) -> None:
    volume = read_volume(save_mha(tmp_path / "a.mha", {"ElementSpacing": None}))
    assert not volume.geometry.spacing_known
    np.testing.assert_array_equal(ijk(volume.affine)[:3, 3], (-1, -2, 3))


# HDF5


def test_h5_image_and_label(tmp_path: Path) -> None:
    path = save_h5(tmp_path / "a.h5", image=counting(dtype=np.float16), label=counting(dtype=np.uint8) % 4)
    volume, label = read_volume(path), read_label(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], counting())
    np.testing.assert_array_equal(label.array, counting() % 4)
    assert (volume.spacing, volume.geometry.unit, label.geometry.unit) == (
        (1.0, 1.0, 1.0),
        "voxels",
        "voxels",
    )
    assert volume.geometry.directions == "IPL"


def test_h5_spacing_is_an_attribute(tmp_path: Path) -> None:
    path = save_h5(
        tmp_path / "a.hdf5", image=counting(), label=counting(), attributes={"spacing": [5.0, 1.5, 1.25]}
    )
    for item in (read_volume(path), read_label(path)):
        assert (item.spacing, item.geometry.unit) == ((5.0, 1.5, 1.25), "mm")


def test_h5_in_chunks_and_flags(tmp_path: Path) -> None:
    import h5py

    array = counting((7, 8, 9)) % 3 == 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", data=array, chunks=(3, 4, 5), compression="gzip")
    volume = read_volume(tmp_path / "a.h5")
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array[0], array)


# Labels


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "i8", "u8", "f4", "f8"])
def test_labels_take_the_smallest_type(tmp_path: Path, dtype: str) -> None:
    small = read_label(save_nifti(tmp_path / "a.nii", counting(dtype=dtype) % 100))
    assert small.array.dtype == np.uint8
    np.testing.assert_array_equal(small.array, counting() % 100)
    if dtype != "u1":
        wide = read_label(save_nifti(tmp_path / "b.nii", counting(dtype=dtype) * 20))
        assert wide.array.dtype == np.uint16
        np.testing.assert_array_equal(wide.array, counting() * 20)


def test_scaled_labels_are_rounded_a_little(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", counting() * 250, scl_slope=np.float32(1 / 250), scl_inter=0.0)
    np.testing.assert_array_equal(read_label(path).array, counting())


# Names


def test_names_lose_their_extension() -> None:
    assert [volume_stem(Path(f"x.y{suffix}")) for suffix in SUFFIXES] == ["x.y"] * len(SUFFIXES)
    assert (volume_stem(Path("A.NII.GZ")), volume_suffix(Path("A.NII.GZ"))) == ("A", ".nii.gz")
    assert volume_suffix(Path("a.png")) == ""

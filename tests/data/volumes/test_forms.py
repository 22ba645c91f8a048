"""sform and qform of NIfTI: which one places the voxels, what is written, and when two files agree."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dinoseg.data.volumes import (
    LabelVolume,
    check_same_geometry,
    read_label,
    read_volume,
    to_canonical,
    write_label,
)
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import LabelError
from tests.data.volumes.samples import (
    counting,
    edit_nifti,
    ijk,
    oblique_affine,
    save_mha,
    save_nifti,
    save_text_nrrd,
)

_PLACES = ("srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d")
_FIELDS = (
    *_PLACES,
    "sform_code",
    "qform_code",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "pixdim",
    "xyzt_units",
)
_CODES = [(1, 1), (4, 1), (1, 0), (0, 1), (0, 2), (0, 0), (2, 4), (3, 3)]
_MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


def save_forms(
    path: Path, *, sform: np.ndarray, qform: np.ndarray, codes: tuple[int, int], version: int = 1
) -> Path:
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(counting().transpose(2, 1, 0), None, dtype=np.int16)
    image.header.set_qform(ijk(qform), code=codes[1])
    image.header.set_sform(ijk(sform), code=codes[0])
    image.header["qform_code"], image.header["sform_code"] = codes[1], codes[0]
    image.header["xyzt_units"] = 10
    image.header["pixdim"][4] = 2.5
    nibabel.save(image, path)
    return path


def header_fields(path: Path) -> dict[str, object]:
    header = nibabel.load(path).header
    return {"size": int(header["sizeof_hdr"]), **{name: header[name].tolist() for name in _FIELDS}}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("codes", _CODES)
def test_mask_and_converted_volume_carry_both_forms_of_the_image(
    tmp_path: Path, codes: tuple[int, int], version: int
) -> None:
    path = save_forms(
        tmp_path / "a.nii.gz",
        sform=oblique_affine(),
        qform=oblique_affine(seed=5),
        codes=codes,
        version=version,
    )
    image = read_volume(path)
    canonical = to_canonical(image)
    mask = LabelVolume(canonical.volume.array[0] % 5, canonical.volume.geometry, image.source, "a")
    write_label(tmp_path / "mask.nii.gz", canonical.orientation.undo(mask))
    write_grid(tmp_path / "copy.nii.gz", image.array[0], image.geometry)
    for name in ("mask.nii.gz", "copy.nii.gz"):
        assert header_fields(tmp_path / name) == header_fields(path)
    check_same_geometry(image, read_label(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(read_label(tmp_path / "mask.nii.gz").array, counting() % 5)
    np.testing.assert_array_equal(read_volume(tmp_path / "copy.nii.gz").array, image.array)


@pytest.mark.parametrize(
    ("codes", "form"), [((1, 1), "sform"), ((4, 0), "sform"), ((0, 1), "qform"), ((0, 4), "qform")]
)
def test_sform_goes_before_qform_and_a_form_counts_by_its_code(
    tmp_path: Path, codes: tuple[int, int], form: str
) -> None:
    forms = {"sform": oblique_affine(), "qform": oblique_affine(seed=5)}
    path = save_forms(tmp_path / "a.nii", **forms, codes=codes)
    np.testing.assert_allclose(read_volume(path).affine, forms[form], atol=1e-4)


def test_units_that_are_not_said_stay_so(tmp_path: Path) -> None:
    image = read_volume(save_nifti(tmp_path / "a.nii", counting(), xyzt_units=0))
    write_grid(tmp_path / "b.nii", image.array[0], image.geometry)
    assert int(nibabel.load(tmp_path / "b.nii").header["xyzt_units"]) == 0


@pytest.mark.parametrize("qfac", [1.0, -1.0, 0.0])
def test_handedness_of_the_qform_is_kept(tmp_path: Path, qfac: float) -> None:
    path = save_forms(tmp_path / "a.nii", sform=oblique_affine(), qform=oblique_affine(seed=5), codes=(0, 1))
    edit_nifti(path, pixdim=[qfac, 1, 2, 3, 4, 0, 0, 0])
    image = read_volume(path)
    write_grid(tmp_path / "b.nii", image.array[0], image.geometry)
    assert header_fields(tmp_path / "b.nii") == header_fields(path)
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii").affine, image.affine)


def test_forms_that_disagree_are_named_with_the_rule(tmp_path: Path) -> None:
    sform = oblique_affine()
    path = save_forms(tmp_path / "a.nii", sform=sform, qform=_MIRROR @ sform, codes=(4, 1))
    forms = read_volume(path).geometry.forms
    assert forms is not None
    for words in ("sform and qform disagree", "mirrored", "mm apart", "read by its sform"):
        assert words in forms.disagreement


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (0, 0)])
def test_a_form_that_is_not_in_use_disagrees_with_nothing(tmp_path: Path, codes: tuple[int, int]) -> None:
    path = save_forms(tmp_path / "a.nii", sform=oblique_affine(), qform=oblique_affine(seed=5), codes=codes)
    forms = read_volume(path).geometry.forms
    assert forms is not None
    assert forms.disagreement == ""


def test_a_qform_that_is_no_rotation_is_named_beside_an_sform(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii", counting(), qform_code=1, quatern_b=3.0)
    forms = read_volume(path).geometry.forms
    assert forms is not None
    assert "no placement at all" in forms.disagreement


def _headers(affine: np.ndarray, shape: tuple[int, int, int]) -> list[nibabel.Nifti1Header]:
    """The same grid twice: by an sform alone and by a qform alone."""
    headers = []
    for codes in ((1, 0), (0, 1)):
        header = nibabel.Nifti1Header()
        header.set_data_shape(shape[::-1])
        header.set_qform(affine, code=codes[1])
        header.set_sform(affine, code=codes[0])
        headers.append(header)
    return headers


def _sparse(path: Path, header: nibabel.Nifti1Header) -> Path:
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with path.open("wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + int(np.prod(header.get_data_shape())))  # takes no space on the disk
    return path


def test_quaternions_in_single_precision_are_the_same_grid(tmp_path: Path) -> None:
    """One in seven of these grids is more than 1/100 of a voxel off in its far corner, some two voxels."""
    from dinoseg.data.volumes import read_volume_info
    from dinoseg.data.volumes.geometry import TOLERANCE, measure_offset, refuse_other_geometry

    rng = np.random.default_rng(7)
    beyond = 0
    for _ in range(300):
        axis = rng.normal(size=3)
        degrees = rng.uniform(0, 20) if rng.random() < 0.5 else 10 ** rng.uniform(-4, 0)
        turn = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
        affine = np.eye(4)
        affine[:3, :3] = (
            turn @ np.diag([*rng.choice([-1, 1], 2), 1.0]) * rng.uniform([0.4, 0.4, 0.5], [1, 1, 5])
        )
        affine[:3, 3] = rng.uniform(-400, 400, 3)
        paths = [
            _sparse(tmp_path / f"{n}.nii", header)
            for n, header in enumerate(_headers(affine, (300, 512, 512)))
        ]
        first, second = (read_volume_info(path).geometry for path in paths)
        beyond += measure_offset(first, second).voxels > TOLERANCE
        refuse_other_geometry(first, second, image_name="image", label_name="label")
        refuse_other_geometry(second, first, image_name="image", label_name="label")
    assert beyond > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda affine: affine @ np.diag([1.0, 1.0, 1.001, 1.0]), "voxels"),  # another voxel size
        (lambda affine: np.vstack([affine[:3] + [[0, 0, 0, 0.02]] * 3, affine[3:]]), "voxels"),  # shifted
        (lambda affine: np.diag([-1.0, 1.0, 1.0, 1.0]) @ affine, "towards"),  # mirrored
    ],
    ids=["scaled", "shifted", "mirrored"],
)
def test_a_rounded_quaternion_excuses_nothing_but_a_turn(tmp_path: Path, change, words: str) -> None:
    affine = np.diag([-0.7, -0.7, 2.0, 1.0])
    image, _ = _headers(affine, (100, 400, 400))
    _, label = _headers(change(affine), (100, 400, 400))
    with pytest.raises(LabelError, match=words):
        check_same_geometry(
            read_volume(_sparse(tmp_path / "a.nii", image)), read_label(_sparse(tmp_path / "b.nii", label))
        )


@pytest.mark.parametrize("decimals", [4, 6])
def test_directions_rounded_in_a_text_header_are_the_same_grid(tmp_path: Path, decimals: int) -> None:
    turn = Rotation.from_euler("xyz", [3, 7, 11], degrees=True).as_matrix()
    rounded = np.round(turn * 0.7, decimals)
    shape = (3, 300, 300)
    voxels = np.zeros(shape, np.uint8).tobytes()

    def write(name: str, steps: np.ndarray, origin: float = 0.0) -> Path:
        vectors = " ".join(f"({','.join(repr(float(n)) for n in step)})" for step in steps.T)
        lines = (
            "type: uint8\ndimension: 3\nspace: RAS\nsizes: 300 300 3\nencoding: raw\n"
            f"space directions: {vectors}\nspace origin: ({origin},0,0)"
        )
        return save_text_nrrd(tmp_path / name, lines, voxels)

    image = read_volume(write("a.nrrd", turn * 0.7))
    check_same_geometry(image, read_label(write("b.nrrd", rounded)))
    with pytest.raises(LabelError, match="does not lie on the grid"):
        check_same_geometry(image, read_label(write("c.nrrd", rounded, origin=0.02)))
    with pytest.raises(LabelError, match="does not lie on the grid"):
        check_same_geometry(image, read_label(write("d.nrrd", np.round(turn * 0.71, decimals))))


@pytest.mark.parametrize("decimals", [4, 6])
def test_a_rounded_matrix_of_a_metaimage_is_the_same_grid(tmp_path: Path, decimals: int) -> None:
    turn = Rotation.from_euler("xyz", [3, 7, 11], degrees=True).as_matrix()
    voxels = np.zeros((3, 300, 300), np.uint8).tobytes()

    def write(name: str, matrix: np.ndarray, **fields: str) -> Path:
        stated = {"DimSize": "300 300 3", "ElementType": "MET_UCHAR", "ElementSpacing": "0.7 0.7 3"}
        text = " ".join(repr(float(number)) for number in matrix.T.ravel())
        return save_mha(tmp_path / name, {**stated, "TransformMatrix": text, **fields}, voxels)

    image = read_volume(write("a.mha", turn))
    check_same_geometry(image, read_label(write("b.mha", np.round(turn, decimals))))
    for name, fields in (("c.mha", {"Offset": "1.02 2 3"}), ("d.mha", {"ElementSpacing": "0.71 0.7 3"})):
        with pytest.raises(LabelError, match="does not lie on the grid"):
            check_same_geometry(image, read_label(write(name, np.round(turn, decimals), **fields)))

"""Labels are written so that other libraries read the same voxels in the same place."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from dinoseg.data.volumes import (
    LABEL_SUFFIXES,
    LabelVolume,
    check_same_geometry,
    read_label,
    read_volume,
    to_canonical,
    upright_geometry,
    write_label,
)
from dinoseg.errors import OutputError, UsageError
from tests.data.volumes.samples import (
    SHAPE,
    counting,
    ijk,
    make_label,
    oblique_affine,
    save_nifti,
    tilted_affine,
)

AFFINES = {
    "oblique": oblique_affine(),
    "flipped": oblique_affine(seed=2) @ np.diag([1.0, -1.0, 1.0, 1.0]),
    "tilted": tilted_affine(),
    "digits": oblique_affine(seed=4, spacing=(1 / 3, 0.1, 0.7)),
}


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_read_back_equals_what_was_written(tmp_path: Path, suffix: str, affine: np.ndarray) -> None:
    label = make_label(affine=affine)
    write_label(tmp_path / f"mask{suffix}", label)
    back = read_label(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(back.array, label.array)
    np.testing.assert_allclose(back.affine, label.affine, atol=1e-6)
    np.testing.assert_allclose(back.spacing, label.spacing, rtol=1e-6)
    assert list(tmp_path.iterdir()) == [tmp_path / f"mask{suffix}"]


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (256, np.uint16), (65535, np.uint16)])
def test_smallest_type_is_written(tmp_path: Path, suffix: str, highest: int, dtype: type) -> None:
    array = np.zeros(SHAPE, np.int64)
    array[1, 2, 3] = highest
    write_label(tmp_path / f"a{suffix}", make_label(array))
    stored = read_volume(tmp_path / f"a{suffix}")
    assert stored.array.dtype == dtype
    np.testing.assert_array_equal(stored.array[0], array)


def test_nifti_as_nibabel_reads_it(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nii.gz", make_label())
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), counting().transpose(2, 1, 0))
    np.testing.assert_allclose(image.affine, ijk(oblique_affine()), atol=1e-5)
    for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(form, ijk(oblique_affine()), atol=1e-5)
    assert image.header.get_slope_inter() in ((1.0, 0.0), (None, None))


def test_qform_is_left_out_where_it_would_straighten_axes(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nii", make_label(affine=tilted_affine()))
    image = nibabel.load(tmp_path / "a.nii")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(image.affine, ijk(tilted_affine()), atol=1e-5)


def test_nrrd_as_pynrrd_reads_it(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nrrd", make_label())
    array, header = nrrd.read(str(tmp_path / "a.nrrd"), index_order="C")
    np.testing.assert_array_equal(array, counting())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = header["space directions"].T, header["space origin"]
    np.testing.assert_array_equal(np.diag([-1, -1, 1, 1]) @ affine, ijk(oblique_affine()))
    assert header["space"] == "left-posterior-superior"


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_mask_made_inside_opens_over_the_file_of_its_image(tmp_path: Path, suffix: str) -> None:
    image = read_volume(save_nifti(tmp_path / "scan.nii.gz", counting()))
    canonical = to_canonical(image)
    inside = canonical.volume.array[0] % 5  # what a model would say
    mask = LabelVolume(inside, canonical.volume.geometry, image.source, image.id)
    write_label(tmp_path / f"mask{suffix}", canonical.orientation.undo(mask))
    back = read_label(tmp_path / f"mask{suffix}")
    check_same_geometry(image, back)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-6)
    np.testing.assert_array_equal(back.array, counting() % 5)


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_equal_labels_make_equal_files(tmp_path: Path, suffix: str) -> None:
    contents = []
    for folder in ("one", "two"):
        write_label(tmp_path / folder / f"a{suffix}", make_label())
        contents.append((tmp_path / folder / f"a{suffix}").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_existing_file_is_kept_unless_asked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        write_label(path, make_label())
    assert path.read_bytes() == b"precious"
    write_label(path, make_label(), overwrite=True)
    np.testing.assert_array_equal(read_label(path).array, counting())


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".h5", ".png", ""])
def test_other_extensions_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match=r"accepted are \.nii\.gz, \.nii, \.nrrd, \.mha"):
        write_label(tmp_path / f"a{suffix}", make_label())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_failed_write_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(OutputError, match="could not be written"):
        write_label(tmp_path / "file" / f"a{suffix}", make_label())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_axis_too_long_for_nifti_is_refused(tmp_path: Path) -> None:
    label = LabelVolume(np.zeros((1, 1, 32768), np.uint8), upright_geometry((1, 1, 32768)), Path("a"), "a")
    with pytest.raises(UsageError, match=r"not 32768; write \.nrrd"):
        write_label(tmp_path / "a.nii.gz", label)
    write_label(tmp_path / "a.nrrd", label)
    assert read_label(tmp_path / "a.nrrd").array.shape == (1, 1, 32768)


def test_unknown_spacing_is_not_written_as_millimetres(tmp_path: Path) -> None:
    label = LabelVolume(
        counting(dtype=np.uint8), upright_geometry(SHAPE, spacing_known=False), Path("a"), "a"
    )
    write_label(tmp_path / "a.nii", label)
    assert nibabel.load(tmp_path / "a.nii").header.get_xyzt_units()[0] == "unknown"

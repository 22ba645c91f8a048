"""The real volumes: every file reads, and its geometry is what its header says."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from dinoseg.data.volumes import (
    Volume,
    check_same_geometry,
    read_label,
    read_volume,
    to_canonical,
    write_label,
)
from dinoseg.errors import FileFormatError
from tests.data.samples import shared_data


def _files(name: str, pattern: str, count: int) -> list[Path]:
    files = sorted(shared_data(name).glob(pattern))
    assert len(files) == count
    return files


def _assert_turns_back(volume: Volume) -> None:
    canonical = to_canonical(volume)
    back = canonical.orientation.undo(canonical.volume)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_array_equal(back.affine, volume.affine)


def test_nifti_samples() -> None:
    for path in _files("nifti-samples", "*.nii.gz", 7):
        image = nibabel.load(path)
        volume = read_volume(path)
        np.testing.assert_allclose(volume.affine[:, [2, 1, 0, 3]], image.affine, atol=1e-12)
        np.testing.assert_allclose(volume.array[0].transpose(2, 1, 0), image.get_fdata(), rtol=1e-6)
        _assert_turns_back(volume)


def test_nifti_labels_lie_on_their_images() -> None:
    root = shared_data("nifti-samples")
    for image, label in (("example_ct_sm", "example_seg"), ("example_mr_sm", "example_seg_mr")):
        check_same_geometry(read_volume(root / f"{image}.nii.gz"), read_label(root / f"{label}.nii.gz"))


def _header_affine(path: Path) -> np.ndarray:
    """Affine in RAS, from the text of a NRRD header in left-posterior-superior."""
    text = path.read_bytes().split(b"\n\n", 1)[0].decode()
    assert "space: left-posterior-superior" in text
    steps = re.search(r"space directions: (.*)", text)[1]
    columns = [[float(part) for part in step.split(",")] for step in re.findall(r"\(([^)]*)\)", steps)]
    origin = [float(part) for part in re.search(r"space origin: \((.*)\)", text)[1].split(",")]
    affine = np.array([*columns, origin]).T
    affine[:2] *= -1
    return affine


def test_nrrd_samples() -> None:
    for path in _files("nrrd-samples", "*.nrrd", 8):
        volume = read_volume(path)
        expected = _header_affine(path)
        np.testing.assert_array_equal(volume.affine[:3, [2, 1, 0, 3]], expected)
        np.testing.assert_allclose(volume.spacing[::-1], np.linalg.norm(expected[:, :3], axis=0))
        array, _ = nrrd.read(str(path), index_order="C")
        np.testing.assert_array_equal(volume.array[0], array)
        _assert_turns_back(volume)


@pytest.mark.parametrize("name", ["brain1", "brain2", "breast1", "prostate_phantom"])
def test_nrrd_labels_lie_on_their_images(name: str, tmp_path: Path) -> None:
    root = shared_data("nrrd-samples")
    phantom = name == "prostate_phantom"
    image = read_volume(root / (f"{name}_subvolume.nrrd" if phantom else f"{name}_image.nrrd"))
    label = read_label(root / (f"{name}_subvolume-label.nrrd" if phantom else f"{name}_label.nrrd"))
    check_same_geometry(image, label)
    assert label.array.max() >= 1
    write_label(tmp_path / "copy.nrrd", label)
    copy = read_label(tmp_path / "copy.nrrd")
    np.testing.assert_array_equal(copy.array, label.array)
    np.testing.assert_allclose(copy.affine, image.affine, atol=1e-12)


@pytest.mark.slow
def test_acdc() -> None:
    for path in _files("acdc", "*.h5", 36):
        image, label = read_volume(path), read_label(path)
        check_same_geometry(image, label)
        assert image.array.dtype == np.float32
        assert image.geometry.unit == "voxels"
        assert set(np.unique(label.array)) <= {0, 1, 2, 3}


@pytest.mark.slow
def test_hippocampus(tmp_path: Path) -> None:
    root = shared_data("Dataset004_Hippocampus")
    pairs = _files("Dataset004_Hippocampus", "imagesTr/*.nii.gz", 100)
    for path in pairs:
        image = read_volume(path)
        label = read_label(root / "labelsTr" / path.name.replace("_0000", ""))
        check_same_geometry(image, label)
        _assert_turns_back(image)
        assert set(np.unique(label.array)) == {0, 1, 2}
        np.testing.assert_array_equal(nibabel.load(path).affine, image.affine[:, [2, 1, 0, 3]])
    turned = to_canonical(label)
    write_label(tmp_path / "mask.nii.gz", turned.orientation.undo(turned.volume))
    np.testing.assert_allclose(
        nibabel.load(tmp_path / "mask.nii.gz").affine, nibabel.load(path).affine, atol=1e-6
    )


def test_text_beside_the_volumes_is_no_volume() -> None:
    with pytest.raises(FileFormatError, match="no extension of a volume"):
        read_volume(shared_data("nrrd-samples") / "SOURCE.txt")

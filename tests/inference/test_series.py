"""DICOM series in, masks and DICOM SEG out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dinoseg.config import RangeIntensity
from dinoseg.data.dicom import read_segmentation, read_series
from dinoseg.data.volumes import read_label
from dinoseg.errors import UsageError
from dinoseg.inference import predict, predict_files
from dinoseg.model.segmenter import Segmenter
from tests.data.dicom.drawn import draw_series, ras_affine
from tests.inference.models import make_glass
from tests.inference.volumes import make_volume, save_nifti

ARRAY = np.zeros((4, 12, 10), np.uint16)
ARRAY[1:3, 2:7, 3:9] = 1000


@pytest.fixture
def glass3d() -> Segmenter:
    return make_glass(size=12, intensity=RangeIntensity(minimum=0, maximum=1000))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_one_volume(glass3d: Segmenter, tmp_path: Path) -> None:
    draw_series(tmp_path / "ct", array=ARRAY)
    found = predict(glass3d, tmp_path / "ct")
    assert found.mask.shape == ARRAY.shape
    assert np.abs(found.affine - ras_affine()).max() < 1e-6
    assert (found.mask == (ARRAY > 500)).mean() > 0.95
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in (tmp_path / "ct").iterdir():
            archive.write(path, path.name)
    zipped = predict(glass3d, tmp_path / "ct.zip")
    np.testing.assert_array_equal(zipped.mask, found.mask)


def test_segmentation_of_a_series(glass3d: Segmenter, tmp_path: Path) -> None:
    draw_series(tmp_path / "ct", array=ARRAY)
    found = predict(glass3d, tmp_path / "ct")
    found.save(tmp_path / "seg.dcm")
    series = read_series(tmp_path / "ct")
    label = read_segmentation(tmp_path / "seg.dcm", series.reference)
    np.testing.assert_array_equal(label.array, found.mask)
    with pytest.raises(UsageError, match="points to the slices of a DICOM series, and made is none"):
        predict(glass3d, make_volume((2, 12, 12))).save(tmp_path / "other.dcm")
    empty = predict(glass3d, tmp_path / "ct")
    empty.mask[:] = 0
    empty.save(tmp_path / "none.dcm")
    assert not read_segmentation(tmp_path / "none.dcm", series.reference).array.any()


def test_series_among_other_files(glass3d: Segmenter, tmp_path: Path) -> None:
    inside = tmp_path / "in"
    draw_series(inside / "patient1" / "ct", array=ARRAY)
    draw_series(inside / "patient2", array=np.zeros_like(ARRAY), series="b")
    draw_series(inside / "two", array=ARRAY, series="c")
    draw_series(inside / "two", array=ARRAY, series="d")
    save_nifti(inside / "mr.nii.gz", make_volume((3, 12, 10)))
    out = tmp_path / "out"
    report = predict_files(glass3d, [inside], out, overlays=False)
    assert [path.relative_to(out / "masks").as_posix() for path in sorted((out / "masks").rglob("*.gz"))] == [
        "mr.nii.gz",
        "patient1/ct.nii.gz",
        "patient2.nii.gz",
    ]
    assert [failure.source.name for failure in report.failures] == ["two"]
    assert "2 series" in report.failures[0].reason
    label = read_label(out / "masks/patient1/ct.nii.gz")
    assert np.abs(label.affine - ras_affine()).max() < 1e-6


def test_files_as_segmentations(glass3d: Segmenter, tmp_path: Path) -> None:
    draw_series(tmp_path / "in/one", array=ARRAY)
    draw_series(tmp_path / "in/two", array=np.zeros_like(ARRAY), series="b")
    out = tmp_path / "out"
    report = predict_files(glass3d, [tmp_path / "in"], out, volume_format="dicom-seg", overlays=False)
    assert report.exit_code == 0  # a scan without findings is a result
    assert _names(out / "masks") == ["one.dcm", "one.json", "two.dcm", "two.json"]
    assert not read_segmentation(out / "masks/two.dcm", tmp_path / "in/two").array.any()
    numbers = json.loads((out / "masks/one.json").read_text())
    label = read_segmentation(out / "masks/one.dcm", tmp_path / "in/one")
    assert numbers["classes"]["1"]["voxels"] == int((label.array == 1).sum()) > 0


def test_one_series_of_several(glass3d: Segmenter, tmp_path: Path) -> None:
    draw_series(tmp_path / "ct", array=ARRAY, series="a")
    draw_series(tmp_path / "ct", array=np.zeros_like(ARRAY), series="b")
    with pytest.raises(UsageError, match="series"):
        predict(glass3d, tmp_path / "ct")
    chosen = read_series(tmp_path / "ct", series=_uids(tmp_path / "ct")[0]).reference.uid
    found = predict(glass3d, tmp_path / "ct", series=chosen)
    assert found.mask.shape == ARRAY.shape
    report = predict_files(glass3d, [tmp_path / "ct"], tmp_path / "out", series=chosen)
    assert [file.mask.name for file in report.files] == ["ct.nii.gz"]


def _uids(folder: Path) -> list[str]:
    from dinoseg.data.dicom import find_series

    return [series.uid for series in find_series(folder)]

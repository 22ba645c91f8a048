"""DICOM series in, masks and DICOM SEG out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dinoseg.config import RangeIntensity, WindowIntensity
from dinoseg.data.dicom import read_segmentation, read_series
from dinoseg.data.volumes import read_label
from dinoseg.errors import UsageError
from dinoseg.inference import predict, predict_files
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Silent
from tests.data.dicom.drawn import SPACING, draw_series, ras_affine
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


def test_files_given_one_by_one_are_one_series(glass3d: Segmenter, tmp_path: Path) -> None:
    paths = draw_series(tmp_path / "ct", array=ARRAY)
    (tmp_path / "ct/notes.dcm").write_bytes(b"not given")
    notes = Notes()
    report = predict_files(glass3d, paths, tmp_path / "one", overlays=False, progress=notes)
    assert _names(tmp_path / "one/masks") == ["ct.json", "ct.nii.gz"]
    assert report.exit_code == 0
    assert f"4 files of {tmp_path / 'ct'} are one series: they become ct.nii.gz" in notes.lines
    (tmp_path / "ct/notes.dcm").unlink()
    predict_files(glass3d, [tmp_path / "ct"], tmp_path / "folder", overlays=False)
    masks = [read_label(tmp_path / name / "masks/ct.nii.gz").array for name in ("one", "folder")]
    np.testing.assert_array_equal(*masks)


def test_files_of_series_in_a_list(glass3d: Segmenter, tmp_path: Path) -> None:
    first = draw_series(tmp_path / "a", array=ARRAY)
    second = draw_series(tmp_path / "b", array=np.zeros_like(ARRAY), series="b")
    volume = make_volume((2, 12, 12))
    found = predict(glass3d, [*map(str, first), volume, *second])
    assert [each.mask.shape for each in found] == [ARRAY.shape, (2, 12, 12), ARRAY.shape]
    np.testing.assert_array_equal(found[0].mask, predict(glass3d, tmp_path / "a").mask)
    assert not found[2].mask.any()


def test_only_the_files_that_were_given_are_read(glass3d: Segmenter, tmp_path: Path) -> None:
    paths = draw_series(tmp_path / "ct", array=ARRAY)
    report = predict_files(glass3d, paths[:3], tmp_path / "out", overlays=False)
    assert report.files[0].size == (3, 12, 10)


def test_files_of_several_series_and_folders_are_told_apart(glass3d: Segmenter, tmp_path: Path) -> None:
    paths = draw_series(tmp_path / "x/ct", array=ARRAY, series="a")
    paths += draw_series(tmp_path / "x/ct", array=np.zeros_like(ARRAY), series="b")
    paths += draw_series(tmp_path / "y/ct", array=ARRAY, series="c")
    paths += draw_series(tmp_path / "z", array=ARRAY[:1], series="d")  # a single slice is a volume by itself
    out = tmp_path / "out"
    report = predict_files(glass3d, paths, out, overlays=False)
    names = sorted(path.relative_to(out / "masks").as_posix() for path in (out / "masks").rglob("*.gz"))
    assert names == ["x/ct/01_a.nii.gz", "x/ct/01_b.nii.gz", "y/ct.nii.gz", "z/01_d.nii.gz"]
    voxels = {file.mask.name: file.pixels[1] for file in report.files}
    assert voxels["01_b.nii.gz"] == 0 < voxels["01_a.nii.gz"] == voxels["ct.nii.gz"]


@pytest.mark.parametrize(
    ("elements", "attribute"),
    [
        ({"StudyTime": "25:99"}, "StudyTime"),
        ({"StudyDate": "20201345"}, "StudyDate"),
        ({"PatientBirthDate": "unknown"}, "PatientBirthDate"),
        ({"PatientSex": "male"}, "PatientSex"),
        ({"StudyInstanceUID": ""}, "StudyInstanceUID"),
        ({"SpecificCharacterSet": "ISO_IR 999"}, "SpecificCharacterSet"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # pydicom, of the values that are drawn here
def test_a_series_that_cannot_become_a_segmentation_is_named_and_the_others_go_on(
    glass3d: Segmenter, tmp_path: Path, elements: dict[str, str], attribute: str
) -> None:
    draw_series(tmp_path / "in/a", array=ARRAY)
    draw_series(tmp_path / "in/b", array=ARRAY, series="b", **elements)
    draw_series(tmp_path / "in/c", array=ARRAY, series="c", SliceThickness=None)
    out = tmp_path / "out"
    report = predict_files(glass3d, [tmp_path / "in"], out, volume_format="dicom-seg", overlays=False)
    assert report.exit_code == 3
    (failure,) = report.failures
    assert failure.source == tmp_path / "in/b"
    assert attribute in failure.reason
    assert "\n" not in failure.reason
    assert _names(out / "masks") == ["a.dcm", "a.json", "c.dcm", "c.json"]
    assert json.loads((out / "predictions.json").read_text())["finished"] is True


def test_thickness_that_is_not_said_is_measured(glass3d: Segmenter, tmp_path: Path) -> None:
    import pydicom

    draw_series(tmp_path / "ct", array=ARRAY, SliceThickness=None)
    predict(glass3d, tmp_path / "ct").save(tmp_path / "seg.dcm")
    groups = pydicom.dcmread(tmp_path / "seg.dcm").SharedFunctionalGroupsSequence[0]
    assert float(groups.PixelMeasuresSequence[0].SliceThickness) == pytest.approx(SPACING[0])


def test_a_single_slice_becomes_a_segmentation(glass3d: Segmenter, tmp_path: Path) -> None:
    draw_series(tmp_path / "ct", array=ARRAY[1:2])
    found = predict(glass3d, tmp_path / "ct")
    found.save(tmp_path / "seg.dcm")
    label = read_segmentation(tmp_path / "seg.dcm", read_series(tmp_path / "ct").reference)
    np.testing.assert_array_equal(label.array, found.mask)
    assert label.array.any()


def test_values_that_are_no_hounsfield_units_are_told_and_kept(tmp_path: Path) -> None:
    draw_series(tmp_path / "ct", array=ARRAY, RescaleIntercept=0)
    model = make_glass(size=12, intensity=WindowIntensity())
    notes = Notes()
    predict_files(model, [tmp_path / "ct"], tmp_path / "out", overlays=False, progress=notes)
    (told,) = [line for line in notes.lines if "Hounsfield" in line]
    assert told.startswith(f"{tmp_path / 'ct'}: its values go from 0 to 1000")
    described = json.loads((tmp_path / "out/masks/ct.json").read_text())["warnings"]
    listed = json.loads((tmp_path / "out/predictions.json").read_text())["files"][0]["warnings"]
    assert [told.partition(": ")[2]] == described == listed
    again = predict_files(model, [tmp_path / "ct"], tmp_path / "out", overlays=False, resume=True)
    assert list(again.files[0].warnings) == listed


class Notes(Silent):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def _uids(folder: Path) -> list[str]:
    from dinoseg.data.dicom import find_series

    return [series.uid for series in find_series(folder)]

"""`check_dataset` on volumes: grids, labels and copies are looked at case by case."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dinoseg.config import PercentileIntensity, PreprocessingSettings
from dinoseg.data import open_dataset
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.checks.findings import DataReport
from dinoseg.data.checks.volumes import note_planes
from tests.data.samples import write_lines
from tests.data.volume_folders import (
    RAS,
    SHAPE,
    draw_label,
    draw_scan,
    make_acdc,
    make_hdf5,
    make_raw,
    write_nifti,
)


def found(report: DataReport, topic: str) -> list[tuple[str, str]]:
    return [(item.severity, item.message) for item in report.findings if item.topic == topic]


def test_a_good_data_set(tmp_path: Path) -> None:
    report = check_dataset(make_raw(tmp_path, 3))
    assert report.exit_code == 0
    assert (report.cases, report.groups, report.empty) == (3, 3, 0)
    volumes = report.volumes
    assert volumes is not None
    assert volumes.smallest == volumes.largest == SHAPE
    assert volumes.finest == pytest.approx((3.0, 0.7, 0.8))
    assert volumes.orientations == {"SAR": 3}
    assert volumes.kinds == {".nii.gz int16": 3}
    voxels = sum(int((draw_label(n) > 0).sum()) for n in (1, 2, 3))
    assert volumes.foreground_share == pytest.approx(voxels / (3 * np.prod(SHAPE)))
    assert report.histogram["2"] == sum(int((draw_label(n) == 2).sum()) for n in (1, 2, 3))
    assert report.classes[2].cases == 3
    assert report.classes[2].lesions is None
    lines = report.lines()
    assert "volumes: 6×20×24 to 6×20×24 voxels (D×H×W as stored); 3 .nii.gz int16" in lines
    assert "voxel size: 3×0.7×0.8 mm; D, H, W run towards 3 SAR" in lines
    assert json.loads(json.dumps(report.to_dict()))["volumes"]["kinds"] == {".nii.gz int16": 3}


def test_a_size_is_proposed_for_slices(tmp_path: Path) -> None:
    report = check_dataset(make_raw(tmp_path, 3), size=64)
    areas = [
        plane.sum() / plane.size * 64**2 / 16**2  # in patches; the drawn organs are boxes, one in a slice
        for number in (1, 2, 3)
        for class_id in (1, 2)
        for plane in draw_label(number) == class_id
        if plane.any()
    ]
    enough = 64 * float(np.quantile(areas, 0.1, method="lower")) ** -0.5
    assert report.proposed_size == 32 * int(np.ceil(enough / 32))
    assert report.proposal.endswith(f"; --size {report.proposed_size}")
    assert report.to_dict()["proposal"] == report.proposal
    assert report.proposal in report.lines()


@pytest.mark.parametrize(
    ("spacing", "depth", "proposed"),
    [((0.8, 0.7, 1.0), 18, True), ((0.8, 0.7, 3.0), 18, False), ((0.8, 0.7, 1.0), 6, False)],
)
def test_three_planes_are_proposed_for_cubes(
    spacing: tuple[float, ...], depth: int, proposed: bool, tmp_path: Path
) -> None:
    """Not for slices that lie far apart, and not for a few of them."""
    shape, affine = (depth, *SHAPE[1:]), np.diag([*spacing, 1.0])
    data = make_raw(tmp_path, 2)
    for number in (1, 2):
        write_nifti(data / f"imagesTr/c{number}_0000.nii.gz", draw_scan(number, shape), affine)
        write_nifti(data / f"labelsTr/c{number}.nii.gz", draw_label(number, shape), affine)
    told = found(check_dataset(data), "planes")
    assert bool(told) == proposed
    if proposed:
        ((severity, message),) = told
        assert severity == "info"
        assert message.startswith("voxels are nearly cubes (longest side 1.4 times the shortest, median)")
        assert message.endswith("--set model.preprocessing.plane=axial,coronal,sagittal")
        cases, one = open_dataset(data).cases, PreprocessingSettings(intensity=PercentileIntensity())
        assert note_planes(cases, one) == message
        assert note_planes(cases, one.model_copy(update={"plane": ("axial", "coronal")})) == ""


def test_acdc(tmp_path: Path) -> None:
    report = check_dataset(make_acdc(tmp_path))
    assert report.exit_code == 0
    assert (report.cases, report.groups) == (8, 4)
    assert report.splits == {"train": 4, "val": 2, "test": 2}
    assert found(report, "spacing") == [("info", "no file tells its voxel size: distances are in pixels")]


def test_what_cannot_be_read_or_does_not_fit_is_named(tmp_path: Path) -> None:
    make_raw(tmp_path, 6)
    (tmp_path / "imagesTr/c1_0000.nii.gz").write_bytes(b"\x1f\x8bno")
    write_nifti(tmp_path / "labelsTr/c2.nii.gz", draw_label(2), RAS * [1, 1, 1.1, 1])
    write_nifti(tmp_path / "labelsTr/c3.nii.gz", draw_label(3).astype(np.float32) + 0.5)
    write_nifti(tmp_path / "imagesTr/c4_0000.nii.gz", np.full(SHAPE, 7, np.int16))
    write_nifti(tmp_path / "labelsTr/c5.nii.gz", draw_label(5) * 0)
    report = check_dataset(tmp_path)
    assert report.exit_code == 3
    ((severity, message),) = found(report, "unreadable")
    assert severity == "error"
    assert "c1_0000.nii.gz" in message
    labels = [message for _, message in found(report, "label")]
    assert "c3.nii.gz holds the label 0.5" in labels[0]
    assert "c2.nii.gz does not lie on the grid of its image" in labels[1]
    assert found(report, "flat") == [("warning", "every voxel has the same value in 1 case: c4")]
    assert found(report, "empty") == [("info", "the label is empty in 1 case: c5")]


def test_a_value_without_a_class(tmp_path: Path) -> None:
    report = check_dataset(make_raw(tmp_path, 2, labels={"background": 0, "organ": 1}))
    ((severity, message),) = found(report, "label")
    assert severity == "error"
    assert "c1.nii.gz holds the value 2 without a class" in message
    assert report.volumes is not None  # the images were read all the same
    assert report.volumes.smallest == SHAPE


def test_orientations_that_differ(tmp_path: Path) -> None:
    make_raw(tmp_path, 3)
    for name in ("imagesTr/c3_0000", "labelsTr/c3"):
        array = draw_scan(3) if "images" in name else draw_label(3)
        write_nifti(tmp_path / f"{name}.nii.gz", array, RAS[[2, 0, 1, 3]])
    report = check_dataset(tmp_path)
    assert found(report, "orientation") == [
        ("info", "the volumes are stored in 2 orientations (2 SAR, 1 RSA); all are turned upright")
    ]
    assert report.exit_code == 0


def test_copies_are_found_by_their_voxels(tmp_path: Path) -> None:
    """A copy in another type and another compression still is one."""
    make_raw(tmp_path, 4)
    lists = {"train": ["c1", "c2"], "val": ["c3"], "test": ["c4"]}
    (tmp_path / "splits.json").write_text(json.dumps(lists))
    write_nifti(tmp_path / "imagesTr/c4_0000.nii.gz", draw_scan(1).astype(np.int32))
    assert found(check_dataset(tmp_path), "duplicate") == [
        ("error", "c1 (train) and c4 (test) are the same image and stand in two splits")
    ]


def test_copies_without_splits_are_a_warning(tmp_path: Path) -> None:
    make_raw(tmp_path, 2)
    shutil.copyfile(tmp_path / "imagesTr/c1_0000.nii.gz", tmp_path / "imagesTr/c2_0000.nii.gz")
    ((severity, message),) = found(check_dataset(tmp_path), "duplicate")
    assert severity == "warning"
    assert "c1 (c1) and c2 (c2)" in message


def test_some_voxel_sizes_are_unknown(tmp_path: Path) -> None:
    make_hdf5(tmp_path, ["a", "b"])
    make_hdf5(tmp_path / "other", ["c"], spacing=(3, 1, 1))
    (tmp_path / "other/c.h5").rename(tmp_path / "c.h5")
    (tmp_path / "other").rmdir()
    ((severity, message),) = found(check_dataset(tmp_path), "spacing")
    assert severity == "warning"
    assert message == "the voxel size is not known, so that distances cannot be in mm in 2 cases: a; b"


def test_what_is_ignored_is_no_foreground(tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "ignore": 2}
    report = check_dataset(make_raw(tmp_path, 1, labels=labels))
    assert report.volumes is not None
    assert report.volumes.foreground_share == pytest.approx((draw_label(1) == 1).mean())
    assert list(report.classes) == [1]


def test_a_group_in_two_splits(tmp_path: Path) -> None:
    write_lines(make_acdc(tmp_path) / "splits/val.txt", ["patient002_ED"])
    write_lines(tmp_path / "splits/test.txt", ["patient002_ES"])
    ((severity, message),) = found(check_dataset(tmp_path), "leak")
    assert severity == "error"
    assert "group patient002 has patient002_ED in val and patient002_ES in test" in message

"""What is doubtful about a volume is told in one line; a plain CT is not doubted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.config import PreprocessingSettings
from dinoseg.config.settings import PercentileIntensity, WindowIntensity
from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import note_doubts
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.volumes import AsStored, CTWindows, MRPercentiles, describe_volume, find_doubts
from tests.data.volume_folders import make_raw, write_nifti
from tests.data.volumes.samples import make_volume


def draw_ct(seed: int = 0) -> np.ndarray:
    """Air around a body of fat and organs with noise, Hounsfield units."""
    rng = np.random.default_rng(seed)
    scan = np.full((8, 30, 30), -1000.0)
    scan[:, 3:27, 3:27] = -100
    scan[:, 8:22, 8:22] = 50
    return np.asarray(scan + rng.normal(0, 15, scan.shape)).round().astype(np.int16)


PADDED = draw_ct()
PADDED[:, :2] = -2048

_UNLIKE = {
    "unit": (draw_ct() + 1024) / 2000,
    "bytes": ((draw_ct() + 1024) / 8).clip(0, 255).astype(np.uint8),
    "shifted up": draw_ct() + 1024,
    "shifted up, padded": np.where(PADDED == -2048, -2000, PADDED + 1024),
    "shifted down": draw_ct() - 1024,
    "standardised": (draw_ct() - draw_ct().mean()) / draw_ct().std(),
    "thousandths": draw_ct() / 1000,
    "wrapped to uint16": draw_ct().astype(np.uint16),
    "times ten": draw_ct().astype(np.int32) * 10 + 20000,
}
_LIKE = {"ct": draw_ct(), "padded": PADDED, "float": draw_ct() + 0.25, "lung": draw_ct() - 60}


def as_volume(array: np.ndarray):
    kept = array if array.dtype.kind in "iu" else array.astype(np.float32)
    return make_volume(kept, affine=np.eye(4))


@pytest.mark.parametrize("name", _UNLIKE)
def test_values_that_are_no_hounsfield_units_are_told_in_one_line(name: str) -> None:
    (line,) = find_doubts(as_volume(_UNLIKE[name]), CTWindows())
    assert "its values go from" in line
    assert "Hounsfield" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", _LIKE)
@pytest.mark.parametrize("windows", [((40.0, 400.0),), ((-600.0, 1500.0), (40.0, 400.0), (300.0, 1500.0))])
def test_hounsfield_units_are_not_doubted(name: str, windows) -> None:
    assert find_doubts(as_volume(_LIKE[name]), CTWindows(windows)) == ()


@pytest.mark.parametrize("rule", [MRPercentiles(), AsStored(), None])
def test_other_rules_ask_for_no_hounsfield_units(rule) -> None:
    assert find_doubts(as_volume(_UNLIKE["bytes"]), rule) == ()


def test_a_window_beside_all_values_is_told() -> None:
    (line,) = find_doubts(as_volume(draw_ct()), CTWindows(((3000.0, 400.0),)))
    assert "one grey level of 100%" in line


def test_a_volume_is_described() -> None:
    described = describe_volume(make_volume(draw_ct(), affine=np.diag([-3.0, -2.0, -1.0, 1.0])[[2, 1, 0, 3]]))
    assert (described.shape, described.spacing, described.directions) == ((8, 30, 30), (3.0, 2.0, 1.0), "IPL")
    assert (described.lowest, described.highest) == (draw_ct().min(), draw_ct().max())
    assert describe_volume(make_volume(spacing_known=False)).spacing is None


def make_ct(root: Path, arrays: list[np.ndarray], channel: str = "CT") -> Path:
    make_raw(root, len(arrays), channels=(channel,))
    for number, array in enumerate(arrays, start=1):
        write_nifti(root / f"imagesTr/c{number}_0000.nii.gz", array)
        label = np.zeros(array.shape, np.uint8)
        label[2:5, 9:20, 9:20] = 1
        write_nifti(root / f"labelsTr/c{number}.nii.gz", label)
    return root


@pytest.mark.parametrize("channel", ["CT", "ct", "MRI"])
def test_check_tells_range_and_the_volumes_that_are_not_like_ct(tmp_path: Path, channel: str) -> None:
    root = make_ct(tmp_path / "d", [draw_ct(1), _UNLIKE["shifted up"], draw_ct(3)], channel)
    report = check_dataset(root)
    found = [finding for finding in report.findings if finding.topic == "hounsfield"]
    assert [finding.severity for finding in found] == ([] if channel == "MRI" else ["warning"])
    assert all("1 of 3 volumes (c2)" in finding.message for finding in found)
    low, high = draw_ct(1).min(), _UNLIKE["shifted up"].max()
    assert any(line.startswith(f"values: {min(low, draw_ct(3).min())} to {high}") for line in report.lines())


def test_doubts_before_a_training_name_the_volumes(tmp_path: Path) -> None:
    dataset = open_dataset(make_ct(tmp_path / "d", [draw_ct(1), _UNLIKE["shifted up"], draw_ct(3)]))
    settings = PreprocessingSettings(intensity=WindowIntensity())
    (line,) = note_doubts(dataset.cases, settings)
    assert line.startswith("1 of 3 volumes (c2), c2: its values go from")
    assert note_doubts(dataset.cases, PreprocessingSettings(intensity=PercentileIntensity())) == ()
    assert note_doubts(dataset.cases, PreprocessingSettings()) == ()
    assert note_doubts(dataset.cases, settings, most=1) == ()  # the first alone is looked at

"""What a training size resolves: lesions by patches, thin structures by width, and which size would do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.checks.regions import measure_regions
from dinoseg.data.checks.resolution import note_resolution
from dinoseg.data.layouts.dataset import open_dataset
from tests.data.samples import picture, save

LARGE = (256, 320)


def _vessels(width: int, size: tuple[int, int] = LARGE) -> np.ndarray:
    """Straight vessels of one width: down, across, and slanting, in pieces and joined."""
    mask = np.zeros(size, np.uint8)
    mask[:, 40 : 40 + width] = 255
    mask[100 : 100 + width, 20:300] = 255
    mask[200 : 200 + width, 60:200] = 255
    row, column = np.mgrid[: size[0], : size[1]]
    across = np.abs((row - 20) - (column - 120)) / np.sqrt(2)
    mask[(across < width / 2) & (row > 20) & (row < 90)] = 255
    return mask


def _dataset(root: Path, masks: list[np.ndarray]) -> Path:
    for number, mask in enumerate(masks, start=1):
        save(root / f"images/c{number}.png", picture(number, mask.shape))
        save(root / f"masks/c{number}.png", mask)
    return root


def _found(root: Path, topic: str, **options: int) -> list[str]:
    return [f.message for f in check_dataset(root, **options).findings if f.topic == topic]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7])
def test_the_width_of_vessels_is_measured(width: int) -> None:
    regions = measure_regions(_vessels(width) > 0)
    assert regions.thin_area == (_vessels(width) > 0).sum()
    assert np.median(regions.widths) == pytest.approx(width, abs=1)


def test_lesions_are_not_thin() -> None:
    row, column = np.mgrid[:64, :64]
    disc = (row - 30) ** 2 + (column - 30) ** 2 < 100
    ellipse = ((row - 30) / 24) ** 2 + ((column - 30) / 8) ** 2 < 1
    for shape in (disc, ellipse, np.ones((5, 5), bool), np.ones((1, 1), bool)):
        regions = measure_regions(shape)
        assert regions.thin_area == 0
        assert regions.areas.tolist() == [shape.sum()]
    assert measure_regions(np.zeros((4, 4), bool)).areas.size == 0


def test_specks_are_counted_apart() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:40, :40] = True
    mask[60, 60] = True
    regions = measure_regions(mask)
    assert (regions.areas.tolist(), regions.specks) == ([1600], 1)


def test_thin_structures_are_advised_by_width_and_not_as_tiny_lesions(tmp_path: Path) -> None:
    _dataset(tmp_path, [_vessels(3), _vessels(3), _vessels(3)])
    report = check_dataset(tmp_path, size=128)
    assert [f.topic for f in report.findings if f.severity == "warning"] == ["thin"]
    (message,) = _found(tmp_path, "thin", size=128)
    assert message.startswith(
        "class 1 foreground is thin: 3.0 px wide in the images (median along its length)"
    )
    assert "1.3 px at 128×128" in message
    advice = "; or learn from windows of full resolution: --set train.window=128"
    assert message.endswith(f"at 192×192 they are 2 px{advice}")
    summary = report.classes[1]
    assert (summary.small_lesions, summary.width) == (0, pytest.approx(3, abs=0.01))
    assert summary.trained_width == pytest.approx(3 * 128 / np.sqrt(256 * 320), abs=0.01)
    assert (report.proposed_size, report.proposed_window) == (192, 128)
    line = "size: 192 is proposed instead of 128: from there up thin structures are 2 px wide; --size 192"
    assert f"{line}{advice}" in report.lines()
    assert _found(tmp_path, "thin", size=192) == []


def test_the_proposed_size_lets_lesions_cover_a_patch(tmp_path: Path) -> None:
    mask = np.zeros(LARGE, np.uint8)
    mask[100:116, 100:116] = 255  # covers a patch where the image keeps its size: 286 px
    _dataset(tmp_path, [mask, mask])
    report = check_dataset(tmp_path, size=128)
    assert (report.proposed_size, report.proposed_window) == (288, None)  # the images have less themselves
    assert "train.window" not in "\n".join(report.lines())
    assert "size: 288 is proposed instead of 128 (which enlarges the images)" in "\n".join(report.lines())
    assert check_dataset(tmp_path, size=288).classes[1].small_lesions == 0
    assert check_dataset(tmp_path, size=256).classes[1].small_lesions == 2
    large, fair = ("\n".join(check_dataset(tmp_path, size=size).lines()) for size in (512, 300))
    assert "size: 512×512 is enough; from 288×288 up 90% of" in large
    assert "size: 300×300 resolves the masks, as from 288×288 up 90% of" in fair
    assert "up to 320×320 Dice often still gains" in fair
    assert "gains" not in large


def test_windows_are_proposed_where_the_images_have_the_resolution(tmp_path: Path) -> None:
    mask = np.zeros((640, 640), np.uint8)
    mask[300:317, 400:417] = 255
    _dataset(tmp_path, [mask, mask])
    report = check_dataset(tmp_path, size=256)
    assert (report.proposed_size, report.proposed_window) == (608, 256)
    advice = "; or learn from windows of full resolution: --set train.window=256"
    assert _found(tmp_path, "small", size=256)[0].endswith(advice)
    assert report.proposal.endswith(f"90% of the regions cover a 16×16 patch; --size 608{advice}")
    assert report.to_dict()["proposed_window"] == 256


def test_a_few_cases_are_looked_at_before_a_training(tmp_path: Path) -> None:
    """The warnings of `data check`, and none where the size is enough."""
    _dataset(tmp_path, [_vessels(3)] * 10)
    dataset = open_dataset(tmp_path)
    (line,) = note_resolution(dataset.cases, dataset.labels, size=128, names=dataset.classes)
    assert line == f"{_found(tmp_path, 'thin', size=128)[0]} (8 of 10 cases were looked at)"
    assert line.endswith("--set train.window=128 (8 of 10 cases were looked at)")
    assert note_resolution(dataset.cases, dataset.labels, size=192, names=dataset.classes) == ()


def test_few_small_lesions_do_not_decide_the_size(tmp_path: Path) -> None:
    masks = []
    for number in range(20):
        mask = np.zeros(LARGE, np.uint8)
        mask[50:114, 50:114] = 255
        if number == 0:
            mask[200:206, 200:206] = 255
        masks.append(mask)
    assert check_dataset(_dataset(tmp_path, masks)).proposed_size == 96


def test_nothing_shown_proposes_nothing(tmp_path: Path) -> None:
    report = check_dataset(_dataset(tmp_path, [np.zeros(LARGE, np.uint8)]))
    assert report.proposed_size is None
    assert not any(line.startswith("size:") for line in report.lines())


def test_ranges_of_values(tmp_path: Path) -> None:
    _dataset(tmp_path, [_vessels(3), _vessels(3), _vessels(3)])
    save(tmp_path / "images/c2.png", (picture(2, LARGE, channels=1).astype(np.uint16) * 16))
    save(tmp_path / "images/c3.png", (picture(3, LARGE, channels=1).astype(np.uint16) * 16) + 7)
    report = check_dataset(tmp_path)
    line = next(line for line in report.lines() if line.startswith("values:"))
    assert line == (
        "values: 0 to 4087 of 16 bits, of which 12 are used (2 images); 0 to 255 of 8 bits (1 images)"
    )
    facts = json.loads(json.dumps(report.to_dict()))
    assert facts["intensities"][0] == {"bits": 16, "images": 2, "lowest": 0, "highest": 4087}
    assert _found(tmp_path, "dark")[0].endswith("in 2 cases: c2; c3")

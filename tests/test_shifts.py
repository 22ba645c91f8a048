"""The drawn shifts of benchmarks/shifts.py: each changes the image, and mask and image stay in step."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
IMAGES = ("colour cast", "brightness", "blur", "zoom 0.7", "zoom 1.4", "jpeg", "noise")
VOLUMES = ("slope", "shading", "blur", "zoom 0.7", "zoom 1.4", "noise")


@pytest.fixture
def shifting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("shifting")


@pytest.fixture
def shifts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("shifts")


def _disc(shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    row, column = np.mgrid[: shape[0], : shape[1]]
    ids = ((row - 26) ** 2 + (column - 46) ** 2 < 14**2).astype(np.uint8)
    ids[20:24, 40:44] = 2
    return ids


def _image(ids: np.ndarray, channels: int = 3) -> np.ndarray:
    """Bright where the mask is."""
    grey = 0.3 + 0.4 * (ids > 0) + 0.02 * np.random.default_rng(0).random(ids.shape)
    return np.repeat(grey[None], channels, axis=0).astype(np.float32)


def test_the_lists_hold_what_is_asked_for(shifting: ModuleType) -> None:
    assert tuple(shifting.OF_IMAGES) == IMAGES
    assert tuple(shifting.OF_VOLUMES) == VOLUMES


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_changes_and_its_mask_stays_in_step(shifting: ModuleType, name: str, channels: int) -> None:
    ids = _disc()
    image = _image(ids, channels)
    before = image.copy(), ids.copy()
    shift = shifting.OF_IMAGES[name]
    shifted, moved = shift(image, ids, shifting.draw_generator("case", name))
    again, _ = shift(image, ids, shifting.draw_generator("case", name))
    assert np.array_equal(image, before[0])  # in place is not meant
    assert np.array_equal(ids, before[1])
    assert np.array_equal(shifted, again)
    assert (shifted.shape[1:], shifted.dtype) == (ids.shape, np.float32)
    assert (shifted.min() >= 0, shifted.max() <= 1) == (True, True)
    assert np.abs(shifted - image).mean() > 0.003
    assert (moved.shape, moved.dtype, set(np.unique(moved)) <= {0, 1, 2}) == (ids.shape, np.uint8, True)
    # Where the shifted mask shows something, the shifted image is bright.
    grey = shifted.mean(axis=0)
    bright = (
        grey > (grey.max() + grey.min()) / 2
        if name != "noise"
        else shifting.ndimage.median_filter(grey, 7) > 0.5
    )
    assert 2 * (bright & (moved > 0)).sum() / (bright.sum() + (moved > 0).sum()) > 0.9


@pytest.mark.parametrize("name", VOLUMES)
def test_a_volume_changes_plane_by_plane(shifting: ModuleType, name: str) -> None:
    ids = np.stack([_disc(), np.roll(_disc(), 5, axis=1)])
    voxels = 1000 * np.stack([_image(plane, 1)[0] for plane in ids])[None]  # (1, D, H, W)
    shifted, moved = shifting.OF_VOLUMES[name](voxels, ids, shifting.draw_generator("case", name))
    assert (shifted.shape, moved.shape) == (voxels.shape, ids.shape)
    assert np.abs(shifted - voxels).mean() > 3
    inside, outside = shifted[0][moved > 0], shifted[0][moved == 0]
    assert np.median(inside) > np.median(outside)
    if name.startswith("zoom"):
        change = float(name.split()[1]) ** 2
        assert (moved > 0).sum() == pytest.approx(change * (ids > 0).sum(), rel=0.06)


def test_other_cases_are_shifted_otherwise(shifting: ModuleType) -> None:
    one, other = (shifting.draw_generator(case, "noise").random() for case in ("a", "b"))
    assert one != other
    assert one == shifting.draw_generator("a", "noise").random()


def test_runs_are_found_and_named_from_the_folder_given(shifts: ModuleType, tmp_path: Path) -> None:
    for name in ("few/one/draw-0", "few/two/draw-0"):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "config.json").touch()
    (tmp_path / "few" / "three").mkdir()  # not finished
    assert shifts.find_runs([tmp_path / "few"]) == {
        "few/one/draw-0": tmp_path / "few/one/draw-0",
        "few/two/draw-0": tmp_path / "few/two/draw-0",
    }
    assert list(shifts.find_runs([tmp_path / "few/one/draw-0"])) == ["draw-0"]


def test_loss_is_paired_and_thirds_are_by_size(shifts: ModuleType) -> None:
    clean = [shifts.Score(str(n), str(n), 0.9, share) for n, share in enumerate([0.3, 0.1, 0.2, 0.0])]
    after = [shifts.Score(str(n), str(n), dice, 0.1) for n, dice in enumerate([0.8, 0.5, 0.7, 0.9])]
    row = shifts.describe([*map(_with_share, after, clean)], clean)
    assert row["loss"] == pytest.approx((0.1 + 0.4 + 0.2 + 0) / 4)
    assert row["loss_low"] <= row["loss"] <= row["loss_high"]
    # The case without a lesion has no size.
    assert [row[f"dice_{name}"] for name in shifts.THIRDS] == [0.5, 0.7, 0.8]


def _with_share(score: object, clean: object) -> object:
    return type(score)(score.case, score.group, score.dice, clean.share)

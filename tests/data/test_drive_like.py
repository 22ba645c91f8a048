"""A folder as DRIVE is handed around: images, the field of view, and the vessels beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dinoseg.data.checks.dataset import check_dataset
from tests.data.samples import picture, save

SIDE = 96


def _draw(root: Path) -> Path:
    row, column = np.indices((SIDE, SIDE))
    field = (row - 48) ** 2 + (column - 48) ** 2 < 45**2
    for number in range(21, 26):
        vessels = field & ((row + 9 * np.sin((column + number) / 11)) % 20 < 2.5)
        save(root / f"training/images/{number}_training.png", picture(number, (SIDE, SIDE)))
        save(root / f"training/mask/{number}_training_mask.png", (field * 255).astype(np.uint8))
        save(root / f"training/1st_manual/{number}_manual1.png", (vessels * 255).astype(np.uint8))
    return root


def test_the_field_of_view_is_doubted_and_the_vessels_are_named(tmp_path: Path) -> None:
    report = check_dataset(_draw(tmp_path))
    warnings = {finding.topic: finding.message for finding in report.select("warning")}
    assert warnings["unused"] == f"{tmp_path / 'training/1st_manual'}/ holds 5 images and is not used"
    assert "a field of view?" in warnings["sameness"]


def test_vessels_that_are_learned_get_one_advice(tmp_path: Path) -> None:
    _draw(tmp_path)
    (tmp_path / "training/mask").rename(tmp_path / "training/fov")
    (tmp_path / "training/1st_manual").rename(tmp_path / "training/masks")
    for path in sorted((tmp_path / "training/masks").iterdir()):
        path.rename(path.with_name(path.name.replace("manual1", "training")))
    report = check_dataset(tmp_path, size=64)
    topics = [finding.topic for finding in report.select("warning")]
    assert topics.count("thin") == 1
    assert "small" not in topics
    assert report.classes[1].small_lesions == 0
    assert report.proposed_size is not None
    assert report.proposed_size > 64

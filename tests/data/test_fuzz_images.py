"""Damaged copies of valid pictures through the readers of images and masks: refused in one line, or read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinoseg.data.images import image_info, read_image, read_label
from dinoseg.errors import DinosegError
from tests import fuzzing

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
GREY = RGB[..., 0]
DEEP = GREY.astype(np.uint16) * 200


def _pillow(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: PillowImage.fromarray(array).save(path)


def _tiff(array: np.ndarray, **options: object) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, array, **options)  # type: ignore[arg-type]


SEEDS: dict[str, Callable[[Path], None]] = {
    "colour.png": _pillow(RGB),
    "deep.png": _pillow(DEEP),
    "palette.png": lambda path: PillowImage.fromarray(GREY // 64).convert("P").save(path),
    "colour.jpg": _pillow(RGB),
    "colour.bmp": _pillow(RGB),
    "colour.tif": _tiff(RGB),
    "deep.tif": _tiff(DEEP),
    "zlib.tif": _tiff(RGB, compression="zlib"),
}


def read(path: Path) -> None:
    """Header, image and mask; each may refuse, but only as a `DinosegError`."""
    errors = []
    for reader in (image_info, read_image, read_label):
        try:
            reader(path)
        except DinosegError as error:
            errors.append(error)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("name", SEEDS)
def test_a_few_damaged_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / "valid").mkdir()
    SEEDS[name](tmp_path / "valid" / name)
    read(tmp_path / "valid" / name)
    outcome = fuzzing.fuzz(read, tmp_path / "valid" / name, tmp_path, count=fuzzing.QUICK, seed=1)
    assert outcome.faults == []
    assert outcome.refused > 0

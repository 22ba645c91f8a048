"""Small pictures, masks and data sets that the tests of this folder write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

SIZE = (24, 32)
SHARED = Path(__file__).parents[2] / "../shared/data"


def picture(seed: int = 0, size: tuple[int, int] = SIZE, channels: int = 3) -> NDArray[np.uint8]:
    """A picture (H, W) or (H, W, 3) that no other seed resembles."""
    generator = np.random.default_rng(seed)
    shape = size if channels == 1 else (*size, channels)
    return generator.integers(0, 256, shape, dtype=np.uint8)


def blob(
    size: tuple[int, int] = SIZE, value: int = 255, corner: tuple[int, int] = (4, 6)
) -> NDArray[np.uint8]:
    """A mask with one rectangle of 8×10 pixels."""
    mask = np.zeros(size, dtype=np.uint8)
    mask[corner[0] : corner[0] + 8, corner[1] : corner[1] + 10] = value
    return mask


def save(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """Write pixels with Pillow in the format of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(pixels).save(path, **options)
    return path


def make_dataset(root: Path, count: int = 6, *, value: int = 255) -> Path:
    """images/ and masks/ with cases c1, c2, …"""
    for number in range(1, count + 1):
        save(root / "images" / f"c{number}.png", picture(number))
        save(root / "masks" / f"c{number}.png", blob(value=value))
    return root


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def shared_data(name: str) -> Path:
    """A folder of real data, or skip."""
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"the real data of {name} is not beside this checkout (../shared/data/{name})")
    return path

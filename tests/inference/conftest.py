from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.model.segmenter import Segmenter
from tests.inference.models import make_glass

Draw = Callable[..., Path]


@pytest.fixture
def glass() -> Segmenter:
    return make_glass()


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Write a picture of noise with a bright half, and return its path."""

    def draw(name: str, size: tuple[int, int] = (20, 30), seed: int = 0) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 120, (*size, 3), dtype=np.uint8)
        pixels[:, size[1] // 2 :] += 130
        PillowImage.fromarray(pixels).save(path)
        return path

    return draw

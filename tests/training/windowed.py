"""Large drawn images with small spots, and runs that learn them through windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.images import write_image, write_mask
from dinoseg.model.segmenter import Segmenter
from dinoseg.training import train

SIDE = 32
SPLITS = {"train": 5, "val": 2, "test": 1}
#: Seconds on one core; no augmentation, so that what is seen can be looked at.
CHANGES: dict[str, Any] = {
    "train.window": SIDE,
    "train.views": 8,
    "train.min_bank": 0,
    "train.min_epoch_samples": 20,
    "train.epochs": 8,
    "train.lr": 2e-2,
    "train.validate_every": 4,
    "train.augmentation": None,
    "cache.dtype": "float32",
}


def make_spots(root: Path, *, side: int = 128, spot: int = 14) -> Path:
    """Noise with two bright squares in each image: a cell of a window, a twentieth of one of the whole."""
    for name in ("images", "masks", "splits"):
        (root / name).mkdir(parents=True)
    names = [f"c{number}" for number in range(sum(SPLITS.values()))]
    for seed, name in enumerate(names):
        random = np.random.default_rng(seed)
        pixels = random.normal(0.35, 0.05, (1, side, side)).astype(np.float32)
        mask = np.zeros((side, side), np.uint8)
        for row, column in random.integers(4, side - spot - 4, (2, 2)):
            pixels[:, row : row + spot, column : column + spot] += 0.43
            mask[row : row + spot, column : column + spot] = 1
        write_image(root / "images" / f"{name}.png", Image(pixels.clip(0, 1)))
        write_mask(root / "masks" / f"{name}.png", LabelMap(mask))
    for split, count in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names[:count]))
        names = names[count:]
    return root


def train_windows(
    data: Path | list[Path], out: Path, cache: Path, *, changes: dict[str, Any] | None = None, **options: Any
) -> Segmenter:
    """A run of a linear probe on the untrained ViT."""
    options = {"method": "linear", "backbone": "untrained-vitt16", **options}
    return train(data, out, changes={**CHANGES, "cache.folder": str(cache), **(changes or {})}, **options)

"""Small things to train on."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.model.segmenter import Segmenter
from dinoseg.training import train

#: Seconds instead of minutes; everything else as in the preset.
SMALL: dict[str, Any] = {
    "model.preprocessing.size": 64,
    "train.epochs": 3,
    "train.views": 2,
    "train.min_bank": 0,
    "train.min_epoch_samples": 0,
    "train.advice": False,
}

#: Decoder settings where the size of a decoder is no question.
NARROW: dict[str, dict[str, Any]] = {
    "segdino-v1": {"features": 8, "widths": [8, 8, 8, 8]},
    "dino-unet": {"features_per_stage": [8, 8, 8, 8], "fapm_rank": 8, "spm_width": 8, "heads": 4},
    "dino-augseg": {"final_width": 8},
    "guided": {"width": 8, "image_widths": [4, 6, 8]},
}


def make_data(root: Path, *, count: int = 15, seed: int = 0) -> Path:
    """A folder of small phantoms with splits by group."""
    return write_phantoms(root, kind="ultrasound", count=count, size=(60, 72), seed=seed)


def train_small(
    data: Path | Sequence[Path],
    out: Path,
    cache: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Segmenter:
    """A run of two epochs of a narrow segdino-v2 on the untrained ViT; features lie in `cache`."""
    arguments = {"method": "segdino-v2", "backbone": "untrained-vitt16", **arguments}
    small = {**SMALL, "train.epochs": 2, "cache.folder": str(cache)}
    if arguments["method"] == "segdino-v2":
        small["model.decoder.width"] = 16
    return train(data, out=out, changes={**small, **(changes or {})}, **arguments)


def read_rows(run: Path) -> list[dict[str, str]]:
    """metrics.csv without the seconds."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


def read_decoder(run: Path) -> dict[str, Tensor]:
    """The tensors of the finished model."""
    return load_file(run / "model" / "decoder.safetensors")

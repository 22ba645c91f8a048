"""Runs of tiny untrained models whose every weight counts, to be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dinoseg.backbones import create_backbone
from dinoseg.config import BackboneSettings, PreprocessingSettings, RangeIntensity
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from tests.backbones.tiny import save_folder, tiny_spec
from tests.methods.small import SMALL

BINARY = {0: "background", 1: "lesion"}
FOUR = {0: "background", 1: "liver", 2: "spleen", 3: "kidney"}
VOLUMES: dict[str, Any] = {"intensity": RangeIntensity(minimum=0, maximum=1000)}


def make_run(
    folder: Path,
    method: str,
    *,
    family: str = "dinov3_vit",
    classes: dict[int, str] = BINARY,
    size: int = 32,
    scales: tuple[float, ...] = (1.0,),
    symmetries: int = 1,
    seed: int = 0,
    **volumes: Any,
) -> Path:
    """A run folder with a model, and its backbone beside it; `volumes` as `PreprocessingSettings`."""
    place = folder.with_name(f"{family}-weights")
    if not place.exists():
        save_folder(place, tiny_spec(family))
    settings = ModelSettings(
        backbone=BackboneSettings(name=str(place), scales=scales),
        decoder=decoder_settings(method, **SMALL[method]),
        preprocessing=PreprocessingSettings(size=size, **volumes),
        classes=classes,
        symmetries=symmetries,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Segmenter(settings, create_backbone(place, scales=scales))
        with torch.no_grad():
            for name, weight in model.decoder.named_parameters():
                if name.endswith("gamma") or not weight.any():  # what keeps a branch out as it starts
                    weight.normal_(std=0.2)
    model.save(folder / "model")
    return folder

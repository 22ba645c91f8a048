"""DINO-AugSeg."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dinoseg.config import DecoderSettings, TrainSettings
from dinoseg.methods.card import Card


class DinoAugSegSettings(DecoderSettings):
    """Decoder of DINO-AugSeg: CG-Fuse at three scales."""

    method: Literal["dino-augseg"] = "dino-augseg"
    final_width: int = Field(64, ge=1, description="channels at stride 2")
    heads: int = Field(4, ge=1, description="of the attention; each needs an even number of channels")


CARD = Card(
    name="dino-augseg",
    title="DINO-AugSeg: CG-Fuse",
    source="arXiv 2601.08078",
    settings=DinoAugSegSettings,
    recipe=TrainSettings(
        epochs=2000,
        batch_size=2,
        optimizer="adam",
        weight_decay=0.0,
        loss="half_dice_half_cross_entropy",
        schedule="constant",
        feature_augmentation="wavelet",
        keep="last",
    ),
    decoder="dinoseg.methods.dino_augseg.decoder:DinoAugSeg",
    size=768,
    backbone="dinov3_convnext_tiny",
)

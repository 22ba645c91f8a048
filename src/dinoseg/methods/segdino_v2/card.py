"""SegDINO, second version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dinoseg.config import AugmentationSettings, DecoderSettings, TrainSettings
from dinoseg.methods.card import Card


class SegDINOv2Settings(DecoderSettings):
    """Decoder of SegDINO, second version: TPA + SAD."""

    method: Literal["segdino-v2"] = "segdino-v2"
    width: int = Field(256, ge=1, description="D: 128, 256 or 512 are published")
    norm: Literal["group", "batch"] = "group"


CARD = Card(
    name="segdino-v2",
    title="SegDINO, second version: TPA + SAD",
    source="arXiv 2606.17972",
    settings=SegDINOv2Settings,
    recipe=TrainSettings(
        loss="cross_entropy",
        schedule="constant",
        weight_decay=0.01,
        views=8,
        augmentation=AugmentationSettings(),
    ),
    decoder="dinoseg.methods.segdino_v2.decoder:SegDINOv2",
)

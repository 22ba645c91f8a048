"""SegDINO, first version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dinoseg.config import DecoderSettings, TrainSettings
from dinoseg.methods.card import Card


class SegDINOv1Settings(DecoderSettings):
    """Decoder of SegDINO, first version."""

    method: Literal["segdino-v1"] = "segdino-v1"
    features: int = Field(128, ge=1, description="width after the 3x3 convolutions")
    widths: tuple[int, int, int, int] = Field((96, 192, 384, 768), description="width after each 1x1")
    upsample: bool = Field(
        True, description="enlarge the first layer x4, as released; the paper has no such step"
    )


CARD = Card(
    name="segdino-v1",
    title="SegDINO, first version: light linear decoder",
    source="arXiv 2509.00833",
    settings=SegDINOv1Settings,
    recipe=TrainSettings(loss="cross_entropy", schedule="constant"),
    decoder="dinoseg.methods.segdino_v1.decoder:SegDINOv1",
)

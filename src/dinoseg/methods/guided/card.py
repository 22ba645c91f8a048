"""Guided, our own method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dinoseg.config import AugmentationSettings, DecoderSettings, TrainSettings
from dinoseg.methods.card import Card

Width = Annotated[int, Field(ge=1)]


class GuidedSettings(DecoderSettings):
    """Decoder of Guided: probe, context, image."""

    method: Literal["guided"] = "guided"
    width: int = Field(128, ge=1, description="channels of the context and of the probe's factors")
    blocks: int = Field(2, ge=0, description="residual blocks of the context")
    drop: float = Field(0.3, ge=0, lt=1, description="share of the context's channels dropped in training")
    reach: int = Field(
        1, ge=0, le=8, description="of volumes: slices on either side whose features are read as well"
    )
    image_widths: tuple[Width, Width, Width] = Field(
        (8, 16, 32), description="channels of the image branch at strides 2, 4 and 8"
    )
    image_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of a training batch that the image branch sees; thin lines need all",
    )


RECIPE = TrainSettings(
    epochs=20,
    lr=1e-3,
    weight_decay=0.01,
    loss="dice_cross_entropy",
    schedule="cosine",
    warmup_epochs=1,
    views=8,
    min_bank=400,
    min_epoch_samples=200,
    augmentation=AugmentationSettings(
        rotation=90.0, rotation_probability=0.8, zoom=0.3, zoom_probability=0.8
    ),
)

CARD = Card(
    name="guided",
    title="linear probe of frozen features, sharpened by the image",
    source="ours",
    settings=GuidedSettings,
    recipe=RECIPE,
    decoder="dinoseg.methods.guided.decoder:Guided",
    size=448,
    scales=(1.0, 0.5),
    published=False,
)

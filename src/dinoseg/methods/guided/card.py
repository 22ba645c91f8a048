"""Guided, our own method."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dinoseg.config import AugmentationSettings, DecoderSettings, TrainSettings
from dinoseg.methods.card import Card

Width = Annotated[int, Field(ge=1)]


class GuidedSettings(DecoderSettings):
    """Decoder of Guided: probe and image."""

    method: Literal["guided"] = "guided"
    width: int = Field(128, ge=1, description="channels of the probe's factors")
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
    lr=5e-4,
    weight_decay=0.01,
    loss="dice_cross_entropy",
    schedule="cosine",
    warmup_epochs=1,
    views=8,
    min_bank=400,
    min_epoch_samples=200,
    augmentation=AugmentationSettings(
        rotation=90.0, rotation_probability=0.5, zoom=0.2, zoom_probability=0.5
    ),
)

CARD = Card(
    name="guided",
    title="linear probe of frozen features, sharpened by the image",
    source="ours",
    settings=GuidedSettings,
    recipe=RECIPE,
    decoder="dinoseg.methods.guided.decoder:Guided",
    size=320,
    scales=(1.0, 0.5),
    symmetries=8,
    decision="dice",
    published=False,
)

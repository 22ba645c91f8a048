"""Dino U-Net."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dinoseg.config import AugmentationSettings, DecoderSettings, TrainSettings
from dinoseg.methods.card import Card


class DinoUNetSettings(DecoderSettings):
    """Decoder of Dino U-Net: adapter, FAPM, U-Net."""

    method: Literal["dino-unet"] = "dino-unet"
    features_per_stage: tuple[
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
    ] = Field((32, 64, 128, 256), description="widths of the U-Net, from fine to coarse")
    fapm_rank: int = Field(256, ge=1, description="channels between the two projections of FAPM")
    spm_width: int = Field(64, ge=1, description="width of the spatial prior's stem")
    heads: int = Field(
        16, ge=1, description="of the deformable attention; divides half the width of the features"
    )
    drop_path: float = Field(
        0.3, ge=0, lt=1, description="probability of dropping a branch of the adapter, in training"
    )
    deep_supervision: bool = Field(False, description="classifiers at the coarser stages too")


# nnU-Net's recipe with a lower rate; its planner chooses the batch size from the GPU's memory, 12 is
# ours. Of its augmentation, what a bank of views can do.
RECIPE = TrainSettings(
    epochs=200,
    steps_per_epoch=250,
    batch_size=12,
    optimizer="sgd",
    momentum=0.99,
    lr=1e-3,
    weight_decay=3e-5,
    gradient_clip=12.0,
    loss="dice_cross_entropy",
    schedule="poly",
    views=8,
    augmentation=AugmentationSettings(
        rotation=180.0,
        rotation_probability=0.2,
        zoom=0.3,
        zoom_probability=0.2,
        brightness=0.25,
        contrast=0.25,
        saturation=0.0,
        hue=0.0,
        colour_probability=0.3,
    ),
    keep="last",
)

CARD = Card(
    name="dino-unet",
    title="Dino U-Net: adapter + FAPM + U-Net",
    source="arXiv 2508.20909",
    settings=DinoUNetSettings,
    recipe=RECIPE,
    decoder="dinoseg.methods.dino_unet.decoder:DinoUNet",
    size=512,
)

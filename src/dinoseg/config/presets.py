"""The two recipes of every method: `paper` (as published) and `default` (ours)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from dinoseg.config.settings import AugmentationSettings, Method, PreprocessingSettings, Preset, TrainSettings
from dinoseg.errors import ConfigError

DEFAULT = TrainSettings(
    epochs=50,
    lr=1e-3,
    weight_decay=0.01,
    loss="dice_cross_entropy",
    schedule="cosine",
    warmup_epochs=2,
    views=8,
    min_bank=400,
    min_epoch_samples=200,
    augmentation=AugmentationSettings(zoom=0.2, zoom_probability=0.5),
)

PAPER: Mapping[str, TrainSettings] = {
    "segdino-v1": TrainSettings(loss="cross_entropy", schedule="constant"),
    "segdino-v2": TrainSettings(
        loss="cross_entropy",
        schedule="constant",
        weight_decay=0.01,
        views=8,
        augmentation=AugmentationSettings(),
    ),
    # nnU-Net's recipe with a lower rate; its planner chooses the batch size from the GPU's memory, 12 is
    # ours. Of its augmentation, what a bank of views can do.
    "dino-unet": TrainSettings(
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
    ),
    "dino-augseg": TrainSettings(
        epochs=2000,
        batch_size=2,
        optimizer="adam",
        weight_decay=0.0,
        loss="half_dice_half_cross_entropy",
        schedule="constant",
        feature_augmentation="wavelet",
        keep="last",
    ),
    "linear": TrainSettings(loss="cross_entropy", schedule="constant"),
}

PAPER_SIZES: Mapping[str, int] = {"dino-unet": 512, "dino-augseg": 768}  # the others: 256 px, as by default


def preset(name: str, method: str) -> TrainSettings:
    """The training recipe of a preset: `paper` as published for the method, or `default`, ours.

    Raises:
        ConfigError: the preset or the method is unknown.
    """
    _require_known(name, method)
    return DEFAULT if name == "default" else PAPER[method]


def preset_preprocessing(name: str, method: str) -> PreprocessingSettings:
    """The input of a preset: `paper` at the published size, `default` at 256 px.

    Raises:
        ConfigError: the preset or the method is unknown.
    """
    _require_known(name, method)
    if name == "paper" and method in PAPER_SIZES:
        return PreprocessingSettings(size=PAPER_SIZES[method])
    return PreprocessingSettings()


def _require_known(name: str, method: str) -> None:
    if name not in get_args(Preset):
        raise ConfigError(f"preset {name!r} is unknown; accepted: {', '.join(get_args(Preset))}")
    if method not in get_args(Method):
        raise ConfigError(f"method {method!r} is unknown; accepted: {', '.join(get_args(Method))}")

"""The two recipes of every method: `paper`, as published and on its card, and `default`, ours."""

from __future__ import annotations

from typing import get_args

from dinoseg.config import AugmentationSettings, PreprocessingSettings, Preset, TrainSettings
from dinoseg.errors import ConfigError
from dinoseg.methods import Card, find_method

DEFAULT = TrainSettings(
    epochs=50,
    lr=1e-3,
    weight_decay=0.01,
    loss="dice_cross_entropy",
    schedule="cosine",
    warmup_epochs=2,
    views=2,
    min_bank=400,
    min_epoch_samples=200,
    augmentation=AugmentationSettings(zoom=0.2, zoom_probability=0.5),
)


def preset(name: str, method: str) -> TrainSettings:
    """The training recipe of a preset: `paper` as published for the method, or `default`, ours.

    Raises:
        ConfigError: the preset or the method is unknown.
    """
    card = find_method(method)
    return card.recipe if _is_of_card(name, card) else DEFAULT


def preset_preprocessing(name: str, method: str) -> PreprocessingSettings:
    """The input of a preset: `paper` at the published size, `default` at 320 px, or at our method's own.

    Raises:
        ConfigError: the preset or the method is unknown.
    """
    card = find_method(method)
    return PreprocessingSettings(size=card.size) if _is_of_card(name, card) else PreprocessingSettings()


def preset_scales(name: str, method: str) -> tuple[float, ...]:
    """The input sizes of a preset, relative to that of its preprocessing.

    Raises:
        ConfigError: the preset or the method is unknown.
    """
    card = find_method(method)
    return card.scales if _is_of_card(name, card) else (1.0,)


def _is_of_card(name: str, card: Card) -> bool:
    """Whether a preset means what stands on the card."""
    _require_known(name)
    return name == "paper" or not card.published


def _require_known(name: str) -> None:
    if name not in get_args(Preset):
        raise ConfigError(f"preset {name!r} is unknown; accepted: {', '.join(get_args(Preset))}")

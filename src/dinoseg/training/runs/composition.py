"""From the arguments of `train` to the settings of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any

from dinoseg.config import (
    BackboneSettings,
    PercentileIntensity,
    PreprocessingSettings,
    TrainSettings,
    WindowIntensity,
    list_weights,
    override,
)
from dinoseg.config.loggers import read_loggers
from dinoseg.config.training import Training
from dinoseg.data import Dataset
from dinoseg.data.layouts.dataset import is_ct
from dinoseg.errors import ConfigError
from dinoseg.methods import find_method
from dinoseg.methods.presets import preset as find_preset
from dinoseg.methods.presets import preset_preprocessing, preset_scales
from dinoseg.model.network import reach_of
from dinoseg.model.settings import ModelSettings, RunSettings
from dinoseg.sharing import resolve
from dinoseg.training.runs.run_folder import anchor, anchor_backbone, anchor_data

ARGUMENTS = (
    *("data", "preset", "splits", "shots", "shots_from", "shot_unit", "init"),
    *("model.backbone.name", "model.decoder.method", "model.classes", "train.seed"),
    *("model.preprocessing.channels", "model.preprocessing.slice_spacing"),
)

_HALFWAY = 45.0  # degrees: beyond it a quarter turn is nearer than none
PACKAGED_LOGGERS = ("wandb", "mlflow")  # the others come with dinoseg


def compose_settings(dataset: Dataset, folders: Sequence[Path | str], how: Training) -> RunSettings:
    """All settings of a run from the options of `train`, with data in one folder or several.

    Raises:
        ConfigError: a setting is unknown or not accepted, has an option of its own, or no effect.
    """
    card = find_method(how.method)
    model_settings = ModelSettings(
        backbone=BackboneSettings(
            name=anchor_backbone(str(how.backbone)), scales=preset_scales(how.preset, card.name)
        ),
        decoder=card.configure(),
        preprocessing=_choose_preprocessing(dataset, how.preset, card.name),
        classes=dataset.classes,
        decision=card.decision,
    )
    arguments = override(
        RunSettings(data=anchor_data(folders), model=model_settings, train=_recipe(how, card.name)),
        {
            "preset": how.preset,
            "splits": anchor(Path(how.splits)) if how.splits else None,
            "shots": how.shots,
            "shots_from": how.shots_from,
            "shot_unit": how.shot_unit,
            "init": anchor(resolve(how.init)) if how.init else None,
        },
    )
    changes = how.changes or {}
    if changes.get("model.preprocessing.window") is not None:
        raise ConfigError("setting 'model.preprocessing.window' is that of training; --set train.window=N")
    settings = _choose_window(override(arguments, changes), changes)
    if "model.symmetries" not in changes:
        settings = override(settings, {"model.symmetries": min(card.symmetries, shown_symmetries(settings))})
    _require_arguments(arguments, settings)
    _refuse_idle_augmentation(arguments.train, settings.train)
    _require_intensity(dataset, settings)
    list_weights(settings.train.class_weights, dataset.classes)
    refuse_missing_loggers(settings.train.logger)
    return settings


def refuse_missing_loggers(asked: Any) -> None:
    """Raise `ConfigError` where a logger's package is missing, or a name is none of a logger.

    Args:
        asked: `train.logger` as it was set, perhaps before anything is read; None where it was not.
    """
    try:
        names = read_loggers(asked)
    except ValueError as error:
        raise ConfigError(f"setting 'train.logger': {error}") from error
    for name in names:
        found = find_spec(name) if name in PACKAGED_LOGGERS else None
        # Without an origin it is a folder of this name, such as W&B leaves where it was called.
        if name in PACKAGED_LOGGERS and (found is None or found.origin is None):
            raise ConfigError(
                f"setting 'train.logger' asks for {name}, whose package is not installed: pip install {name}"
            )


def _choose_window(settings: RunSettings, changes: Mapping[str, Any]) -> RunSettings:
    """The settings with the window of the training as that of the model, which sees it at its own size.

    Raises:
        ConfigError: another size is asked for, or the decoder reads whole slices around each.
    """
    window = settings.train.window
    if window is None:
        return settings
    size = changes.get("model.preprocessing.size", window)
    if size != window:
        raise ConfigError(
            f"a window is seen at its own size, so train.window={window} and a size of {size} exclude each "
            "other; leave out --size (model.preprocessing.size), or the window"
        )
    if reach := reach_of(settings.model):
        raise ConfigError(
            f"method {settings.model.decoder.method!r} reads {reach} slices on either side of each, whole; "
            "leave out train.window, or add --set model.decoder.reach=0"
        )
    return override(settings, {"model.preprocessing.size": window, "model.preprocessing.window": window})


def describe_intensity(dataset: Dataset, settings: RunSettings) -> str:
    """One line that says how the intensities of volumes are read and why, or "" for images."""
    intensity = settings.model.preprocessing.intensity
    if intensity is None:
        return ""
    values = ", ".join(f"{key} {value}" for key, value in intensity.model_dump(mode="json").items())
    names = ", ".join(dataset.channel_names) or "not named"
    return f"intensities of the volumes (channels: {names}): {values} (model.preprocessing.intensity)"


def _require_arguments(arguments: RunSettings, settings: RunSettings) -> None:
    """Refuse changes to what has an argument of its own, or is read from the data."""
    for key in ARGUMENTS:
        find = attrgetter(key)
        if find(arguments) != find(settings):
            raise ConfigError(
                f"setting {key!r} cannot be changed here; it comes from the data (dataset.yaml) or from "
                "an option of its own, see `dinoseg train --help`"
            )


def _refuse_idle_augmentation(before: TrainSettings, recipe: TrainSettings) -> None:
    """Refuse a changed augmentation where every image has one view, which is the image as it is."""
    idle = recipe.views == 1 and recipe.min_bank <= 1
    if idle and recipe.augmentation not in (None, before.augmentation):
        raise ConfigError(
            "setting 'train.augmentation' is changed without effect: with train.views=1 and "
            f"train.min_bank={recipe.min_bank} no view is augmented; ask for more: --set train.views=8"
        )


def _choose_preprocessing(dataset: Dataset, preset: str, method: str) -> PreprocessingSettings:
    """That of the preset; for volumes with a CT window where dataset.json says CT, else percentiles."""
    chosen = preset_preprocessing(preset, method)
    if not dataset.is_volumes:
        return chosen
    intensity = WindowIntensity() if is_ct(dataset) else PercentileIntensity()
    return chosen.model_copy(update={"intensity": intensity, "channels": dataset.cases[0].channel_count})


def _require_intensity(dataset: Dataset, settings: RunSettings) -> None:
    if settings.model.preprocessing.for_volumes == dataset.is_volumes:
        return
    given = "null" if dataset.is_volumes else "set"
    kind = "volumes, which need one" if dataset.is_volumes else "images, which have none"
    raise ConfigError(f"setting 'model.preprocessing.intensity' is {given}, and {dataset.root} holds {kind}")


def shown_symmetries(settings: RunSettings) -> int:
    """How many symmetries of the square the training shows: a model is averaged over no others.

    So anatomy that must not be mirrored is not mirrored in prediction either.
    """
    recipe = settings.train
    views, idle = recipe.augmentation, recipe.views == 1 and recipe.min_bank <= 1
    if views is None or idle or not views.horizontal_flip:
        return 1
    if not views.vertical_flip:
        return 2
    if settings.model.preprocessing.for_volumes:
        return 4  # they all lie alike: quarter turns were worse than none in the heart (docs/guided.md)
    return 8 if views.rotation_probability and views.rotation >= _HALFWAY else 4


def _recipe(how: Training, method: str) -> TrainSettings:
    changes = {"seed": how.seed} if how.shots is None else {"seed": how.seed, "keep": "last"}
    return find_preset(how.preset, method).model_copy(update=changes)

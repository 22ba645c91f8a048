"""A method statement to paste into a paper: what was done, in sentences; brackets for what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dinoseg.config import AugmentationSettings, PreprocessingSettings, TrainSettings
from dinoseg.evaluation.paper.study import Study, Training
from dinoseg.methods import METHODS

BLANK = "[to be filled in]"

_OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD with Nesterov momentum"}
_LOSSES = {"dice_cross_entropy": "the sum of Dice loss and cross-entropy", "cross_entropy": "cross-entropy"}


def write_statement(study: Study) -> tuple[str, ...]:
    """The paragraphs, in order."""
    return (
        _tell_data(study),
        *([_tell_model(study)] if study.model is not None else []),
        *([_tell_training(study.training)] if study.training is not None else []),
        _tell_evaluation(study),
        _tell_software(study),
    )


def _tell_data(study: Study) -> str:
    grouped = f" of {study.groups} groups (patients or videos)" if study.groups != study.cases else ""
    text = (
        f"Data. The data set {study.data} {BLANK} was used; {study.cases} {study.kind}{grouped} with the "
        f"{'class' if len(study.classes) == 1 else 'classes'} {', '.join(study.classes)} were scored."
    )
    if study.training is not None:
        splits, settings = study.training.splits, study.training.settings
        kept = "whole groups were kept together" if splits.unit == "group" else "cases were taken one by one"
        known = splits.seed is not None and settings.shots is None  # with shots it is that of the shots
        drawn = f" drawn with seed {splits.seed}" if known else " given with the data"
        text += (
            f" The splits were{drawn} ({kept}): {len(splits.train)} cases for training, "
            f"{len(splits.val)} for validation and {len(splits.test)} for testing."
        )
        if settings.shots is not None:
            first = settings.shots_from == "first"
            taken = "the first of the list" if first else f"drawn with seed {splits.seed}"
            text += f" Training used only {settings.shots} labelled {settings.shot_unit}s, {taken}."
    if study.unscored:
        text += f" {study.unscored} cases could not be read and are in no mean."
    return f"{text} {study.leaks[:1].upper()}{study.leaks[1:]}.".strip() if study.leaks else text


def _tell_model(study: Study) -> str:
    model = study.model
    if model is None:
        return ""
    card = METHODS.get(model.decoder.method)
    title = f"{card.title} ({card.source})" if card is not None else model.decoder.method
    return (
        f"Model. The decoder {title} was applied to features of the frozen backbone "
        f"{model.backbone.name.rpartition('/')[2]}, layers {_layers(model.backbone.layers)}. "
        f"{_tell_input(model.preprocessing)}"
    )


def _layers(layers: tuple[int, ...] | None) -> str:
    return "as published" if layers is None else ", ".join(map(str, layers))


def _tell_input(settings: PreprocessingSettings) -> str:
    text = f"Inputs were resized to {settings.size}×{settings.size} px"
    if settings.intensity is None:
        return f"{text} and normalised with the mean and deviation of the backbone."
    values = ", ".join(f"{key} {value}" for key, value in settings.intensity.model_dump(mode="json").items())
    cut = ", ".join(settings.planes)
    return f"{text}; volumes were cut into {cut} slices, with intensities read as {values}."


def _tell_training(training: Training) -> str:
    recipe, settings = training.settings.train, training.settings
    loss = _LOSSES.get(recipe.loss, recipe.loss.replace("_", " "))
    return (
        f"Training. The decoder was trained with {_OPTIMISERS[recipe.optimizer]} (learning rate "
        f"{recipe.lr:g}, weight decay {recipe.weight_decay:g}, {recipe.schedule} schedule), "
        f"{_length(recipe)}, batches of {recipe.batch_size}, loss {loss}, "
        f"{_tell_views(recipe.augmentation)}; the recipe is “{settings.preset}”, the seed {recipe.seed}. "
        f"The {recipe.keep} epoch was kept{' (highest validation Dice)' if recipe.keep == 'best' else ''}. "
        f"{_tell_beginning(settings.init is not None)}"
    )


def _length(recipe: TrainSettings) -> str:
    steps = "" if recipe.steps_per_epoch is None else f" of {recipe.steps_per_epoch} steps"
    return f"{recipe.epochs} epochs{steps}"


def _tell_views(settings: AugmentationSettings | None) -> str:
    if settings is None:
        return "no augmentation"
    parts = [
        "mirroring" if settings.horizontal_flip or settings.vertical_flip else "",
        f"rotation up to {settings.rotation:g}°" if settings.rotation_probability else "",
        f"zoom up to {settings.zoom:.0%}" if settings.zoom_probability and settings.zoom else "",
        "changes of colour" if settings.colour_probability else "",
    ]
    return f"augmentation by {', '.join(part for part in parts if part) or 'nothing'}"


def _tell_beginning(initialised: bool) -> str:
    return (
        "Its weights began as those of another run." if initialised else "Its weights began as random ones."
    )


def _tell_evaluation(study: Study) -> str:
    part = {"": "given masks", "all": "all cases"}.get(study.split, f"the {study.split} split")
    applied = "; ".join(f"{name.lower()}: {words}" for name, words in study.applied.items())
    grid = (
        "at the size of the original images"
        if study.protocol == "native"
        else "at the training size, as the published programs do (not comparable with the native protocol)"
    )
    missed = (
        "a missed target scores 0, and the diagonal of the image as a distance"
        if study.protocol == "native"
        else "a missed target scores 0, and is left out of the distances"
    )
    return (
        f"Evaluation. Scores are of {part}, {grid}{f' ({applied})' if applied else ''}: Dice, IoU, the 95th "
        "percentile of the surface distances (HD95), their mean (ASSD), and the share of surface within "
        f"{study.tolerance} (NSD), per class and case; {missed}. "
        "Means have 95 % percentile bootstrap intervals over groups (seed "
        f"{study.seed}); lesions are connected components matched by overlap."
    )


def _tell_software(study: Study) -> str:
    versions = [f"dinoseg {study.version}", *_list_versions(study)]
    return f"Software. {', '.join(versions)}. Code and weights: {BLANK}."


def _list_versions(study: Study) -> Iterator[str]:
    environment: Mapping[str, Any] = {} if study.training is None else study.training.environment
    if "python" in environment:
        yield f"Python {environment['python']}"
    for name, version in dict(environment.get("packages", {})).items():
        yield f"{name} {version}"
    if environment.get("gpu") or environment.get("processor"):
        yield f"trained on {environment.get('gpu') or environment['processor']}"

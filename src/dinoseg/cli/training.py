"""What the commands that train share: options become one `Training`, and the machine is made ready."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from dinoseg.cli.options import DEFAULT_BACKBONE, DEFAULT_METHOD

if TYPE_CHECKING:
    from dinoseg.config.training import Training
    from dinoseg.progress import Progress

GO_ON = "run the same command with --resume to go on"
# Options that stand for a setting: parameter of the command -> setting.
SETTINGS = {
    "precision": "model.backbone.precision",
    "engine": "model.backbone.engine",
    "size": "model.preprocessing.size",
    "batch_size": "train.batch_size",
    "epochs": "train.epochs",
    "lr": "train.lr",
}
DEFAULTS = {"method": DEFAULT_METHOD, "methods": DEFAULT_METHOD, "backbone": DEFAULT_BACKBONE}
# Variables that are read, so that a run records them: variable -> logger, setting.
LOGGER_VARIABLES = {
    "MLFLOW_TRACKING_URI": ("mlflow", "train.mlflow_uri"),
    "WANDB_MODE": ("wandb", "train.wandb_mode"),
}
# What the loggers' libraries would report to their makers if nobody said otherwise.
NO_REPORTS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
_TOPICS = {"method": "methods", "methods": "methods", "backbone": "backbones"}


def choose_training(given: Mapping[str, Any], progress: Progress) -> Training:
    """How a command shall train; torch may use its threads, memory and device from here on.

    Args:
        given: the options of the command by the names of its parameters, which are those of the fields
            of `Training`; and `assignments`, `threads` and those of `SETTINGS`.
        progress: told what was taken where nothing was given.

    Raises:
        UsageError: an option or a setting is not accepted, or the device is not there.
    """
    from dinoseg.cli.devices import check_device, keep_freed_memory, limit_threads
    from dinoseg.cli.settings import collect_changes
    from dinoseg.config.training import Training

    options = {setting: given[name] for name, setting in SETTINGS.items()}
    changes = _take_variables(collect_changes(given["assignments"], options), progress)
    limit_threads(given["threads"])
    keep_freed_memory()
    check_device(given["device"], training=True)
    named = {field.name: given[field.name] for field in fields(Training) if field.name in given}
    return Training(**{**take_defaults(named, progress), "changes": changes})


def take_defaults(given: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The options with method and backbone filled in where they were not given, which is told."""
    taken = {name: DEFAULTS[name] for name in given if name in DEFAULTS and given[name] is None}
    for name, value in taken.items():
        progress.note(f"--{name} {value}, the default; `dinoseg info {_TOPICS[name]}` lists the others")
    return {**given, **taken}


def _take_variables(changes: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The changes, with what the environment says of the loggers that they ask for, which is told."""
    asked, taken = str(changes.get("train.logger", "")), dict(changes)
    for variable, (logger, setting) in LOGGER_VARIABLES.items():
        if logger in asked and setting not in changes and os.environ.get(variable):
            taken[setting] = os.environ[variable]
            progress.note(f"{setting}={taken[setting]} (from {variable})")
    if any(logger in asked for logger, _ in LOGGER_VARIABLES.values()):
        for variable, value in NO_REPORTS.items():
            os.environ.setdefault(variable, value)
    return taken

"""What the commands that train share: options become one `Training`, and the machine is made ready."""

from __future__ import annotations

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
    changes = collect_changes(given["assignments"], options)
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

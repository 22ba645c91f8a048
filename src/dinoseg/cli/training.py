"""What the commands that train share: options become one `Training`, and the machine is made ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoseg.config.training import Training

GO_ON = "run the same command with --resume to go on"


def choose_training(given: Mapping[str, Any]) -> Training:
    """How a command shall train; torch may use its threads, memory and device from here on.

    Args:
        given: the options of the command by the names of its parameters, which are those of the fields
            of `Training`; and `assignments`, `precision`, `batch_size`, `threads`.

    Raises:
        UsageError: an option or a setting is not accepted, or the device is not there.
    """
    from dinoseg.cli.devices import check_device, keep_freed_memory, limit_threads
    from dinoseg.cli.settings import collect_changes
    from dinoseg.config.training import Training

    options = {
        "model.backbone.precision": given["precision"],
        "train.batch_size": given["batch_size"],
    }
    changes = collect_changes(given["assignments"], options)
    limit_threads(given["threads"])
    keep_freed_memory()
    check_device(given["device"], training=True)
    named = {field.name: given[field.name] for field in fields(Training) if field.name in given}
    return Training(**{**named, "changes": changes})

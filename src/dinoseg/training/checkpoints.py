"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dinoseg.config import TrainSettings
from dinoseg.outputs import atomic_path

LAST, BEST = "last", "best"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint and moves it into place, so that a reader never sees half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, replacing an older one in one move."""
        with atomic_path(Path(path), overwrite=True) as temporary:
            torch.save(checkpoint, temporary)


def create_checkpoints(folder: Path, settings: TrainSettings, *, validated: bool) -> list[Callback]:
    """Callbacks that keep `last` (every epoch) and, where there is validation, `best`."""
    callbacks: list[Callback] = [
        ModelCheckpoint(
            dirpath=folder, filename=LAST, save_on_train_epoch_end=True, enable_version_counter=False
        )
    ]
    if validated:
        callbacks.append(
            ModelCheckpoint(
                dirpath=folder,
                filename=BEST,
                monitor="val_dice",
                mode="max",
                save_weights_only=True,
                every_n_epochs=settings.validate_every,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
    if validated and settings.patience is not None:
        callbacks.append(
            EarlyStopping(
                monitor="val_dice", mode="max", patience=settings.patience, check_on_train_epoch_end=False
            )
        )
    return callbacks

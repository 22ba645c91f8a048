"""What Lightning does between the steps: checkpoints that survive a kill at any moment, and patience."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dinoseg.config import TrainSettings
from dinoseg.outputs import atomic_path
from dinoseg.training.learning.checkpoints import BEST, LAST, read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint and moves it into place, so that a reader never sees half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, replacing an older one in one move."""
        data = io.BytesIO()
        torch.save(checkpoint, data)  # to a file, torch would hide that the disk is full
        with atomic_path(Path(path), overwrite=True) as temporary:
            temporary.write_bytes(data.getbuffer())

    def load_checkpoint(self, path: Any, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote."""
        return read_checkpoint(Path(path))


class Checkpoint(ModelCheckpoint):
    """Keeps the later of equal epochs, and its record also where the run folder has moved meanwhile."""

    def check_monitor_top_k(self, trainer: Trainer, current: torch.Tensor | None = None) -> bool:
        """Whether this epoch is as good as the best so far: of equal ones the longer training counts."""
        best = self.best_k_models.get(self.kth_best_model_path)
        equal = current is not None and best is not None and bool(current == best)
        return equal or bool(super().check_monitor_top_k(trainer, current))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint, with all recorded files taken to lie in this run's folder."""
        moved = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = self._here(state_dict[name])
        best = state_dict["best_k_models"]
        moved["best_k_models"] = {self._here(path): score for path, score in best.items()}
        super().load_state_dict(moved)

    def _here(self, path: str) -> str:
        return str(Path(self.dirpath or "") / Path(path).name) if path else path


class Patience(EarlyStopping):
    """Stops a run; and a stopped run that is resumed, before another epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once where the run was stopped already."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def create_checkpoints(
    folder: Path, settings: TrainSettings, *, validated: bool, choosing: bool
) -> list[Callback]:
    """Callbacks that keep `last` (every epoch) and, where there is validation, `best`.

    That is the last one as well where the validation cases show no class and cannot choose.
    """
    callbacks: list[Callback] = [
        Checkpoint(dirpath=folder, filename=LAST, save_on_train_epoch_end=True, enable_version_counter=False)
    ]
    if validated and choosing:
        callbacks.append(
            Checkpoint(
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
    elif validated:
        callbacks.append(
            Checkpoint(
                dirpath=folder,
                filename=BEST,
                mode="max",  # tells its record from that of the first
                save_weights_only=True,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            )
        )
    if choosing and settings.patience is not None:
        # Lightning counts validations, the setting epochs.
        patience = -(-settings.patience // settings.validate_every)
        callbacks.append(
            Patience(monitor="val_dice", mode="max", patience=patience, check_on_train_epoch_end=False)
        )
    return callbacks

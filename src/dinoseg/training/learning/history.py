"""What a person sees of a run while it learns: the bar, a line per epoch, metrics.csv."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dinoseg.outputs import write_csv
from dinoseg.progress import Progress

COLUMNS = ("epoch", "train_loss", "val_loss", "val_dice", "lr", "seconds")
Row = dict[str, float]


class History(Callback):
    """Collects one row per epoch; part of the checkpoint, so a resumed run continues its table."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self.rows: list[Row] = []
        self._path = path
        self._progress = progress
        self._bar: Iterator[int] = iter(())
        self._started = 0.0
        self._validated = False

    def state_dict(self) -> dict[str, Any]:
        """The table so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the table of a checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar over all steps that are left."""
        left = int(trainer.estimated_stepping_batches) - trainer.global_step
        self._bar = self._progress.track(range(left), total=left, label="training")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter()
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has validation scores of its own; Lightning keeps showing older ones."""
        self._validated = True

    def on_train_batch_end(self, *arguments: Any, **keywords: Any) -> None:
        """Advance the bar."""
        next(self._bar, None)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row, write the table, tell the person."""
        shown = trainer.callback_metrics.items()
        metrics = {name: float(value) for name, value in shown if self._validated or name == "train_loss"}
        row = {name: metrics.get(name, math.nan) for name in COLUMNS}
        row["epoch"] = trainer.current_epoch + 1
        row["lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        row["seconds"] = round(time.perf_counter() - self._started, 3)
        self.rows.append(row)
        if trainer.is_global_zero:
            write_csv(self._path, self.rows, overwrite=True)
            self._progress.note(_describe(row, self.rows, trainer.max_epochs or 0))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar, also when the run ended early."""
        for _ in self._bar:
            pass


def _describe(row: Row, rows: Sequence[Row], epochs: int) -> str:
    text = f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.4f}"
    if not math.isnan(row["val_dice"]):
        best = max(other["val_dice"] for other in rows if not math.isnan(other["val_dice"]))
        text += f"  validation Dice {row['val_dice']:.4f} (best {best:.4f})"
    elif not math.isnan(row["val_loss"]):
        text += f"  validation loss {row['val_loss']:.4f}"
    return f"{text}  {row['seconds']:.1f} s"

"""What a person sees of a run: the bar, a line per epoch, metrics.csv and the learning-curve picture."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dinoseg.outputs import atomic_path, write_csv
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


def draw_learning_curve(rows: Sequence[Mapping[str, float]], path: Path, *, title: str) -> None:
    """Write a picture of losses and validation Dice over epochs, replacing an older one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, dice = figure.subplots(1, 2)
    dots = "." if len(rows) < 10 else ""  # a line through one point is invisible
    losses.plot(epochs, [row["train_loss"] for row in rows], label="training", color="#0072b2", marker=dots)
    validated = [row for row in rows if not math.isnan(row["val_dice"])]
    if validated:
        seen = [row["epoch"] for row in validated]
        scores = [row["val_loss"] for row in validated]
        losses.plot(seen, scores, label="validation", color="#d55e00", marker=dots)
        dice.plot(seen, [row["val_dice"] for row in validated], color="#d55e00", marker=dots)
        best = max(validated, key=lambda row: row["val_dice"])
        label = f"best: {best['val_dice']:.3f}, epoch {best['epoch']:.0f}"
        dice.plot([best["epoch"]], [best["val_dice"]], "o", color="#d55e00", label=label)
        dice.legend(frameon=False)  # where no line is; beside its point the words lay on the line
    else:
        dice.text(0.5, 0.5, "no validation images", ha="center", transform=dice.transAxes)
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)
    dice.set(xlabel="epoch", ylabel="validation Dice, native size", ylim=(0, 1))
    for axis in (losses, dice):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=120)


def _describe(row: Row, rows: Sequence[Row], epochs: int) -> str:
    text = f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.4f}"
    if not math.isnan(row["val_dice"]):
        best = max(other["val_dice"] for other in rows if not math.isnan(other["val_dice"]))
        text += f"  validation Dice {row['val_dice']:.4f} (best {best:.4f})"
    return f"{text}  {row['seconds']:.1f} s"

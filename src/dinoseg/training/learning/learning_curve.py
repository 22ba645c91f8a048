"""The picture of a run: losses and validation Dice over its epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from dinoseg.outputs import atomic_path


def draw_learning_curve(rows: Sequence[Mapping[str, float]], path: Path, *, title: str) -> None:
    """Write a picture of losses and validation Dice over epochs, replacing an older one."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, dice = figure.subplots(1, 2)
    dots = "." if len(rows) < 10 else ""  # a line through one point is invisible
    losses.plot(epochs, [row["train_loss"] for row in rows], label="training", color="#0072b2", marker=dots)
    validated = _known(rows, "val_loss")
    if validated:
        seen, values = zip(*validated, strict=True)
        losses.plot(seen, values, label="validation", color="#d55e00", marker=dots)
    scored = [row for row in rows if not math.isnan(row["val_dice"])]
    if scored:
        seen, values = zip(*_known(scored, "val_dice"), strict=True)
        dice.plot(seen, values, color="#d55e00", marker=dots)
        best = max(scored, key=lambda row: (row["val_dice"], row["epoch"]))  # as the checkpoints
        label = f"best: {best['val_dice']:.3f}, epoch {best['epoch']:.0f}"
        dice.plot([best["epoch"]], [best["val_dice"]], "o", color="#d55e00", label=label)
        dice.legend(frameon=False)  # where no line is; beside its point the words lay on the line
    else:
        words = "no validation case shows a class" if validated else "no validation images"
        dice.text(0.5, 0.5, words, ha="center", transform=dice.transAxes)
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


def _known(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """(epoch, value) of the epochs that have one."""
    return [(row["epoch"], row[name]) for row in rows if not math.isnan(row[name])]

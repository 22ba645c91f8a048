"""The picture of few_labels.csv: Dice against seconds of training, a panel for each setting."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from dinoseg.outputs import atomic_path
from dinoseg.training.series.curve_picture import COLOURS, MARKERS

Row = dict[str, str]


def draw_picture(table: Path, path: Path) -> None:
    """Write a PNG: every method of the table where its Dice and its seconds are, with sd over draws."""
    from matplotlib.figure import Figure

    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    methods = sorted({row["method"] for row in rows}, key=lambda name: (name != "guided", name))
    columns = -(-len(settings) // 2)
    figure = Figure(figsize=(3.1 * columns, 6), layout="constrained")
    panels = list(figure.subplots(2, columns, squeeze=False).flat)
    for spare in panels[len(settings) :]:
        spare.remove()
    for axes, setting in zip(panels, settings, strict=False):
        _draw_setting(axes, setting, [row for row in rows if row["setting"] == setting], methods)
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw_setting(axes: Any, setting: str, rows: list[Row], methods: list[str]) -> None:
    for row in rows:
        place = methods.index(row["method"])
        axes.errorbar(
            float(row["train_cpu_s"] or row["train_s"]),  # the clock counts others' work too
            float(row["dice"]),
            yerr=float(row["dice_sd"] or 0),
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place // len(COLOURS) % len(MARKERS)],
            markersize=9 if row["method"] == "guided" else 6,
            linestyle="none",
            capsize=2,
            label=row["method"],
        )
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter("")  # they collide where less than a decade is shown
    axes.set_title(setting, fontsize=10, loc="left")
    axes.set_xlabel("seconds of training, one thread", fontsize=8)
    axes.set_ylabel("test Dice", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)

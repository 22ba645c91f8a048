"""The picture of teach.csv and teach_rounds.csv: Dice, and seconds of a round, against painted images."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinoseg.outputs import atomic_path

Row = dict[str, Any]
STYLES = {
    "teach": ("#0072b2", "o", "dinoseg teach"),
    "forest": ("#d55e00", "s", "random forest, same strokes"),
}
TITLES = {"kvasir": "Kvasir: polyps", "isic": "ISIC 2017: skin lesions", "hippocampus": "Hippocampus: slices"}


def draw_picture(rows: Sequence[Row], rounds: Sequence[Row], path: Path) -> None:
    """Write a PNG with a panel for each data set, and one for the seconds of a round."""
    from matplotlib.figure import Figure

    data = list(dict.fromkeys(row["data"] for row in rows))
    figure = Figure(figsize=(3.1 * (len(data) + bool(rounds)), 3), layout="constrained")
    panels = list(figure.subplots(1, len(data) + bool(rounds), squeeze=False).flat)
    for axes, name in zip(panels, data, strict=False):
        _draw_dice(axes, TITLES.get(name, name), [row for row in rows if row["data"] == name])
    panels[0].legend(frameon=False, fontsize=8, loc="lower right")
    if rounds:
        _draw_seconds(panels[-1], rounds)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _draw_dice(axes: Any, title: str, rows: Sequence[Row]) -> None:
    for method, (colour, marker, label) in STYLES.items():
        stages = sorted({int(row["images"]) for row in rows})
        found = [
            [float(row["dice"]) for row in rows if row["method"] == method and int(row["images"]) == stage]
            for stage in stages
        ]
        means = [statistics.mean(each) for each in found]
        spread = [statistics.stdev(each) if len(each) > 1 else 0.0 for each in found]
        axes.errorbar(stages, means, yerr=spread, color=colour, marker=marker, capsize=2, label=label)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("images with a few strokes", fontsize=8)
    axes.set_ylabel("Dice on 100 other images", fontsize=8)
    axes.set_ylim(0, 1)
    axes.set_xticks(stages)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _draw_seconds(axes: Any, rounds: Sequence[Row]) -> None:
    for count, colour, marker in ((20, "#009e73", "o"), (200, "#cc79a7", "s")):
        rows = [row for row in rounds if int(row["images"]) == count]
        axes.plot(
            [int(row["painted"]) for row in rows],
            [float(row["round_s"]) for row in rows],
            color=colour,
            marker=marker,
            label=f"{count} images",
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_title("From a stroke to all masks", fontsize=10, loc="left")
    axes.set_xlabel("images painted before", fontsize=8)
    axes.set_ylabel("seconds, 2 cores", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)

"""The picture of a learning curve: Dice over the number of shots, a line per method."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from dinoseg.outputs import atomic_path
from dinoseg.training.series.outcomes import Repeats

# Okabe and Ito: told apart by colour-blind eyes; the markers by grey printers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DODGE = 0.012  # of the width, between the methods' bars
CROWDED = 0.05  # of the width: tick labels nearer than this are turned
UNREADABLE = 0.025  # nearer than this even turned ones would touch; the tick stays without its number


def draw_curve(
    repeats: Sequence[Repeats],
    path: Path,
    *,
    title: str,
    subtitle: str,
    split: str,
    unit: Literal["case", "group"],
) -> None:
    """Write a PNG, replacing an older one: means with sd over draws, and every draw as a small dot.

    Args:
        repeats: one per method and number of shots.
        path: of the picture.
        title: in one line.
        subtitle: what was trained, in one line.
        split: that was scored.
        unit: what one shot is.
    """
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(item.method for item in repeats))
    ticks = sorted({item.shots for item in repeats})
    figure = Figure(figsize=(7.2, 4.9), layout="constrained")
    axes = figure.subplots()
    for index, method in enumerate(methods):
        members = sorted((item for item in repeats if item.method == method), key=lambda item: item.shots)
        shift = _shift(index, len(methods), ticks)
        _draw_method(axes, members, shift, COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
    _label_shots(axes, ticks)
    _limit_dice(axes, repeats)
    draws = max(len(item.draws) for item in repeats)
    spread = f", mean ± sd over {draws} draws" if draws > 1 else ", one draw"
    axes.set_xlabel(f"training {unit}s (logarithmic scale)")
    axes.set_ylabel(f"{split} Dice, native size{spread}")
    axes.set_title(title, fontsize=12, loc="left", pad=24)
    axes.text(0, 1.025, subtitle, fontsize=9, color="#555555", transform=axes.transAxes)
    # Below the axes it can cover no line, however many there are.
    figure.legend(loc="outside lower center", ncols=min(len(methods), 3), frameon=False, fontsize=9)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=150)


def _draw_method(axes: Any, members: Sequence[Repeats], shift: float, colour: str, marker: str) -> None:
    places = [item.shots * shift for item in members]
    sds = [0.0 if math.isnan(item.dice.sd) else item.dice.sd for item in members]
    axes.errorbar(
        places,
        [item.dice.mean for item in members],
        yerr=sds if any(sds) else None,
        color=colour,
        marker=marker,
        markersize=6,
        linewidth=1.8,
        elinewidth=1.2,
        capsize=3,
        label=members[0].method,
        zorder=3,
    )
    for place, item in zip(places, members, strict=True):
        if len(item.draws) > 1:
            dice = [draw.scores["dice"] for draw in item.draws]
            axes.plot([place] * len(dice), dice, ".", color=colour, alpha=0.5, markersize=6, zorder=4)


def _shift(index: int, methods: int, ticks: Sequence[int]) -> float:
    """Factor that moves a method's points aside, so that error bars do not cover each other."""
    step = min(DODGE, 0.5 * min(_gaps(ticks), default=1.0) / methods)
    return math.exp((index - (methods - 1) / 2) * step * _width(ticks))


def _label_shots(axes: Any, ticks: Sequence[int]) -> None:
    """A logarithmic axis with a tick at each number of shots and nowhere else."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    labels, since = [str(ticks[0])], 0.0
    for tick, gap in zip(ticks[1:], _gaps(ticks), strict=True):
        since += gap
        labels.append(str(tick) if since >= UNREADABLE else "")
        since = since if since < UNREADABLE else 0.0
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.xaxis.set_minor_locator(NullLocator())
    margin = math.exp(0.07 * _width(ticks))
    axes.set_xlim(ticks[0] / margin, ticks[-1] * margin)
    if min(_gaps(ticks), default=1.0) < CROWDED:
        axes.tick_params(axis="x", labelrotation=90)


def _width(ticks: Sequence[int]) -> float:
    """Natural logarithm of last over first; that of 4 where there is one."""
    return math.log(ticks[-1] / ticks[0]) or math.log(4)


def _gaps(ticks: Sequence[int]) -> list[float]:
    """Distances of neighbours as shares of the width."""
    return [math.log(after / before) / _width(ticks) for before, after in itertools.pairwise(ticks)]


def _limit_dice(axes: Any, repeats: Sequence[Repeats]) -> None:
    """Whole tenths around everything that is drawn; a cut axis shows its ends in numbers."""
    ends = [draw.scores["dice"] for item in repeats for draw in item.draws]
    for item in repeats:
        if math.isfinite(item.dice.sd):
            ends += [item.dice.mean - item.dice.sd, item.dice.mean + item.dice.sd]
    low, high = math.floor(min(ends) * 10 - 0.2) / 10, math.ceil(max(ends) * 10 + 0.2) / 10
    axes.set_ylim(max(low, 0.0), min(high, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)

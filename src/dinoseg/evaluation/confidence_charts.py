"""The picture of a model's confidence: reliability of its pixels, and risk over coverage of its cases."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from dinoseg.evaluation.charts import Theme, style_axes
from dinoseg.evaluation.reliability import Bin, Reliability


def draw_confidence(found: Reliability, theme: Theme) -> bytes:
    """Return a PNG with a transparent ground: two panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, found, theme)
    _draw_risks(right, found, theme)
    figure.patch.set_alpha(0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_reliability(axes: Any, found: Reliability, theme: Theme) -> None:
    axes.plot([0, 1], [0, 1], color=theme.grid, linewidth=1.2, label="perfect")
    before, after = theme.outcomes["false_alarm"], theme.outcomes["scored"]
    _draw_bins(axes, found.before, before, "s", "before" if found.after else "not calibrated")
    _draw_bins(axes, found.after, after, "o", "calibrated")
    low = min((each.confidence for each in (*found.before, *found.after) if each.share > 0), default=0.0)
    axes.set_xlim(max(0.0, low - 0.1), 1.01)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share that is right")
    axes.set_title("Pixels: reliability", loc="left", fontsize=11, color=theme.text)
    _finish(axes, theme, "lower right")


def _draw_bins(axes: Any, bins: Sequence[Bin], colour: str, marker: str, label: str) -> None:
    filled = [each for each in bins if each.share > 0]
    if filled:
        places, heights = [each.confidence for each in filled], [each.accuracy for each in filled]
        axes.plot(places, heights, color=colour, marker=marker, markersize=5, linewidth=1.5, label=label)


def _draw_risks(axes: Any, found: Reliability, theme: Theme) -> None:
    count = len(found.curve)
    coverage = np.arange(1, count + 1) / count
    axes.plot(coverage, found.curve, color=theme.outcomes["scored"], linewidth=1.8, label="by expected Dice")
    axes.plot(coverage, found.oracle, color=theme.text, linewidth=1.2, linestyle=(0, (4, 2)), label="oracle")
    axes.axhline(found.aurc_random, color=theme.outcomes["false_alarm"], linewidth=1.2, label="random order")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of the cases that is kept")
    axes.set_ylabel("mean 1 − Dice of those")
    axes.set_title("Cases: risk over coverage", loc="left", fontsize=11, color=theme.text)
    _finish(axes, theme, "best")


def _finish(axes: Any, theme: Theme, place: str) -> None:
    style_axes(axes, theme, "both")
    axes.legend(loc=place, frameon=False, fontsize=8, labelcolor=theme.text)

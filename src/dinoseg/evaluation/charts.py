"""How Dice spreads over the cases: the picture of a report, for light and dark pages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dinoseg.evaluation.metrics import ClassScore, Outcome
from dinoseg.evaluation.summary import ClassSummary

_HISTOGRAMS = 4  # with more classes one line each
_SHOWN = ("scored", "missed", "false_alarm")
_BINS = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Theme:
    """Colours of a chart: text, lines, and one per outcome."""

    text: str
    grid: str
    outcomes: dict[Outcome, str]


LIGHT = Theme(
    text="#1c2430",
    grid="#d5dae1",
    outcomes={"scored": "#2b6cb0", "missed": "#c53030", "false_alarm": "#dd8a1e", "both_empty": "#9aa5b1"},
)
DARK = Theme(
    text="#e6eaf0",
    grid="#3a4452",
    outcomes={"scored": "#63a4e8", "missed": "#f26d6d", "false_alarm": "#f0b04f", "both_empty": "#7d8794"},
)
LABELS: dict[Outcome, str] = {
    "scored": "scored",
    "missed": "missed",
    "false_alarm": "false alarm",
    "both_empty": "both empty",
}


def draw_distribution(scores: Sequence[ClassScore], summaries: Sequence[ClassSummary], theme: Theme) -> bytes:
    """Return a PNG with a transparent ground: Dice over the cases, by class and region.

    Up to four of them get a histogram each, more get a line each (5th to 95th percentile,
    quartiles, median).

    Args:
        scores: of all classes and regions of all cases.
        summaries: of the same scores; the rows of means are not drawn.
        theme: colours of the page.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in summaries if row.kind != "mean"]
    few = len(rows) <= _HISTOGRAMS
    height = 0.9 + 1.9 * len(rows) if few else 0.9 + 0.32 * len(rows)
    figure = Figure(figsize=(7.2, height), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    (_draw_histograms if few else _draw_lines)(figure, scores, rows, theme)
    figure.patch.set_alpha(0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_histograms(
    figure: Any, scores: Sequence[ClassScore], rows: Sequence[ClassSummary], theme: Theme
) -> None:
    all_axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, row in zip(all_axes, rows, strict=True):
        members = _members(scores, row)
        present = [outcome for outcome in LABELS if any(s.outcome == outcome for s in members)]
        axes.hist(
            [[score.dice for score in members if score.outcome == outcome] for outcome in present],
            bins=_BINS,
            stacked=True,
            color=[theme.outcomes[outcome] for outcome in present],
            label=[LABELS[outcome] for outcome in present],
            rwidth=0.92,
        )
        interval = row.metric("dice").interval
        axes.axvline(interval.mean, color=theme.text, linewidth=1.6, linestyle=(0, (4, 2)), label="mean")
        if np.isfinite(interval.low):
            axes.axvspan(
                interval.low, interval.high, color=theme.text, alpha=0.14, linewidth=0, label="95% interval"
            )
        axes.set_ylabel("cases")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_title(row.title, loc="left", fontsize=11, color=theme.text)
        style_axes(axes, theme, "y")
    # One legend for all panels, above them: inside it would cover the bars of the misses.
    entries: dict[str, Any] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper left",
        ncols=6,
        frameon=False,
        fontsize=9,
        labelcolor=theme.text,
    )
    all_axes[-1].set_xlabel("Dice")
    all_axes[-1].set_xlim(0, 1)


def _draw_lines(
    figure: Any, scores: Sequence[ClassScore], rows: Sequence[ClassSummary], theme: Theme
) -> None:
    axes = figure.subplots()
    colour = theme.outcomes["scored"]
    for place, row in enumerate(rows):
        dice = [score.dice for score in _members(scores, row) if score.outcome in _SHOWN]
        if not dice:
            continue
        low, first, median, third, high = np.percentile(dice, [5, 25, 50, 75, 95])
        axes.hlines(place, low, high, color=colour, linewidth=1.2)
        axes.hlines(place, first, third, color=colour, linewidth=6, alpha=0.6)
        axes.plot(median, place, "o", color=theme.text, markersize=4)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel(
        "Dice where the class is in target or prediction: median, quartiles, 5th to 95th percentile",
        loc="right",  # beside long names the axes are narrower than this line
    )
    axes.set_xlim(0, 1)
    style_axes(axes, theme, "x")


def _members(scores: Sequence[ClassScore], row: ClassSummary) -> list[ClassScore]:
    wanted = (row.class_id, row.class_name)
    return [score for score in scores if (score.class_id, score.class_name) == wanted]


def style_axes(axes: Any, theme: Theme, grid: str) -> None:
    """Give axes the colours of a theme, no frame, and the grid lines "x", "y" or "both"."""
    axes.patch.set_alpha(0)
    axes.tick_params(colors=theme.text, labelsize=9)
    axes.xaxis.label.set_color(theme.text)
    axes.yaxis.label.set_color(theme.text)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.grid)
    axes.grid(axis=grid, color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)

"""The picture of a comparison: the difference of every case, sorted, as bars of one drawing."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from dinoseg.evaluation.comparison.results import Comparison, Duel
from dinoseg.evaluation.definitions import DISTANCES
from dinoseg.evaluation.page_parts import show_number

_MIDDLE = 50  # of a drawing 100 high


def draw_differences(found: Comparison, duel: Duel) -> str:
    """Return a figure with inline SVG: bars up where the first is higher, the mean and its interval across.

    The drawing has no letters, so that it can be stretched to any width; what it shows is in the caption.
    """
    scores = found.scores
    first, second = (scores.names.index(name) for name in (duel.first, duel.second))
    sorted_ = np.sort(scores.values[first] - scores.values[second])[::-1]
    reach = max(float(np.abs(sorted_).max()), 1e-9)
    distance = scores.metric in DISTANCES
    most, least = show_number(reach, distance, sign="+"), show_number(-reach, distance)
    caption = describe_duel(duel, distance=distance)
    drawing = (
        f'<svg viewBox="0 0 {len(sorted_)} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(f"Difference of every case, sorted. {caption}")}">'
        f"{_bars(sorted_, reach, distance)}{_interval(duel, len(sorted_), reach)}"
        f'<path class="zero" d="M0 {_MIDDLE}H{len(sorted_)}"/></svg>'
    )
    name = f"{escape(duel.first)} − {escape(duel.second)}"
    return (
        f'<figure class="bars"><div class="drawing"><span class="top">{most}</span>{drawing}'
        f'<span class="bottom">{least}</span></div>'
        f"<figcaption><strong>{name}</strong> {escape(caption)}</figcaption></figure>"
    )


def describe_duel(duel: Duel, *, distance: bool) -> str:
    """The difference in words."""
    test = duel.test
    mean, low, high = (
        show_number(value, distance, sign="+") for value in (test.difference, test.low, test.high)
    )
    counts = f"{duel.first} better in {duel.won}, {duel.second} in {duel.lost}, equal in {duel.tied} cases"
    return f"Mean {mean} ({low} to {high}). {counts}."


def _bars(values: NDArray[np.float64], reach: float, distance: bool) -> str:
    better, worse = ("minus", "plus") if distance else ("plus", "minus")
    parts = ((better, values > 0), (worse, values < 0))
    return "".join(f'<path class="{kind}" d="{_outline(values, shown, reach)}"/>' for kind, shown in parts)


def _outline(values: NDArray[np.float64], shown: NDArray[np.bool_], reach: float) -> str:
    """One path for all bars of one sign: a page of many cases stays small."""
    heights = [f"{_MIDDLE - _MIDDLE * value / reach:.1f}" for value in values]
    return "".join(
        f"M{place} {_MIDDLE}V{heights[place]}h1V{_MIDDLE}z" for place in np.flatnonzero(shown).tolist()
    )


def _interval(duel: Duel, count: int, reach: float) -> str:
    mean, low, high = (
        _MIDDLE - _MIDDLE * value / reach for value in (duel.test.difference, duel.test.low, duel.test.high)
    )
    band = f'<rect class="band" x="0" y="{high:.2f}" width="{count}" height="{max(low - high, 0.3):.2f}"/>'
    return f'{band}<path class="mean" d="M0 {mean:.2f}H{count}"/>'

"""The page of `score --observers`: every two, everyone against the others, the cases of least agreement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from dinoseg.evaluation.page_parts import (
    data_url,
    frame_page,
    heading,
    meanings,
    scroll_table,
    section,
    show_interval,
    show_number,
    table_row,
    warning,
)
from dinoseg.evaluation.statistics import Interval, PairedTest


@dataclass(frozen=True)
class Disagreement:
    """One of the cases of least agreement.

    Attributes:
        case: its name.
        dice: mean Dice over all pairs.
        first: of the two that agree least on it.
        second: the other one.
        least: Dice of these two.
        jpeg: the mask of the first filled, that of the second as a line; empty for a case without picture.
    """

    case: str
    dice: float
    first: str
    second: str
    least: float
    jpeg: bytes = b""


@dataclass(frozen=True)
class AgreementPage:
    """What the page says.

    Attributes:
        facts: what was compared.
        names: of the members, the model last.
        pairs: positions of two members -> their Dice.
        members: of each member: its Dice with the observers, and its rank.
        model: mean with the observers minus theirs with each other; None without a model.
        least: the cases of least agreement, worst first.
        left_out: cases that some member lacks.
        policy: what the numbers mean.
    """

    facts: Mapping[str, str]
    names: Sequence[str]
    pairs: Mapping[tuple[int, int], Interval]
    members: Sequence[tuple[Interval, int]]
    model: PairedTest | None
    least: Sequence[Disagreement]
    left_out: Sequence[str]
    policy: Sequence[str]


def find_least(
    cases: Sequence[str],
    dice: NDArray[np.float64],
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    *,
    most: int,
) -> list[Disagreement]:
    """The cases of least agreement, worst first; `dice` is (pairs, cases)."""
    found = []
    for place in np.argsort(dice.mean(axis=0), kind="stable")[:most]:
        worst = int(dice[:, place].argmin())
        first, second = (names[member] for member in pairs[worst])
        column = dice[:, place]
        found.append(Disagreement(cases[place], float(column.mean()), first, second, float(column[worst])))
    return found


def build_agreement_page(page: AgreementPage) -> str:
    """Return the HTML."""
    title = f"Agreement of {len(page.names)} observers"
    if page.model is not None:
        title = f"Agreement of {len(page.names) - 1} observers and a model"
    left_out = (
        [f"<p>{len(page.left_out)} cases left out, not everybody has them.</p>"] if page.left_out else []
    )
    return frame_page(
        title,
        [
            heading(title, page.facts),
            warning(left_out),
            _members(page),
            _matrix(page),
            _least(page.least),
            meanings(page.policy),
        ],
    )


def _members(page: AgreementPage) -> str:
    rows = [
        table_row(_name(page, place), [show_interval(dice), str(rank)])
        for place, (dice, rank) in enumerate(page.members)
    ]
    table = scroll_table(
        "members",
        ["Who", "Dice with the observers", "Rank"],
        rows,
        caption="Below each mean its 95% interval.",
    )
    return section("members", "Everyone against the observers", _stand(page.model) + table)


def _stand(test: PairedTest | None) -> str:
    if test is None:
        return ""
    interval = ""
    if math.isfinite(test.low):
        interval = f" (95% interval {show_number(test.low, sign='+')} to {show_number(test.high, sign='+')})"
    return f"<p>Model minus observers: {show_number(test.difference, sign='+')}{interval}.</p>"


def _name(page: AgreementPage, place: int) -> str:
    is_model = page.model is not None and place == len(page.names) - 1
    return escape(page.names[place]) + ("<small>model</small>" if is_model else "")


def _matrix(page: AgreementPage) -> str:
    rows = [
        table_row(_name(page, row), [_cell(page, row, column) for column in range(len(page.names))])
        for row in range(len(page.names))
    ]
    table = scroll_table(
        "pairs", ["Dice", *page.names], rows, caption="Mean Dice of every two; below it the 95% interval."
    )
    return section("pairs", "Every two", table)


def _cell(page: AgreementPage, row: int, column: int) -> str:
    if row == column:
        return "–"
    return show_interval(page.pairs[min(row, column), max(row, column)])


def _least(cases: Sequence[Disagreement]) -> str:
    rows = [
        table_row(
            escape(each.case),
            [
                show_number(each.dice),
                f"{show_number(each.least)}<small>{escape(each.first)}, {escape(each.second)}</small>",
            ],
        )
        for each in cases
    ]
    table = scroll_table(
        "least", ["Case", "Dice, all pairs", "Dice of the least alike"], rows, caption="Worst first."
    )
    figures = "".join(_figure(each) for each in cases if each.jpeg)
    gallery = (
        f'<p>Filled: the first of the two. Line: the second.</p><div class="gallery">{figures}</div>'
        if figures
        else ""
    )
    return section("least", "Cases of least agreement", table + gallery)


def _figure(each: Disagreement) -> str:
    words = f"{each.first} filled, {each.second} as a line, Dice {each.least:.2f}"
    alt = escape(f"{each.case}: {words}")
    return (
        f'<figure><img loading="lazy" src="{data_url(each.jpeg, "jpeg")}" alt="{alt}">'
        f"<figcaption><strong>{escape(each.case)}</strong> {escape(words)}</figcaption></figure>"
    )

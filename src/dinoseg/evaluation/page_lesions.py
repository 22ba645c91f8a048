"""The part of a page about lesions: found, missed and invented ones, of each class and by size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from dinoseg.evaluation.lesion_summary import LESION_TITLES, LesionSummary, SizeBand
from dinoseg.evaluation.page_parts import scroll_table, section, show_interval, show_number, table_row
from dinoseg.evaluation.summary import ClassSummary

_CAPTION = "Lesions of all cases pooled; below each number its 95% interval."


def lesion_section(summaries: Sequence[ClassSummary]) -> str:
    """Return the HTML of the section, or "" where lesions were not scored."""
    rows = [(row.title, row.lesions) for row in summaries if row.lesions is not None]
    if not any(found.lesions or found.predicted for _, found in rows):
        return ""
    head = ["Class", "Lesions", "Predicted", "Matched", *LESION_TITLES.values()]
    table = scroll_table("lesions", head, (_row(title, found) for title, found in rows), caption=_CAPTION)
    return section("lesions", "By lesion", table) + _by_size(rows)


def _row(title: str, found: LesionSummary) -> str:
    counts = (str(number) for number in (found.lesions, found.predicted, found.matched))
    return table_row(escape(title), [*counts, *(show_interval(value) for value in found.means.values())])


def _by_size(rows: Sequence[tuple[str, LesionSummary]]) -> str:
    lines = [line for title, found in rows for line in _size_rows(title, found)]
    if not lines:
        return ""
    head = ["Lesions", "Size", "Number", "Matched", "Recall", "Lesion Dice"]
    caption = "Thirds of the target's lesions by size."
    table = scroll_table("sizes", head, lines, caption=caption)
    return section("sizes", "By size of lesion", table)


def _size_rows(title: str, found: LesionSummary) -> Iterator[str]:
    for band in found.sizes:
        cells = (
            f"{show_size(band.low)}–{show_size(band.high)} {found.unit}",
            str(band.lesions),
            str(band.matched),
            show_interval(band.recall),
            show_interval(band.dice),
        )
        yield table_row(_name(title, band), cells)


def _name(title: str, band: SizeBand) -> str:
    return f"{escape(title)}<small>{band.name}</small>"


def show_size(size: float) -> str:
    """A size without needless digits."""
    return f"{size:,.0f}" if size >= 10 else show_number(size).rstrip("0").rstrip(".")

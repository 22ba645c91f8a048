"""The part of a page about strata: each part of the cases, and how it differs from the others."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dinoseg.evaluation.page_parts import scroll_table, section, show_interval, table_row
from dinoseg.evaluation.strata import Strata, Stratum

_HEAD = ("Cases", "Number", "Groups", "Dice", "Difference to the others", "Missed")


def strata_section(strata: Sequence[Strata]) -> str:
    """Return the HTML of the section, or "" where nothing divides the cases."""
    if not strata:
        return ""
    rows = [_row(found.column, stratum) for found in strata for stratum in found.strata]
    caption = "Mean Dice of each part; below it the 95% interval."
    return section("strata", "By stratum", scroll_table("strata", _HEAD, rows, caption=caption))


def _row(column: str, stratum: Stratum) -> str:
    cells = (
        str(stratum.cases),
        str(stratum.groups),
        show_interval(stratum.dice),
        show_interval(stratum.difference, signed=True),
        str(stratum.missed),
    )
    name = f"{escape(stratum.name)}<small>{escape(column)}</small>"
    return table_row(f"<em>{name}</em>" if stratum.much_worse else name, cells)

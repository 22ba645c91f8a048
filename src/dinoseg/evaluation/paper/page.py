"""The parts of a page that go into a paper: the method statement, and the checklist with visible blanks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dinoseg.evaluation.page_parts import scroll_table, section, table_row
from dinoseg.evaluation.paper.checklist import Item, fill_checklist
from dinoseg.evaluation.paper.statement import BLANK, write_statement
from dinoseg.evaluation.paper.study import Study

_BLANK_CELL = '<span class="blank">to be filled in</span>'


def paper_sections(study: Study | None) -> str:
    """Return the HTML of both, or "" where nothing is known."""
    if study is None:
        return ""
    return _tell_method(write_statement(study)) + _list_items(fill_checklist(study))


def _tell_method(paragraphs: Sequence[str]) -> str:
    marked = (
        escape(text).replace(escape(BLANK), f'<span class="blank">{BLANK}</span>') for text in paragraphs
    )
    return section("method", "Method, to paste into a paper", "".join(f"<p>{text}</p>" for text in marked))


def _list_items(items: Sequence[Item]) -> str:
    filled = sum(bool(item.answer) for item in items)
    rows = (
        table_row(f"{item.number}. {escape(item.topic)}", [escape(item.answer) or _BLANK_CELL])
        for item in items
    )
    caption = f"{filled} of {len(items)} items are filled in; check them, and fill in the others."
    table = scroll_table("claim", ["Item", "Answer"], rows, caption=caption)
    return section("claim", "CLAIM 2024 checklist", f'<div class="words">{table}</div>')

"""What all pages share: the frame with its style, heading, tiles, scrolling tables, and the closing list."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources

from dinoseg.evaluation.statistics import Interval


def frame_page(title: str, sections: Iterable[str]) -> str:
    """Return one HTML document that needs no other file; empty sections leave nothing."""
    style = resources.files("dinoseg.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def heading(title: str, facts: Mapping[str, str]) -> str:
    """The title, and what was done below it."""
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return f"<header><h1>{escape(title)}</h1>" + (f"<dl>{items}</dl>" if items else "") + "</header>"


def warning(parts: Sequence[str]) -> str:
    """A box that cannot be overlooked; "" without parts, which are HTML."""
    return f'<section class="warning" aria-label="Warnings">{"".join(parts)}</section>' if parts else ""


def show_tile(name: str, value: str, below: str, *, alarming: bool = False) -> str:
    """One large number; `value` and `below` are HTML."""
    kind = "tile alarming" if alarming else "tile"
    return (
        f'<div class="{kind}"><h3>{name}</h3><p class="value">{value}</p><p class="below">{below}</p></div>'
    )


def section(id_: str, title: str, content: str) -> str:
    """A section with a heading; `content` is HTML."""
    return f'<section aria-labelledby="{id_}"><h2 id="{id_}">{escape(title)}</h2>{content}</section>'


def scroll_table(id_: str, head: Sequence[str], rows: Iterable[str], *, caption: str) -> str:
    """A table that scrolls by itself, and is a list of cards on a narrow screen.

    Args:
        id_: of its heading.
        head: titles of the columns.
        rows: HTML, from `table_row`.
        caption: below it.
    """
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(_label(row, head) for row in rows)
    return (
        f'<div class="scroll" role="group" aria-labelledby="{id_}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _label(row: str, head: Sequence[str]) -> str:
    """The row with the name of its column on each cell, which a narrow screen shows in place of the head."""
    start, *cells = row.split("<td>")
    named = (f'<td data-label="{escape(name)}">{cell}' for name, cell in zip(head[1:], cells, strict=True))
    return start + "".join(named)


def table_row(name: str, cells: Iterable[str]) -> str:
    """One row; name and cells are HTML."""
    inside = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{name}</th>{inside}</tr>'


def show_interval(interval: Interval, *, distance: bool = False, signed: bool = False) -> str:
    """A mean and, below it, its interval where there is one."""
    sign = "+" if signed else ""
    mean, low, high = (
        show_number(value, distance, sign=sign) for value in (interval.mean, interval.low, interval.high)
    )
    between = "" if math.isnan(interval.low) else f"<small>{low}{' to ' if signed else '–'}{high}</small>"
    return f"{mean}{between}"


def meanings(policy: Iterable[str]) -> str:
    """What the numbers mean, line by line."""
    items = "".join(f"<li>{escape(line)}</li>" for line in policy)
    return section("means", "What the numbers mean", f"<ul>{items}</ul>")


def show_number(value: float, distance: bool = False, *, sign: str = "") -> str:
    """A score with three decimals, a distance with one, and a dash for what is not known."""
    if math.isnan(value):
        return "–"
    return f"{value:{sign}.{1 if distance else 3}f}".replace("-", "−")


def data_url(content: bytes, kind: str) -> str:
    """A picture inside the page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"

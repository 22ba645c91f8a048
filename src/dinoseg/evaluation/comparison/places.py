"""Where the scores of a model lie: in a report, in a run folder, or in the draws of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import natural_key
from dinoseg.errors import RunError, UsageError

CASES = "cases.csv"
_REPORT = "report"
_DRAWS = "draw-*"
_SILENT = frozenset({_REPORT, "test", "val", "train", "all"})  # names of folders that say nothing of a model


@dataclass(frozen=True)
class Tables:
    """The CSV of a place, or one for each draw; and a line where they had to be looked for."""

    paths: tuple[Path, ...]
    note: str = ""


def find_tables(place: Path) -> Tables:
    """Find the scores of a report folder, a run folder, a folder of draws, or a CSV.

    Raises:
        RunError: there are none.
        UsageError: there are several reports.
    """
    if place.is_file():
        return Tables((place,))
    if (place / CASES).is_file():
        return Tables((place / CASES,))
    if table := _find_report(place):
        return Tables((table,), f"{place}: its report {table.parent} is compared")
    draws = sorted(place.glob(_DRAWS), key=lambda path: natural_key(path.name))
    tables = [table for draw in draws if (table := _find_report(draw))]
    if tables and len(tables) == len(draws):
        return Tables(
            tuple(tables), f"{place}: of every case the mean over its {len(tables)} draws is compared"
        )
    reason = "holds no scores" if place.is_dir() else "does not exist"
    lacking = f" of all its {len(draws)} draws" if draws else ""
    raise RunError(
        f"{place} {reason}{lacking}; accepted are folders with a {CASES}: make one with "
        f"`dinoseg evaluate RUN DATA --out {place / _REPORT}` or `dinoseg score`"
    )


def name_places(places: Sequence[Path]) -> list[str]:
    """Short names of different places, or their paths where those would be the same."""
    names = [_name_place(place) for place in places]
    return names if len(set(names)) == len(names) else [str(place) for place in places]


def _find_report(run: Path) -> Path | None:
    inside = [run / _REPORT / CASES, *sorted((run / _REPORT).glob(f"*/{CASES}"))]
    tables = [table for table in inside if table.is_file()]
    if len(tables) > 1:
        listed = ", ".join(str(table.parent) for table in tables)
        raise UsageError(f"{run} holds several reports ({listed}); name one of them")
    return tables[0] if tables else None


def _name_place(place: Path) -> str:
    if place.is_file() and place.name != CASES:
        return place.stem
    parts = [part for part in place.absolute().parts if part != CASES]
    while len(parts) > 2 and parts[-1] in _SILENT:
        parts.pop()
    return parts[-1]

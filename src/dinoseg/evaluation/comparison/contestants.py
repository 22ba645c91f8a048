"""The scores of one model, read back from a report folder, a run folder or a CSV with a row per case."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.errors import DataError, RunError, UsageError
from dinoseg.evaluation.definitions import METRICS

CASES, SUMMARY, PAGE = "cases.csv", "summary.json", "index.html"
_REPORT = "report"
_PLACES = frozenset({_REPORT, "test", "val", "train", "all"})  # names of folders that say nothing of a model
_UNTOLD: Mapping[str, Any] = {"protocol": "", "tolerance": "", "facts": {}, "failures": {}}
_TOLERANCE = "NSD tolerance: "


@dataclass(frozen=True)
class CaseRow:
    """One row of a table of scores: one class or region in one case.

    Attributes:
        case: name of the case.
        group: patient or video; equals `case` where none is known.
        part: name of the class or region; "" where the table has none.
        is_region: it is one of the regions that a data set declares.
        values: score -> value, of those that the table has.
        outcome: "scored", "both_empty", "missed", "false_alarm", or "" where it is not told.
        target_size: pixels of the target; None where it is not told.
        unit: of distances, "mm", "px" or "".
    """

    case: str
    group: str
    part: str
    is_region: bool
    values: Mapping[str, float]
    outcome: str
    target_size: int | None
    unit: str


@dataclass(frozen=True)
class Contestant:
    """One of the models that are compared.

    Attributes:
        name: short, different from the others'.
        table: the CSV that was read.
        rows: of every case, class and region.
        protocol: "native" or "paper", or "" where there is no summary.json.
        tolerance: of the NSD in words, or "".
        facts: what the report says was evaluated.
        failures: cases without scores -> why.
        note: where the table was found, if not where a person pointed at.
    """

    name: str
    table: Path
    rows: tuple[CaseRow, ...]
    protocol: str
    tolerance: str
    facts: Mapping[str, str]
    failures: Mapping[str, str]
    note: str = ""

    @property
    def page(self) -> Path:
        """The page beside the table, which may hold pictures of cases; need not exist."""
        return self.table.with_name(PAGE)


def read_contestants(places: Sequence[Path]) -> list[Contestant]:
    """Read the scores of each place, and name them.

    Raises:
        UsageError: fewer than two places, or one of them twice.
        RunError: a place has no scores.
        DataError: a table cannot be read, has a row twice, or holds a score that is no number.
    """
    if len(places) < 2:
        raise UsageError(f"compare takes two or more reports, given {len(places)}; name another one")
    found = [_find_table(place) for place in places]
    tables = [table.resolve() for table, _ in found]
    for place, table in zip(places, tables, strict=True):
        if tables.count(table) > 1:
            raise UsageError(f"{place} is given twice ({table}); name different reports")
    names = _name_places(places)
    return [_read(name, table, note) for name, (table, note) in zip(names, found, strict=True)]


def _find_table(place: Path) -> tuple[Path, str]:
    """The CSV of a place, and a line where it had to be looked for."""
    if place.is_file():
        return place, ""
    if (place / CASES).is_file():
        return place / CASES, ""
    inside = [place / _REPORT / CASES, *sorted((place / _REPORT).glob(f"*/{CASES}"))]
    tables = [table for table in inside if table.is_file()]
    if not tables:
        reason = "holds no scores" if place.is_dir() else "does not exist"
        raise RunError(
            f"{place} {reason}; accepted are folders with a {CASES}: make one with "
            f"`dinoseg evaluate RUN DATA --out {place / _REPORT}` or `dinoseg score`"
        )
    if len(tables) > 1:
        listed = ", ".join(str(table.parent) for table in tables)
        raise UsageError(f"{place} holds several reports ({listed}); name one of them")
    return tables[0], f"{place}: its report {tables[0].parent} is compared"


def _name_places(places: Sequence[Path]) -> list[str]:
    names = [_name_place(place) for place in places]
    return names if len(set(names)) == len(names) else [str(place) for place in places]


def _name_place(place: Path) -> str:
    parts = [part for part in place.absolute().parts if part != CASES]
    while len(parts) > 2 and parts[-1] in _PLACES:
        parts.pop()
    return Path(parts[-1]).stem if place.is_file() and parts[-1] == place.name else parts[-1]


def _read(name: str, table: Path, note: str) -> Contestant:
    rows = tuple(_read_rows(table))
    if not rows:
        raise DataError(f"{table} holds no case; evaluate again, or name another report")
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.case, row.part) in seen:
            part = f" ({row.part})" if row.part else ""
            raise DataError(f"{table} holds the case {row.case}{part} twice; a case may stand there once")
        seen.add((row.case, row.part))
    # What lies beside a table of another name need not be about it.
    told = _read_summary(table.with_name(SUMMARY)) if table.name == CASES else dict(_UNTOLD)
    return Contestant(name, table, rows, **told, note=note)


def _read_summary(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return dict(_UNTOLD)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        policy = [str(line) for line in document["policy"]]
        return {
            "protocol": str(document["protocol"]),
            "tolerance": next((line for line in policy if line.startswith(_TOLERANCE)), ""),
            "facts": {str(key): str(value) for key, value in document["facts"].items()},
            "failures": {str(item["case"]): str(item["message"]) for item in document["failures"]},
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); evaluate again with --overwrite") from error


def _read_rows(table: Path) -> Iterator[CaseRow]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table} cannot be read ({error}); save it as CSV in UTF-8") from error
    start = next((place for place, line in enumerate(lines) if not line.startswith("# ")), len(lines))
    reader = csv.DictReader(lines[start:])
    columns = reader.fieldnames or []
    if "case" not in columns or not set(METRICS) & set(columns):
        raise DataError(
            f"{table} has the columns {', '.join(columns) or 'none'}; needed are case and one of "
            f"{', '.join(METRICS)}"
        )
    for row in reader:
        yield _read_row(row, f"{table} line {start + reader.line_num}")


def _read_row(row: Mapping[str, str | None], place: str) -> CaseRow:
    case = (row.get("case") or "").strip()
    if not case:
        raise DataError(f"{place} names no case")
    size = row.get("target_size")
    return CaseRow(
        case=case,
        group=row.get("group") or case,
        part=row.get("class_name") or "",
        is_region=bool(row.get("region")),
        values={name: _read_score(row[name], name, place) for name in METRICS if name in row},
        outcome=row.get("outcome") or "",
        target_size=int(_read_score(size, "target_size", place)) if size else None,
        unit=row.get("unit") or "",
    )


def _read_score(text: str | None, column: str, place: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: {column} is {text or 'empty'!r}; every case needs a finite number")
    return value

"""The scores of one model, read back from a report folder, a run folder or a CSV with a row per case."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation.comparison.places import CASES, find_tables, name_places
from dinoseg.evaluation.definitions import METRICS

SUMMARY, PAGE = "summary.json", "index.html"
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
        rows: of every class and region of every case, but those of which nobody decided a pixel.
        protocol: "native" or "paper", or "" where there is no summary.json.
        tolerance: of the NSD in words, or "".
        facts: what the report says was evaluated.
        failures: cases without scores -> why.
        page: beside the table, which may hold pictures of cases; need not exist. None for several draws.
        note: where the table was found, if not where a person pointed at.
    """

    name: str
    table: Path
    rows: tuple[CaseRow, ...]
    protocol: str
    tolerance: str
    facts: Mapping[str, str]
    failures: Mapping[str, str]
    page: Path | None = None
    note: str = ""


def read_contestants(places: Sequence[Path]) -> list[Contestant]:
    """Read the scores of each place, and name them.

    Raises:
        UsageError: fewer than two places, or one of them twice.
        RunError: a place has no scores.
        DataError: a table cannot be read, has a row twice, or holds a score that is no number.
    """
    if len(places) < 2:
        raise UsageError(f"compare takes two or more reports, given {len(places)}; name another one")
    found = [find_tables(place) for place in places]
    listed = [table.resolve() for tables in found for table in tables.paths]
    for place, tables in zip(places, found, strict=True):
        if any(listed.count(table.resolve()) > 1 for table in tables.paths):
            raise UsageError(f"{place} is given twice; name different reports")
    return [
        replace(average_draws([_read(name, table) for table in tables.paths]), note=tables.note)
        for name, tables in zip(name_places(places), found, strict=True)
    ]


def average_draws(draws: Sequence[Contestant]) -> Contestant:
    """Return one contestant for the trainings of one method: its scores of a case are their mean.

    A case counts as missed, or as a false alarm, where most of the draws say so.

    Raises:
        DataError: the draws have other cases, classes, targets or protocols.
    """
    first = draws[0]
    if len(draws) == 1:
        return first
    tables = [{(row.case, row.part): row for row in draw.rows} for draw in draws]
    for draw, table in zip(draws, tables, strict=True):
        if table.keys() != tables[0].keys() or _agreed(draw) != _agreed(first):
            raise DataError(f"{draw.table} has other cases, classes or settings than {first.table}")
    rows = tuple(_average([table[key] for table in tables]) for key in tables[0])
    return replace(first, rows=rows, page=None)


def _agreed(draw: Contestant) -> tuple[str, str]:
    return draw.protocol, draw.tolerance


def _average(rows: Sequence[CaseRow]) -> CaseRow:
    outcomes = Counter(row.outcome for row in rows)
    if len({row.target_size for row in rows}) > 1:
        raise DataError(f"the draws have other targets of {rows[0].case}; score all against the same masks")
    return replace(
        rows[0],
        values={name: sum(row.values[name] for row in rows) / len(rows) for name in rows[0].values},
        outcome=next((name for name, count in outcomes.items() if 2 * count > len(rows)), "scored"),
    )


def _read(name: str, table: Path) -> Contestant:
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
    return Contestant(name, table, rows, **told, page=table.with_name(PAGE))


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
        if row.get("outcome") != "undecided":  # has no score
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

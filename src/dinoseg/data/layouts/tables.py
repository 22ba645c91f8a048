"""The small text files beside images: a CSV of cases, groups.csv, and lists of names per split."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dinoseg.data.cases.files import SPLIT_NAMES, CaseFiles, stem_of
from dinoseg.data.layouts.remarks import Remark
from dinoseg.errors import DataError, LayoutError, SplitError

REASON = "because"  # the column in which a suggested groups.csv says what it is based on
_SEPARATORS = (",", ";", "\t")
_PATIENT = re.compile(r"patient|subject|person|study|video|group")


@dataclass(frozen=True)
class CaseTable:
    """The cases of a CSV file, and one line for each row that gives none."""

    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def has_groups(self) -> bool:
        """Whether it names groups."""
        return any(case.group != case.id for case in self.cases)


@dataclass(frozen=True)
class GroupTable:
    """Name of a case -> its group, as groups.csv says."""

    groups: Mapping[str, str]
    remarks: tuple[Remark, ...] = ()


def read_cases(path: Path) -> CaseTable:
    """Read a CSV with the columns image, mask and, if wanted, group and split.

    Paths are relative to the CSV, or absolute; they may lead out of its folder.

    Raises:
        LayoutError: no CSV, a missing column, or no row.
        SplitError: a split that is not train, val or test.
    """
    cases, problems = [], []
    for number, row in enumerate(read_rows(path, ("image", "mask")), start=2):
        image, mask = (_resolve(path.parent, row[column]) for column in ("image", "mask"))
        missing = [
            _explain_cell(column, row[column], file) for column, file in (("image", image), ("mask", mask))
        ]
        if any(missing):
            problems += [f"{path} row {number}: {problem}" for problem in missing if problem]
            continue
        split = _read_split_name(row.get("split", ""), f"{path} row {number}")
        cases.append(CaseFiles(stem_of(image), image, mask, row.get("group", ""), split))
    problems += _find_repeats(cases, path)
    named = _name_cases(cases, path.parent)
    if not problems:
        problems += _find_name_clashes(named, path)
    grouped = tuple(replace(case, group=case.group or case.id) for case in named)
    return CaseTable(grouped, tuple(problems), _find_idle_columns(path, ("image", "mask", "group", "split")))


def is_case_table(path: Path) -> bool:
    """Whether a file is a CSV with the columns image and mask."""
    if path.suffix.casefold() != ".csv" or not path.is_file():
        return False
    try:
        return {"image", "mask"} <= set(_read_header(path))
    except DataError:
        return False


def read_groups(path: Path) -> GroupTable:
    """Read groups.csv.

    Raises:
        LayoutError: a missing column, or one case with two groups.
    """
    groups: dict[str, str] = {}
    for number, row in enumerate(read_rows(path, ("case", "group")), start=2):
        case, group = row["case"], row["group"]
        if not case or not group or groups.get(case, group) != group:
            reason = f"a second group for {case}, {group} after {groups.get(case)}; a case has one group"
            if not case or not group:
                reason = "an empty case or group"
            raise LayoutError(f"{path} row {number}: {reason}")
        groups[case] = group
    return GroupTable(groups, _find_idle_columns(path, ("case", "group", REASON)))


def read_split_list(path: Path) -> tuple[str, ...]:
    """Read the names of a list such as train.txt, one per line, in its order.

    Raises:
        SplitError: a name stands twice.
    """
    names = tuple(line.strip() for line in _read_text(path).splitlines() if line.strip())
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SplitError(f"{path} lists {twice[0]} twice" + _count_more(twice))
    return names


def find_case(name: str, ids: Mapping[str, CaseFiles]) -> CaseFiles | None:
    """The case that a list means by `name`: its id, or the name or path of its image."""
    return ids.get(name) or ids.get(stem_of(Path(name.replace("\\", "/"))))


def _find_idle_columns(path: Path, read: Sequence[str]) -> tuple[Remark, ...]:
    """A remark on columns that are not read; one that may mean patients matters."""
    header = _read_header(path)
    idle = [name for name in header if name and name not in read]
    if not idle:
        return ()
    patients = [name for name in idle if _PATIENT.search(name)] if "group" not in header else []
    fix = f"; call {patients[0]} 'group' if it names patients" if patients else ""
    columns = "column" if len(idle) == 1 else "columns"
    return (Remark("unused", f"{path}: not used: the {columns} {', '.join(idle)}{fix}", bool(patients)),)


def read_rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the filled rows of a CSV, column in lower case -> cell.

    Raises:
        LayoutError: no text, no row, or a required column is missing.
    """
    header = _read_header(path)
    missing = [column for column in required if column not in header]
    if missing:
        raise LayoutError(
            f"{path} has no column {missing[0]!r}; "
            f"needed are {', '.join(required)}, found {', '.join(header)}"
        )
    lines = _read_text(path).splitlines()
    rows = list(csv.reader(lines, delimiter=_separator(lines[0])))[1:]
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        raise LayoutError(f"{path} has a header and no row")
    for row in filled:
        cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
        yield dict(zip(header, cells, strict=False))


def _read_header(path: Path) -> list[str]:
    lines = _read_text(path).splitlines()
    if not lines:
        raise LayoutError(f"{path} is empty; it needs a header such as image,mask,group,split")
    return [name.strip().lower() for name in next(csv.reader(lines[:1], delimiter=_separator(lines[0])))]


def _separator(header: str) -> str:
    return max(_SEPARATORS, key=header.count)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path} is not UTF-8 text; save it as CSV UTF-8") from error
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror or error}") from error


def _resolve(folder: Path, name: str) -> Path:
    path = folder / name
    return path if path.exists() or "\\" not in name else folder / name.replace("\\", "/")


def _explain_cell(column: str, name: str, file: Path) -> str:
    if not name:
        return f"no {column} is given"
    return "" if file.is_file() else f"the {column} {file} does not exist"


def _read_split_name(name: str, place: str) -> str | None:
    if name and name.lower() not in SPLIT_NAMES:
        raise SplitError(f"{place}: unknown split {name!r}; accepted are train, val and test")
    return SPLIT_NAMES[name.lower()] if name else None


def _find_repeats(cases: Sequence[CaseFiles], path: Path) -> list[str]:
    counts = Counter(case.image.resolve() for case in cases)
    return [f"{path} lists the image {image} {count} times" for image, count in counts.items() if count > 1]


def _find_name_clashes(cases: Sequence[CaseFiles], path: Path) -> list[str]:
    counts = Counter(case.id for case in cases)
    return [f"{path} gives {count} cases the name {id_}" for id_, count in counts.items() if count > 1]


def _name_cases(cases: Sequence[CaseFiles], folder: Path) -> list[CaseFiles]:
    """Keep the stems as ids if they are unique; otherwise name every case by its path."""
    if len({case.id for case in cases}) == len(cases):
        return list(cases)
    relative = [Path(os.path.relpath(case.image, folder)).parent for case in cases]
    prefixes = ["_".join(part for part in parent.parts if part != "..") for parent in relative]
    return [
        replace(case, id=f"{prefix}_{case.id}" if prefix else case.id)
        for case, prefix in zip(cases, prefixes, strict=True)
    ]


def _count_more(items: Sequence[str]) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""

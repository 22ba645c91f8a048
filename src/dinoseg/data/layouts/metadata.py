"""metadata.csv: what is known of cases or groups besides their images, such as site, sex or device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import stem_of
from dinoseg.data.layouts.tables import read_rows
from dinoseg.errors import LayoutError

FILE_NAME = "metadata.csv"
_KEYS = ("case", "group")


@dataclass(frozen=True)
class Metadata:
    """The columns of a table about cases or groups.

    Attributes:
        path: the table.
        columns: names besides `case` and `group`.
        cases: case -> column -> value, where the table has the column `case`.
        groups: group -> column -> value, where it has the column `group` only.
    """

    path: Path
    columns: tuple[str, ...]
    cases: Mapping[str, Mapping[str, str]]
    groups: Mapping[str, Mapping[str, str]]

    def find(self, case: str, group: str) -> Mapping[str, str]:
        """What is known of a case: column -> value, empty where nothing is."""
        return self.cases.get(case) or self.groups.get(group) or {}


def read_metadata(path: Path) -> Metadata:
    """Read a table with the column case (name of a case or its image) or group.

    Raises:
        LayoutError: neither column, no other column, or two rows of one case or group.
    """
    rows = list(read_rows(path, ()))
    key = next((name for name in _KEYS if name in rows[0]), None)
    columns = tuple(name for name in rows[0] if name and name not in _KEYS)
    if key is None or not columns:
        raise LayoutError(
            f"{path} has the columns {', '.join(rows[0])}; needed are case or group, and at least one other"
        )
    table = _index(rows, key, columns, path)
    return Metadata(path, columns, table if key == "case" else {}, table if key == "group" else {})


def _index(
    rows: Sequence[Mapping[str, str]], key: str, columns: Sequence[str], path: Path
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        name = stem_of(Path(row[key])) if key == "case" else row[key]
        values = {column: row[column] for column in columns}
        if not name or found.setdefault(name, values) != values:
            raise LayoutError(
                f"{path} row {number}: " + (f"{name} has two different rows" if name else f"no {key}")
            )
    return found

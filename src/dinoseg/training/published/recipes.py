"""The published tables: which data, method and backbone, what was reached, and the known flaws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from dinoseg.config import Settings, from_yaml
from dinoseg.config.changes import suggest
from dinoseg.errors import UsageError


class PublishedData(Settings):
    """A data set of a paper.

    Attributes:
        title: what it is.
        place: where it is published.
        license: as its publisher says.
        layout: how its files are to lie below the folder of all data.
        folders: names of its folder.
        stand_ins: folder -> what it holds, of data that may take its place and are marked.
        flaws: known ones, of the data or of how the paper used them.
    """

    title: str
    place: str
    license: str
    layout: str
    folders: tuple[str, ...]
    stand_ins: Mapping[str, str] = {}
    flaws: tuple[str, ...] = ()


class Row(Settings):
    """One line of a published table.

    Attributes:
        name: unique among all tables.
        data: name of the data set.
        published: score -> figure, in parts of 1 (HD95 in px); empty where none could be sourced.
        shots: training cases, the first of the list; all where None.
        note: what is odd about the figure.
    """

    name: str
    data: str
    published: Mapping[str, float]
    shots: int | None = None
    note: str = ""


class Table(Settings):
    """A published table: its rows share a method and a backbone."""

    title: str
    source: str
    method: str
    backbone: str
    rows: tuple[Row, ...]


class Tables(Settings):
    """All tables, and the data that they are about."""

    data: Mapping[str, PublishedData]
    tables: Mapping[str, Table]


@dataclass(frozen=True)
class Recipe:
    """A row with what it needs.

    Attributes:
        row: the line of the table.
        table: that it stands in.
        data: its data set.
    """

    row: Row
    table: Table
    data: PublishedData

    def find_data(self, place: Path) -> tuple[Path, str] | None:
        """The folder of the data below `place`, and what it stands in with where it does; None without."""
        for name in self.data.folders:
            if (place / name).exists():
                return place / name, ""
        for name, title in self.data.stand_ins.items():
            if (place / name).exists():
                return place / name, title
        return None


@lru_cache(maxsize=1)
def read_tables() -> Tables:
    """The tables that come with the package."""
    path = resources.files("dinoseg.training.published").joinpath("tables.yaml")
    return from_yaml(Tables, path.read_text(encoding="utf-8"))


def choose_recipes(name: str | None = None) -> tuple[Recipe, ...]:
    """The rows of a table, one row by its name, or all.

    Raises:
        UsageError: neither table nor row has this name.
    """
    known = read_tables()
    found = tuple(
        Recipe(row, table, known.data[row.data])
        for key, table in known.tables.items()
        for row in table.rows
        if name in (None, key, row.name)
    )
    if not found:
        rows = [row.name for table in known.tables.values() for row in table.rows]
        raise UsageError(
            f"table {name!r} is not known{suggest(str(name), [*known.tables, *rows])}; tables are "
            f"{', '.join(known.tables)}, and any row of theirs can be named"
        )
    return found

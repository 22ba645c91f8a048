"""What is written down while a person teaches: strokes, classes and what is accepted, in a SQLite file.

Every change is on disk before the call returns (write-ahead log, synchronous = FULL), so that a process that
is killed loses nothing that it had answered.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from dinoseg.errors import OutputError, RunError
from dinoseg.teaching.strokes import Stroke

SCHEMA = 1
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE classes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, colour TEXT NOT NULL);
CREATE TABLE strokes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image TEXT NOT NULL, client TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL);
CREATE INDEX strokes_of ON strokes (image, id);
CREATE TABLE accepted (
    image TEXT NOT NULL, slice INTEGER NOT NULL, after INTEGER NOT NULL, origin TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (image, slice));
CREATE TABLE known (image TEXT PRIMARY KEY);
CREATE TABLE estimates (
    round INTEGER PRIMARY KEY, images INTEGER NOT NULL, dice REAL NOT NULL, low REAL NOT NULL,
    high REAL NOT NULL);
"""


@dataclass(frozen=True)
class ClassName:
    """A class that can be painted.

    Attributes:
        id: from 1.
        name: unique.
        colour: #rrggbb.
    """

    id: int
    name: str
    colour: str


@dataclass(frozen=True)
class Kept:
    """A stroke as it is kept.

    Attributes:
        id: grows with time.
        image: that it was drawn on.
        stroke: what was drawn.
    """

    id: int
    image: str
    stroke: Stroke


@dataclass(frozen=True)
class Accepted:
    """That a slice has a label.

    Attributes:
        after: id of the last stroke that is part of it; later ones lie on top.
        origin: "page" where a person accepted a prediction, "folder" where a mask lay there.
    """

    after: int
    origin: str


@dataclass(frozen=True)
class Estimated:
    """An estimate of one round.

    Attributes:
        images: stroked or accepted by then.
        dice: mean of the images that were left out in turn.
        low: end of its interval.
        high: end of its interval.
    """

    images: int
    dice: float
    low: float
    high: float


class Records:
    """The file; its methods may be called in any thread, one is served at a time.

    Args:
        path: made where it is missing.

    Raises:
        RunError: it belongs to a newer version, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lock = RLock()
        self.path = path
        try:
            self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except sqlite3.Error as error:
            raise RunError(f"{path} cannot be opened ({error}); restore it from a copy") from error

    def _prepare(self) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self._change():
                for statement in _TABLES.split(";"):
                    self._file.execute(statement)
                self._file.execute(f"PRAGMA user_version = {SCHEMA}")
        elif version != SCHEMA:
            raise RunError(f"{self.path} has the version {version}, known is {SCHEMA}; update dinoseg")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All of it or nothing, on disk when the block ends."""
        with self._lock:
            try:
                self._file.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._file.execute("ROLLBACK")
                    raise
                self._file.execute("COMMIT")
            except sqlite3.Error as error:
                raise OutputError(f"{self.path} could not be written ({error}); free some space") from error

    def _read(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock, closing(self._file.execute(query, values)) as rows:
            return list(rows)

    def add_stroke(self, image: str, client: str, stroke: Stroke) -> int:
        """Keep a stroke; what was undone before on this image cannot be redone any more.

        Args:
            image: that it was drawn on.
            client: name that the page gave it; the same again is the same stroke.
            stroke: what was drawn.

        Returns:
            Its id.
        """
        with self._change():
            known = self.find_stroke(client)
            if known is not None:
                return known
            self._file.execute("DELETE FROM strokes WHERE image = ? AND undone", (image,))
            added = self._file.execute(
                "INSERT INTO strokes (image, client, content, at) VALUES (?, ?, ?, ?)",
                (image, client, stroke.to_json(), time.time()),
            )
            return _whole(added.lastrowid)

    def find_stroke(self, client: str) -> int | None:
        """The id of the stroke that has this name, undone or not; None where there is none."""
        rows = self._read("SELECT id FROM strokes WHERE client = ?", client)
        return _whole(rows[0][0]) if rows else None

    def undo(self, image: str) -> Kept | None:
        """Take back the last stroke of an image; None where there is none."""
        return self._mark(image, "MAX", undone=False)

    def redo(self, image: str) -> Kept | None:
        """Bring back what was undone last; None where there is nothing."""
        return self._mark(image, "MIN", undone=True)

    def _mark(self, image: str, which: str, *, undone: bool) -> Kept | None:
        with self._change():
            query = f"SELECT {which}(id) FROM strokes WHERE image = ? AND undone = ?"
            ((found,),) = self._read(query, image, undone)
            if found is None:
                return None
            self._file.execute("UPDATE strokes SET undone = ? WHERE id = ?", (not undone, found))
            ((content,),) = self._read("SELECT content FROM strokes WHERE id = ?", found)
            return Kept(_whole(found), image, Stroke.from_json(str(content)))

    def list_strokes(self) -> list[Kept]:
        """Those that are not undone, in their order."""
        rows = self._read("SELECT id, image, content FROM strokes WHERE NOT undone ORDER BY id")
        return [Kept(_whole(id_), str(image), Stroke.from_json(str(text))) for id_, image, text in rows]

    def accept(self, image: str, slices: Mapping[int, Accepted]) -> None:
        """Keep that slices of an image have a label."""
        with self._change():
            self._file.executemany(
                "INSERT OR REPLACE INTO accepted VALUES (?, ?, ?, ?, ?)",
                [(image, at, each.after, each.origin, time.time()) for at, each in slices.items()],
            )

    def reopen(self, image: str) -> None:
        """Forget that an image has a label."""
        with self._change():
            self._file.execute("DELETE FROM accepted WHERE image = ?", (image,))

    def list_accepted(self) -> dict[str, dict[int, Accepted]]:
        """Image -> slice -> what is accepted."""
        found: dict[str, dict[int, Accepted]] = {}
        for image, at, after, origin in self._read("SELECT image, slice, after, origin FROM accepted"):
            found.setdefault(str(image), {})[_whole(at)] = Accepted(_whole(after), str(origin))
        return found

    def list_known(self) -> set[str]:
        """Images whose own masks were looked at before."""
        return {str(image) for (image,) in self._read("SELECT image FROM known")}

    def know(self, images: Sequence[str]) -> None:
        """Remember that the own masks of these images were looked at."""
        with self._change():
            self._file.executemany("INSERT OR IGNORE INTO known VALUES (?)", [(image,) for image in images])

    def list_classes(self) -> list[ClassName]:
        """In the order of their ids."""
        rows = self._read("SELECT id, name, colour FROM classes ORDER BY id")
        return [ClassName(_whole(id_), str(name), str(colour)) for id_, name, colour in rows]

    def replace_classes(self, classes: Sequence[ClassName]) -> None:
        """Keep these classes and no others."""
        with self._change():
            self._file.execute("DELETE FROM classes")
            rows = [(each.id, each.name, each.colour) for each in classes]
            self._file.executemany("INSERT INTO classes VALUES (?, ?, ?)", rows)

    def add_estimate(self, round_: int, found: Estimated) -> None:
        """Keep the estimate of a round."""
        row = (round_, found.images, found.dice, found.low, found.high)
        with self._change():
            self._file.execute("INSERT OR REPLACE INTO estimates VALUES (?, ?, ?, ?, ?)", row)

    def list_estimates(self) -> list[tuple[int, Estimated]]:
        """(round, estimate), in the order of the rounds."""
        rows = self._read("SELECT round, images, dice, low, high FROM estimates ORDER BY round")
        return [
            (_whole(round_), Estimated(_whole(images), *map(_number, numbers)))
            for round_, images, *numbers in rows
        ]

    def find_fact(self, name: str) -> str | None:
        """A fact about the project."""
        rows = self._read("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def keep_fact(self, name: str, value: str) -> None:
        """Write down a fact about the project."""
        with self._change():
            self._file.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _whole(value: object) -> int:
    return int(str(value))


def _number(value: object) -> float:
    return float(str(value))

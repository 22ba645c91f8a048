"""What was found out about files, remembered in the home folder for as long as the files stay as they are.

A file is the same if device, inode, size and both of its times are: contents cannot be changed without a new
change time, which nobody can set. One that was changed a moment ago is not remembered, because its next
change might get the same time. What is remembered of one folder's files lies in one file with a checksum;
whatever is wrong with that, the files are read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from dinoseg import __version__
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.errors import OutputError
from dinoseg.outputs import sweep, write_text

T = TypeVar("T")
Identity = list[int]

FOLDER = "checks"  # in the home folder
MOST_BYTES = 200_000_000  # of all that is remembered; what was unused longest goes first
SETTLED_NS = 2_000_000_000  # since the last change: the step of time on the coarsest file systems
_POSIX = os.name == "posix"  # elsewhere there is no change time

__all__ = ["FileMemory"]


class FileMemory(Generic[T]):
    """One thing that can be found out about a file, found out once; to be used in a `with` block.

    Args:
        kind: what is found out, with a number that changes when the way of finding it does.
        read: finds it out.
        pack: makes JSON of it.
        unpack: makes it of the file and that JSON.
    """

    def __init__(
        self,
        kind: str,
        read: Callable[[Path], T],
        *,
        pack: Callable[[T], Any] = lambda value: value,
        unpack: Callable[[Path, Any], T] = lambda _, packed: packed,
    ) -> None:
        self._kind = kind
        self._read, self._pack, self._unpack = read, pack, unpack
        self._place = read_settings().home / FOLDER
        self._known: dict[Path, dict[str, Any]] = {}
        self._new: dict[Path, dict[str, Any]] = {}

    def __enter__(self) -> FileMemory[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._new:
            with suppress(OSError, OutputError):  # a full disk, a home that is not writable
                for folder, entries in self._new.items():
                    self._save(folder, entries)
                self._trim()

    def find(self, path: Path) -> T:
        """What is remembered of `path`, or what `read` finds now; whatever that raises is raised."""
        folder, before = path.parent.absolute(), _identify(path)
        if before is not None and folder not in self._known:
            self._known[folder] = self._load(folder)
        entry = self._known[folder].get(path.name) if before is not None else None
        with suppress(TypeError, ValueError, LookupError):
            if entry is not None and entry[0] == before:
                return self._unpack(path, entry[1])
        value = self._read(path)
        if before is not None and _identify(path) == before and _is_settled(before):
            self._new.setdefault(folder, {})[path.name] = [before, self._pack(value)]
        return value

    def _table(self, folder: Path) -> Path:
        name = hashlib.sha256(f"{self._kind}\n{__version__}\n{folder}".encode()).hexdigest()[:32]
        return self._place / f"{name}.json"

    def _load(self, folder: Path) -> dict[str, Any]:
        path = self._table(folder)
        try:
            checksum, _, text = path.read_text(encoding="utf-8").partition("\n")
            if checksum != _checksum(text):
                return {}
            entries = json.loads(text)
            os.utime(path)  # the order of removal
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}

    def _save(self, folder: Path, entries: dict[str, Any]) -> None:
        """Add entries to what others may have written meanwhile; those of files that are gone go."""
        there = set(os.listdir(folder))  # noqa: PTH208 - names, not paths
        merged = {name: entry for name, entry in {**self._load(folder), **entries}.items() if name in there}
        text = json.dumps(merged)
        write_text(self._table(folder), f"{_checksum(text)}\n{text}", overwrite=True)

    def _trim(self) -> None:
        sweep(self._place.glob(".*"))
        tables = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._place.iterdir())
        total = sum(size for _, size, _ in tables)
        for _, size, path in tables:
            if total > MOST_BYTES:
                path.unlink()
                total -= size


def _identify(path: Path) -> Identity | None:
    """Which file this is, in which state; None where that cannot be told."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not _POSIX:
        return None
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _is_settled(identity: Identity) -> bool:
    return time.time_ns() - identity[-1] > SETTLED_NS


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

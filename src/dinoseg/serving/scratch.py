"""The one private folder of a server, which holds what is uploaded and what comes of it, and vanishes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from dinoseg.outputs import fail, name_temporary, sweep

_NAME = "dinoseg-serve"
_PRIVATE = 0o700


class Scratch:
    """Folders below one that only this user may open; those of servers that were killed are removed first.

    Args:
        place: where it lies; the system's folder for temporary files if not given.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, place: Path | None = None) -> None:
        place = Path(tempfile.gettempdir()) if place is None else place
        sweep(place.glob(f".*.tmp-{_NAME}"))
        self.root = name_temporary(place / _NAME)
        try:
            self.root.mkdir(mode=_PRIVATE)
        except OSError as error:
            raise fail(f"{self.root} could not be made", error) from error

    def make(self) -> Path:
        """A new empty folder.

        Raises:
            OutputError: the disk is full, or the folder of the server is gone.
        """
        folder = self.root / secrets.token_hex(8)
        try:
            folder.mkdir(mode=_PRIVATE)
        except OSError as error:
            raise fail(f"{folder} could not be made", error) from error
        return folder

    def remove(self) -> None:
        """Remove everything."""
        with suppress(OSError):
            shutil.rmtree(self.root)


def remove_folder(folder: Path) -> None:
    """Remove a folder that may be gone already."""
    shutil.rmtree(folder, ignore_errors=True)


def measure_folder(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

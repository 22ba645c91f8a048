"""`dinoseg.json`: which files a shared model consists of, with size and sha256 of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dinoseg import __version__
from dinoseg.backbones.hub import hash_file
from dinoseg.errors import WeightsError

INDEX = "dinoseg.json"
FORMAT = 1
MOST_FILES = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SharedFile:
    """One file: bytes and sha256."""

    size: int
    sha256: str


def describe(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The index of the files `names` below `folder`."""
    files = {
        name: {"size": (folder / name).stat().st_size, "sha256": hash_file(folder / name)} for name in names
    }
    return {"format": FORMAT, "dinoseg": __version__, "files": files}


def read_index(content: bytes | str, source: str) -> Mapping[str, SharedFile]:
    """The files of an index by their names, each relative and below the folder.

    Args:
        content: JSON.
        source: where it was read, for the error.

    Raises:
        WeightsError: it is damaged, of a newer dinoseg, or names a file that is not below the folder.
    """
    try:
        described = json.loads(content)
        if described["format"] != FORMAT:
            raise WeightsError(
                f"{source} has format {described['format']!r}, this dinoseg reads {FORMAT}; "
                "upgrade with pip install -U dinoseg"
            )
        files = {_check_name(name): _read_file(entry) for name, entry in described["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{source} is no index of a model that was pushed by dinoseg ({error})") from error
    if not 0 < len(files) <= MOST_FILES:
        raise WeightsError(f"{source} lists {len(files)} files, accepted are 1 to {MOST_FILES}")
    return files


def find_damage(folder: Path, files: Mapping[str, SharedFile]) -> str:
    """What is wrong with the files of an index, in a few words; empty if they are whole."""
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != expected.size or hash_file(path) != expected.sha256:
            return f"{path} is not the file that was pushed (its sha256 differs)"
    return ""


def _check_name(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ":" in name or {"..", "."} & set(name.split("/")):
        raise ValueError(f"the name {name!r} is not below the folder")
    if name == INDEX or any(part.startswith(".") for part in parts):
        raise ValueError(f"the name {name!r} is not accepted")
    return name


def _read_file(entry: Any) -> SharedFile:
    size, digest = entry["size"], entry["sha256"]
    if type(size) is not int or size < 0 or not _SHA256.fullmatch(digest):
        raise ValueError(f"size {size!r} and sha256 {digest!r}")
    return SharedFile(size, digest)

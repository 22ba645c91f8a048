"""What is written down about a weight file: its sha256, size and origin, in a small JSON per backbone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dinoseg.backbones.hub import hash_file
from dinoseg.errors import OutputError
from dinoseg.outputs import sweep, write_json

RECORD = "record.json"


@dataclass(frozen=True)
class WeightsFile:
    """A weight file whose contents were hashed.

    Attributes:
        name: the backbone it is for.
        path: where it lies.
        origin: where it came from: a repository, Meta's file, or a file the person named.
        sha256: of its contents.
        size: bytes.
        modified: its time of modification in nanoseconds when it was hashed.
    """

    name: str
    path: Path
    origin: str
    sha256: str
    size: int
    modified: int


def describe_file(path: Path, *, name: str, origin: str, sha256: str | None = None) -> WeightsFile:
    """Describe a file, hashing it unless its sha256 is known from just before."""
    state = path.stat()
    digest = sha256 if sha256 is not None else hash_file(path)
    return WeightsFile(name, path, origin, digest, state.st_size, state.st_mtime_ns)


def is_unchanged(record: WeightsFile) -> bool:
    """Whether the file still has the size and time of its record: cheap, and enough for loading."""
    state = record.path.stat()
    return (state.st_size, state.st_mtime_ns) == (record.size, record.modified)


def read_record(folder: Path) -> WeightsFile | None:
    """Return the record of a backbone's folder; None if there is none that can be read."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return WeightsFile(
            name=str(content["name"]),
            path=Path(content["path"]),
            origin=str(content["origin"]),
            sha256=str(content["sha256"]),
            size=int(content["size"]),
            modified=int(content["modified"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        # The file is hashed again then, and the record rewritten.
        return None


def keep_record(folder: Path, found: WeightsFile) -> None:
    """Write the record of a backbone's folder, where that folder can be written."""
    content = {
        "name": found.name,
        "path": str(found.path),
        "origin": found.origin,
        "sha256": found.sha256,
        "size": found.size,
        "modified": found.modified,
    }
    sweep(folder.glob(".*"))
    try:
        write_json(folder / RECORD, content, overwrite=True)
    except OutputError:
        # A read-only cache is fine: the file was just hashed, and will be hashed again next time.
        return

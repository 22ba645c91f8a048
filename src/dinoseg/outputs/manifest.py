"""What dinoseg wrote into a folder, so that `--overwrite` replaces that and nothing else.

A folder that a command writes to is claimed: it gets a hidden file with one line for each file written
below it, name and digest, added before the file gets its name. A file is ours if a line gives its digest as
it is now: what a person put there, or changed, is not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dinoseg.errors import OutputError
from dinoseg.outputs.temporary import is_temporary, sweep

MANIFEST = ".dinoseg-manifest.jsonl"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Entry:
    """One line: a file that was written, by its name relative to the claimed folder."""

    file: str
    bytes: int
    sha256: str


def claim(folder: Path) -> None:
    """Remember what is written below `folder` from now on, and remove what killed processes left there.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).touch()
    except OSError as error:
        raise OutputError(f"{folder} could not be opened for writing: {error.strerror or error}") from error
    sweep(folder.rglob(".*"))


def record(path: Path, written: Path | None = None) -> None:
    """Note in the manifest of the claimed folder above it that a file is ours; without one nothing happens.

    Args:
        path: its name.
        written: what is about to get this name; without it `path` itself, which another library wrote.
    """
    folder, source = _find_claimed(path), written or path
    if folder is None or not source.is_file():
        return
    entry = _Entry(_relative(path, folder), *_measure(source))
    line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    # One write of one line: threads and processes that share the folder do not tear each other's.
    descriptor = os.open(folder / MANIFEST, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line.encode("utf-8"))
    finally:
        os.close(descriptor)


def find_foreign(paths: Iterable[Path]) -> list[Path]:
    """Those of `paths` that exist and that dinoseg did not write, or that were changed since.

    A log that is added to while a command runs is ours as long as it begins with what was noted of it.
    """
    manifests: dict[Path, Mapping[str, Sequence[_Entry]]] = {}
    foreign = []
    for path in paths:
        if not (path.exists() or path.is_symlink()):
            continue
        folder = _find_claimed(path)
        if folder is not None and folder not in manifests:
            manifests[folder] = _read(folder)
        entries = [] if folder is None else manifests[folder].get(_relative(path, folder), [])
        if path.is_symlink() or not any(_fits(path, entry) for entry in reversed(entries)):
            foreign.append(path)
    return foreign


def refuse_foreign(paths: Iterable[Path]) -> None:
    """Raise `OutputError` if one of the files exists and is not ours to replace."""
    if foreign := find_foreign(paths):
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise OutputError(
            f"{foreign[0]}{more} was not written by dinoseg, or was changed since, and --overwrite replaces "
            "only what dinoseg wrote; choose another --out, or move it away"
        )


def remove_ours(folder: Path) -> None:
    """Delete all files below a folder, where dinoseg wrote all of them; else nothing.

    What another process is writing now, and locks, stay.

    Raises:
        OutputError: a file is not ours; it is named.
    """
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    written = [path for path in files if path.name != MANIFEST and not is_temporary(path)]
    refuse_foreign(written)
    # The manifests last: killed in between, the rest is still known to be ours.
    for path in [*written, *(path for path in files if path.name == MANIFEST)]:
        path.unlink(missing_ok=True)
    for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # something is being written there
            below.rmdir()


def _find_claimed(path: Path) -> Path | None:
    """The innermost claimed folder above a file."""
    return next((folder for folder in path.absolute().parents if (folder / MANIFEST).is_file()), None)


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.absolute(), folder)).as_posix()


def _read(folder: Path) -> Mapping[str, Sequence[_Entry]]:
    entries: dict[str, list[_Entry]] = {}
    for line in (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError):  # the last line of a process that was killed
            entry = _Entry(**json.loads(line))
            entries.setdefault(entry.file, []).append(entry)
    return entries


def _fits(path: Path, entry: _Entry) -> bool:
    with suppress(OSError):
        held = path.stat().st_size
        if held == entry.bytes or (held > entry.bytes and _grows(path)):
            return _measure(path, entry.bytes) == (entry.bytes, entry.sha256)
    return False


def _grows(path: Path) -> bool:
    """Whether it is a log of TensorBoard, whose writer appends to it whenever it likes."""
    return ".tfevents." in path.name


def _measure(path: Path, most: int | None = None) -> tuple[int, str]:
    """Bytes and sha256 of a file, or of its first `most` bytes."""
    digest, total = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK if most is None else min(_CHUNK, most - total)):
            digest.update(chunk)
            total += len(chunk)
    return total, digest.hexdigest()

"""What dinoseg wrote into a folder, so that `--overwrite` replaces that and nothing else.

A folder that a command writes to is claimed: it gets a hidden file with one line for each file written
below it, name and digest, added before the file gets its name. A file is ours if a line gives its digest as
it is now: what a person put there, or changed, is not. A folder can be lent to another library, which writes
there as it likes: as long as it is, all below it is ours, and afterwards each file as it was then.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from dinoseg.errors import OutputError
from dinoseg.outputs.failures import fail
from dinoseg.outputs.temporary import is_temporary, sweep

MANIFEST = ".dinoseg-manifest.jsonl"
NOT_OURS = "was not written by dinoseg, or was changed since (older versions kept no list of their files)"
_CHUNK = 1 << 20
_GROWING = (".tfevents.", ".wandb", "debug-internal.log", ".jsonl")
_LENT, _GIVEN_BACK = "lent", "given back"  # in place of a digest, of a folder


@dataclass(frozen=True)
class _Entry:
    """One line: a file that was written, by its name relative to the claimed folder."""

    file: str
    bytes: int
    sha256: str


def claim(folder: Path, *, parts: Sequence[str] | None = None) -> None:
    """Remember what is written below `folder` from now on, and remove what killed processes left there.

    Args:
        folder: created where it is missing.
        parts: folders in it that are written to; all that is below, where it is ours alone.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MANIFEST).exists():
            (folder / MANIFEST).touch()
    except OSError as error:
        raise fail(f"{folder} could not be opened for writing", error) from error
    if parts is None:
        sweep(folder.rglob(".*"))
        return
    sweep(folder.glob(".*"))
    for part in parts:
        sweep((folder / part).rglob(".*"))


def record(path: Path, written: Path | None = None) -> None:
    """Note in the manifest of the claimed folder above it that a file is ours; without one nothing happens.

    Args:
        path: its name.
        written: what is about to get this name; without it `path` itself, which another library wrote.
    """
    folder, source = next(_find_claimed(path), None), written or path
    if folder is None or not source.is_file() or any(is_temporary(above) for above in path.parents):
        return
    _add(folder, _Entry(_relative(path, folder), *_measure(source)))


@contextmanager
def lent(folder: Path) -> Iterator[None]:
    """Let another library write into a folder of its own, below a claimed one, until the block ends.

    What it writes there is ours, also if the process is killed meanwhile. What a person had put there is not.

    Raises:
        OSError: the disk is full.
    """
    claimed = next(_find_claimed(folder), None)
    if claimed is None:
        yield
        return
    foreign = set(find_foreign(list_files(folder)))
    _add(claimed, _Entry(_relative(folder, claimed), 0, _LENT))
    try:
        yield
    finally:
        for path in list_files(folder):
            if path.is_symlink() and path not in foreign:
                path.unlink()  # a link can be nobody's: W&B leaves one to its cache
            elif path not in foreign:
                record(path)
        _add(claimed, _Entry(_relative(folder, claimed), 0, _GIVEN_BACK))


def _add(folder: Path, entry: _Entry) -> None:
    # It begins with the end of a line, because the last one may be torn.
    line = "\n" + json.dumps(asdict(entry), ensure_ascii=False) + "\n"
    # One write of one line: threads and processes that share the folder do not tear each other's.
    descriptor = os.open(folder / MANIFEST, os.O_WRONLY | os.O_APPEND)
    try:
        data = line.encode("utf-8")
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def find_foreign(paths: Iterable[Path]) -> list[Path]:
    """Those of `paths` that exist and that dinoseg did not write, or that were changed since.

    A log that is added to while a command runs is ours as long as it begins with what was noted of it.
    """
    return list(seek_foreign(paths))


def seek_foreign(paths: Iterable[Path]) -> Iterator[Path]:
    """`find_foreign` one by one: the first is found without looking at the others."""
    manifests: dict[Path, Mapping[str, Sequence[_Entry]]] = {}
    for path in paths:
        if not (path.exists() or path.is_symlink()):
            continue
        entries, lent_now = list[_Entry](), False
        for folder in _find_claimed(path):
            if folder not in manifests:
                manifests[folder] = _read(folder)
            entries += manifests[folder].get(_relative(path, folder), [])
            lent_now = lent_now or _is_lent(path, folder, manifests[folder])
        ours = not path.is_symlink() and any(_fits(path, entry) for entry in reversed(entries))
        if not (ours or lent_now):
            yield path


def refuse_foreign(paths: Iterable[Path]) -> None:
    """Raise `OutputError` if one of the files exists and is not ours to replace."""
    if foreign := list(islice(seek_foreign(paths), 2)):
        more = " (and others)" if len(foreign) > 1 else ""
        raise OutputError(
            f"{foreign[0]}{more} {NOT_OURS}, and --overwrite replaces only what dinoseg wrote; "
            "choose another --out, or move it away"
        )


def list_files(folder: Path) -> Iterator[Path]:
    """All files and links below a folder but manifests, locks, and what is being written."""
    for path in folder.rglob("*"):
        if (path.is_symlink() or not path.is_dir()) and path.name != MANIFEST and not is_temporary(path):
            yield path


def remove_ours(folder: Path) -> None:
    """Delete all files below a folder, where dinoseg wrote all of them; else nothing.

    What another process is writing now, and locks, stay.

    Raises:
        OutputError: a file is not ours; it is named.
    """
    refuse_foreign(list_files(folder))
    try:
        # The manifests last: killed in between, the rest is still known to be ours.
        for path in [*list_files(folder), *folder.rglob(MANIFEST)]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise fail(f"{folder} could not be emptied", error) from error
    for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # something is being written there
            below.rmdir()


def is_claimed(path: Path) -> bool:
    """Whether a folder above a file keeps a list of what dinoseg wrote."""
    return any(True for _ in _find_claimed(path))


def _find_claimed(path: Path) -> Iterator[Path]:
    """The claimed folders above a file, innermost first."""
    return (folder for folder in path.absolute().parents if (folder / MANIFEST).is_file())


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.absolute(), folder)).as_posix()


def _read(folder: Path) -> Mapping[str, Sequence[_Entry]]:
    entries: dict[str, list[_Entry]] = {}
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # what cannot be known to be ours is not
        return entries
    for line in lines:
        with suppress(ValueError, TypeError):  # the last line of a process that was killed
            entry = _Entry(**json.loads(line))
            entries.setdefault(entry.file, []).append(entry)
    return entries


def _is_lent(path: Path, folder: Path, manifest: Mapping[str, Sequence[_Entry]]) -> bool:
    """Whether a folder above a file is lent now."""
    above = [part.as_posix() for part in Path(_relative(path, folder)).parents]
    return any(manifest[part][-1].sha256 == _LENT for part in above if part in manifest)


def _fits(path: Path, entry: _Entry) -> bool:
    with suppress(OSError):
        held = path.stat().st_size
        if held == entry.bytes or (held > entry.bytes and _grows(path)):
            return _measure(path, entry.bytes) == (entry.bytes, entry.sha256)
    return False


def _grows(path: Path) -> bool:
    """Whether it is a log of TensorBoard or W&B or a list of predictions, which are appended to later."""
    return any(part in path.name for part in _GROWING)


def _measure(path: Path, most: int | None = None) -> tuple[int, str]:
    """Bytes and sha256 of a file, or of its first `most` bytes."""
    digest, total = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK if most is None else min(_CHUNK, most - total)):
            digest.update(chunk)
            total += len(chunk)
    return total, digest.hexdigest()

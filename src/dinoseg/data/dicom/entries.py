"""Files of a folder or members of a zip, opened in the same way; a zip is never unpacked onto the disk."""

from __future__ import annotations

import os
import stat
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, cast

from dinoseg.data.dicom.libraries import explaining
from dinoseg.data.volumes.access import refuse_non_file
from dinoseg.errors import FileFormatError

MAX_ARCHIVE_BYTES = 16 << 30
MAX_MEMBERS = 200_000

_MAGIC_AT = 128
_MAGIC = b"DICM"
_ENCRYPTED = 0x1
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True)
class Entry:
    """One file, on the disk or in a zip.

    Attributes:
        place: the file, or the zip that holds it.
        size: bytes, unpacked.
        member: its name in the zip; empty for a file on the disk.
        archive: the open zip, or None.
    """

    place: Path
    size: int
    member: str = ""
    archive: zipfile.ZipFile | None = field(default=None, repr=False, compare=False)

    @property
    def path(self) -> Path:
        """What to call it: for a member, the zip's path and the name in it."""
        return self.place / self.member if self.member else self.place

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open it for reading; a member is unpacked as far as it is read, and never further than `size`.

        Raises:
            FileFormatError: what happens in the block fails.
        """
        with explaining(self.path):
            if self.archive is None:
                with self.place.open("rb") as file:
                    yield file
            else:
                with self.archive.open(self.member) as member:
                    yield cast(BinaryIO, member)

    def is_dicom(self) -> bool:
        """Whether the first bytes are those of a DICOM file.

        Raises:
            FileFormatError: it cannot be read.
        """
        if self.size < _MAGIC_AT + len(_MAGIC):
            return False
        with self.open() as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


@contextmanager
def open_place(
    place: Path, *, files: Sequence[Path] = (), max_bytes: int | None = None
) -> Iterator[tuple[Entry, ...]]:
    """Every file of a folder and its sub-folders, of a zip, or one file; sorted by name.

    Links to folders are not followed. Members of a zip can be opened inside the block only.

    Args:
        place: a folder, a zip, or a single file.
        files: look at these instead of all files of the folder.
        max_bytes: the most that a zip may hold unpacked; None for `MAX_ARCHIVE_BYTES`.

    Raises:
        FileFormatError: nothing is there, or the zip is damaged, encrypted, too large, or has members
            that point out of it or would overwrite each other.
    """
    if files:
        for file in files:
            refuse_non_file(file)
        yield tuple(Entry(file, file.stat().st_size) for file in sorted(files))
        return
    if place.is_dir():
        yield tuple(_walk(place))
        return
    refuse_non_file(place)
    if not _is_zip(place):
        yield (Entry(place, place.stat().st_size),)
        return
    with explaining(place):
        archive = zipfile.ZipFile(place)
    with archive:
        yield _list_members(place, archive, max_bytes=max_bytes or MAX_ARCHIVE_BYTES)


def _walk(folder: Path) -> Iterator[Entry]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            try:
                status = path.stat()
            except OSError:
                continue  # a link that leads nowhere
            if stat.S_ISREG(status.st_mode):
                yield Entry(path, status.st_size)


def _is_zip(path: Path) -> bool:
    with explaining(path), path.open("rb") as file:
        return file.read(4) in _ZIP_MAGIC


def _list_members(path: Path, archive: zipfile.ZipFile, *, max_bytes: int) -> tuple[Entry, ...]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise FileFormatError(f"{path} holds {len(members):,} members; accepted are {MAX_MEMBERS:,}")
    for member in members:
        _refuse_unsafe(path, member)
    files = sorted((member for member in members if not member.is_dir()), key=lambda file: file.filename)
    total = sum(member.file_size for member in files)
    if total > max_bytes:
        raise FileFormatError(f"{path} unpacks to {total:,} bytes; accepted are {max_bytes:,}")
    _refuse_clashes(path, [file.filename for file in files])
    return tuple(Entry(path, file.file_size, file.filename, archive) for file in files)


def _refuse_clashes(path: Path, names: Sequence[str]) -> None:
    r"""Raise where two members are one file: unpacked, the second would take the place of the first.

    `IM` and `./IM` are one file everywhere, `IM` and `im` on Windows and macOS, `a\IM` and `a/IM`
    on Windows. Which of the two is meant cannot be known, so that neither is read.
    """
    taken: dict[str, str] = {}
    for name in names:
        same = unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix()).casefold()
        if same in taken:
            both = f"{name} twice" if taken[same] == name else f"{taken[same]} and {name}, which are one file"
            raise FileFormatError(f"{path} holds {both}; pack it again with different names")
        taken[same] = name


def _refuse_unsafe(path: Path, member: zipfile.ZipInfo) -> None:
    # `orig_filename` is what the archive says; `filename` was cut at a null byte.
    name = member.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive or "\0" in name:
        raise FileFormatError(
            f"{path} has a member that points out of it ({name!r}); it was made to harm: get another one"
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise FileFormatError(f"{path} has a link as a member ({name!r}); pack the files themselves")
    if member.flag_bits & _ENCRYPTED:
        raise FileFormatError(f"{path} is encrypted; unpack it first and give the folder")

"""Opening files of volumes: every failure becomes one line that names file and reason."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dinoseg.data.images.decoding import explain_access
from dinoseg.errors import DinosegError, FileFormatError

# The most that each encoding can shrink; a file that promises more is not what it says.
SMALLEST_SHARE = {"raw": 1.0, "text": 1.0, "gzip": 1 / 1100, "zlib": 1 / 1100, "bzip2": 1 / 100_000}
_SLACK = 1 << 16


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Check that `path` is a file with content; turn every exception of the block into a FileFormatError."""
    try:
        refuse_non_file(path)
        yield
    except DinosegError:
        raise
    except Exception as error:  # damaged bytes make libraries raise nearly anything
        raise FileFormatError(f"{path} {_explain(path, error)}") from error


def refuse_non_file(path: Path) -> None:
    """Raise unless `path` is a regular file with content.

    Raises:
        FileFormatError: missing, a folder, a device, or empty.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FileFormatError(f"{path} {explain_access(path, error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise FileFormatError(f"{path} is a folder, not the file of a volume")
    if not stat.S_ISREG(status.st_mode):
        raise FileFormatError(f"{path} is not a regular file")
    if status.st_size == 0:
        raise FileFormatError(f"{path} is empty (0 bytes); copy it again from its source")


def refuse_too_small(name: object, *, needed: int, available: int, encoding: str) -> None:
    """Raise where `available` bytes of a file cannot hold the `needed` ones its header promises.

    Said before any memory is taken, so that a header with absurd sizes costs nothing.

    Raises:
        FileFormatError: the file is truncated, or its header wrong.
    """
    slack = 0 if encoding in ("raw", "text") else _SLACK
    if available + slack < needed * SMALLEST_SHARE[encoding]:
        raise FileFormatError(
            f"{name} is truncated, or its header wrong: {needed:,} bytes of voxels are promised, "
            f"{max(available, 0):,} bytes follow ({encoding}); copy it again from its source"
        )


def contained_file(header: Path, name: str) -> Path:
    """The data file that a header names, which must lie in the header's folder or below.

    Raises:
        FileFormatError: it lies elsewhere, or is missing or empty.
    """
    root = header.parent.absolute()
    parts = (root / name).parts
    if ".." in Path(name).parts or parts[: len(root.parts)] != root.parts:
        raise FileFormatError(
            f"{header} names a data file outside its folder ({name}); "
            "put the file beside it and correct the name"
        )
    path = header.parent / name
    try:
        refuse_non_file(path)
    except FileFormatError as error:
        raise FileFormatError(f"{header} names the data file {name}, but {error}") from error
    return path


def _explain(path: Path, error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, PermissionError):
        return explain_access(path, error)
    if isinstance(error, MemoryError):
        return f"needs more memory than there is ({text})"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"is truncated ({text}); copy it again from its source"
    return f"cannot be read ({text}); is it damaged?"

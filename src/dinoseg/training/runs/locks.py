"""One process at a time: the lock on the folder of a run, or of a series of runs."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dinoseg.errors import RunError
from dinoseg.outputs import fail

# A name as of a temporary file: what a killed process left of it is no content of the folder.
LOCK = ".tmp-lock"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder`, which is made where it is missing.

    The lock is the kernel's: it ends with the process, however that ends. A disk that knows no
    locks has none.

    Raises:
        RunError: another process trains there.
        OutputError: the folder cannot be made or written.
    """
    path = folder.absolute() / LOCK
    lock = FileLock(path, timeout=0)
    _take(lock, folder)
    try:
        yield
    finally:
        with suppress(OSError):  # before it is released: afterwards it may be another process's
            path.unlink()
        lock.release()


def refuse_locked(folder: Path) -> None:
    """Raise `RunError` if another process trains in `folder` now."""
    if (folder / LOCK).exists():
        with locked(folder):
            pass


def _take(lock: FileLock, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"another process is training in {folder}; wait for its end, or choose another --out"
        ) from error
    except NotImplementedError:  # how older versions of filelock say that the disk knows no locks
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise fail(f"{folder} could not be opened for training", error) from error

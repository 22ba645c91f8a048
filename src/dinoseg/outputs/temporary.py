"""Names of what is being written, and what a killed process left under such names."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.(?:(?P<host>[0-9a-f]{8})-(?P<process>\d+)-)?[0-9a-f]{12}\.tmp-.+")
_LOCK = ".tmp-lock"
_ABANDONED = 24 * 3600.0  # seconds after which even another machine's is nobody's any more


def name_temporary(path: Path) -> Path:
    """A name beside `path` for what becomes `path`; it keeps the suffixes and says who is writing."""
    return path.with_name(f".{_host()}-{os.getpid()}-{secrets.token_hex(6)}.tmp-{path.name}")


def is_temporary(path: Path) -> bool:
    """Whether `path` is being written, or was left behind by a writer that was killed."""
    return path.name == _LOCK or _NAME.fullmatch(path.name) is not None


def sweep(paths: Iterable[Path]) -> None:
    """Remove those of `paths` that a process left behind which is no longer there."""
    found: list[Path] = []
    with suppress(OSError):  # another process is removing folders
        found.extend(paths)
    for path in found:
        if path.name != _LOCK and is_temporary(path) and _is_abandoned(path):
            _remove(path)


def _is_abandoned(path: Path) -> bool:
    found = _NAME.fullmatch(path.name)
    if found is None:
        return False
    if found["host"] == _host():
        return not _is_running(int(found["process"]))
    with suppress(OSError):  # of another machine that shares the disk: nobody knows but by its age
        return time.time() - path.stat().st_mtime > _ABANDONED
    return False


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and belongs to somebody else
        return True
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]

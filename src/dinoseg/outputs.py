"""Writing outputs so that nothing is lost: temporary name first, then moved into place."""

from __future__ import annotations

import csv
import errno
import json
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any

from dinoseg.errors import OutputError

_TEMPORARY = ".tmp-"


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if `path` exists and `overwrite` is false."""
    if not overwrite and path.exists():
        raise OutputError(f"{path} exists already; choose another name or add --overwrite")


def is_temporary(path: Path) -> bool:
    """Whether `path` was left behind by a writer that was killed."""
    return path.name.startswith(".") and _TEMPORARY in path.name


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block succeeds.

    Args:
        path: the final file; its folder is created. The temporary name keeps the suffixes,
            because some writers choose their format by them.
        overwrite: replace an existing file; otherwise an existing file is an error.

    Raises:
        OutputError: the file exists, or the disk is full or not writable. The temporary
            file is removed and an older `path` is left untouched.
    """
    refuse_existing(path, overwrite=overwrite)
    temporary = path.with_name(f".{secrets.token_hex(6)}{_TEMPORARY}{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {explain(error)}") from error
    finally:
        with suppress(OSError):  # for example where a part of the path is a file; the first error counts
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write UTF-8 text to `path` in one move."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, overwrite: bool = False) -> None:
    """Write `value`, as `to_plain` gives it, as indented JSON to `path` in one move."""
    text = json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", overwrite=overwrite)


def to_plain(value: Any, *, relative_to: Path | None = None) -> Any:
    """Dataclasses, paths and arrays as what JSON knows; NaN and infinities as null.

    Args:
        value: whatever is to be written.
        relative_to: paths below this folder are given relative to it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return to_plain(named, relative_to=relative_to)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, relative_to=relative_to) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item, relative_to=relative_to) for item in value]
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PurePath):
        if relative_to is not None and value.is_relative_to(relative_to):
            return value.relative_to(relative_to).as_posix()
        return str(value)
    return to_plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def write_csv(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    comments: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write `rows` (all with the keys of the first) to `path`; each comment becomes a `# ` line on top."""
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        file.writelines(f"# {comment}\n" for comment in comments)
        if rows:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def explain(error: OSError) -> str:
    """Why something could not be written, and what helps."""
    if error.errno == errno.ENOSPC:
        return "the disk is full; free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "the folder is not writable; choose another one with --out"
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return "a part of its path is a file, not a folder; choose another one with --out"
    return str(error)

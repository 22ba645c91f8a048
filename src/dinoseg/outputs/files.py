"""Writing outputs so that nothing is lost: temporary name first, then moved into place."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dinoseg.outputs.failures import fail
from dinoseg.outputs.manifest import record
from dinoseg.outputs.plain import to_plain
from dinoseg.outputs.refusals import refuse_existing
from dinoseg.outputs.temporary import name_temporary, sweep


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
    temporary = name_temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        record(path, temporary)
        temporary.replace(path)
    except OSError as error:
        raise fail(f"{path} could not be written", error) from error
    finally:
        with suppress(OSError):  # for example where a part of the path is a file; the first error counts
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_files(paths: Sequence[Path], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder for files that belong together; they get their places when all are written.

    Args:
        paths: the final files, all in one folder; the block writes each by its name.
        overwrite: replace existing files; otherwise one is an error.

    Raises:
        OutputError: a file exists, or the disk is full or not writable. All older ones are untouched.
    """
    for path in paths:
        refuse_existing(path, overwrite=overwrite)
    folder = name_temporary(paths[0].parent / "files")
    try:
        folder.mkdir(parents=True)
        yield folder
        for path in paths:
            record(path, folder / path.name)
        for path in paths:
            (folder / path.name).replace(path)
    except OSError as error:
        raise fail(f"{paths[0].parent} could not be written", error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` that gets its name when the block succeeds, and else is removed.

    Raises:
        OutputError: there is such a folder already, or it cannot be written.
    """
    refuse_existing(target, overwrite=False)
    temporary = name_temporary(target)
    sweep(target.parent.glob(f".*.tmp-{target.name}"))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        refuse_existing(target, overwrite=False)
        temporary.rename(target)
    except OSError as error:
        raise fail(f"{target} could not be written", error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write UTF-8 text to `path` in one move."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, overwrite: bool = False) -> None:
    """Write `value`, as `to_plain` gives it, as indented JSON to `path` in one move."""
    text = json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", overwrite=overwrite)


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

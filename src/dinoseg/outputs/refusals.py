"""What may be written where: asked before any work, so that nothing of a person's is ever replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dinoseg.errors import OutputError
from dinoseg.outputs.manifest import NOT_OURS, find_foreign, list_files, seek_foreign


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if `path` exists and `overwrite` is false."""
    if overwrite or not path.exists():
        return
    if find_foreign([path]):
        raise OutputError(f"{path} exists already, and {NOT_OURS}; choose another name, or move it away")
    raise OutputError(f"{path} exists already; choose another name or add --overwrite")


def refuse_taken(
    paths: Iterable[Path], *, overwrite: bool, others: str = "add --overwrite to replace"
) -> None:
    """Refuse files that are to be written where something is already.

    Args:
        paths: to be written.
        overwrite: those that dinoseg wrote, and nobody changed since, may be replaced.
        others: what can be done beside another `--out` where all that is there is ours.

    Raises:
        OutputError: a file is there that is not ours, whatever `overwrite` says, or any without it.
    """
    present = [path for path in paths if path.exists() or path.is_symlink()]
    for path in seek_foreign(present):
        raise OutputError(f"{path} exists already, and {NOT_OURS}; choose another --out, or move it away")
    if present and not overwrite:
        raise OutputError(f"{present[0]} exists already; choose another --out, or {others}")


def refuse_filled(folder: Path, *, overwrite: bool, resumable: bool = False) -> None:
    """Refuse a folder that is to be written from nothing and holds a file; all of ours may be replaced.

    Args:
        folder: to be written.
        overwrite: it may hold what dinoseg wrote, and nobody changed since.
        resumable: what is there could be gone on with.

    Raises:
        OutputError: it holds a file that is not ours, whatever `overwrite` says, or any without it.
    """
    if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
        raise OutputError(f"{folder} is a file; name a folder with --out")
    for path in seek_foreign(list_files(folder)):
        go_on = "continue with --resume, " if resumable and not overwrite else ""
        raise OutputError(
            f"{folder} is not empty: {path} {NOT_OURS}; {go_on}choose another --out, or move it away"
        )
    if not overwrite and holds_files(folder):
        ways = "continue with --resume, start anew" if resumable else "choose another folder, or start anew"
        raise OutputError(f"{folder} is not empty; {ways} with --overwrite")


def holds_files(folder: Path) -> bool:
    """Whether anything is there but a manifest, locks, and what killed processes left; true of a file."""
    return any(True for _ in list_files(folder)) if folder.is_dir() else folder.exists()

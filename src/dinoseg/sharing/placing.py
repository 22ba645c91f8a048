"""Copying a model into a folder, the index last."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path

from dinoseg.outputs import atomic_path, claim, refuse_taken
from dinoseg.sharing.index import INDEX


def place(source: Path, names: Sequence[str], target: Path, *, overwrite: bool) -> None:
    """Copy files below `source` to `target`; whoever reads it meanwhile sees an old or a new model.

    Without its index a copy was interrupted: what arrived of it stays, and the rest follows.

    Args:
        source: a folder.
        names: of files in it, the index last.
        target: another folder.
        overwrite: replace an older model there.

    Raises:
        OutputError: a file is there that is not ours, or any without `overwrite`, or the disk is full.
    """
    begun = not (target / INDEX).exists()
    left = [name for name in names if not (begun and _is_same(source / name, target / name))]
    refuse_taken([target / name for name in left], overwrite=overwrite)
    claim(target)
    for name in left:
        with atomic_path(target / name, overwrite=overwrite) as temporary:
            shutil.copyfile(source / name, temporary)


def _is_same(path: Path, other: Path) -> bool:
    return other.is_file() and not other.is_symlink() and filecmp.cmp(path, other, shallow=False)

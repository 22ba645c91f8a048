"""What lies in the folder of a data set and is not used: other images, files nearly named right."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from dinoseg.data.cases.files import CaseFiles, natural_key, shorten
from dinoseg.data.images.decoding import SUFFIXES
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.layouts.folders import is_clutter
from dinoseg.data.layouts.remarks import Remark
from dinoseg.data.layouts.tables import is_case_table
from dinoseg.data.volumes import volume_suffix

# The names that are read, lower case: from the root of a data set, whatever the case of theirs.
READ_NAMES = (
    *("dataset.yaml", "dataset.yml", "groups.csv", "splits.json", "splits_final.json", "dataset.json"),
    *("volumes.json", "splits"),
)
SUGGESTION = "groups_suggested.csv"
_FOR_PEOPLE = re.compile(r"(readme|licen[cs]e|citation|changelog|notice)\b.*|.*\.md", re.IGNORECASE)
_UNLABELLED = frozenset({"imagests"})  # nnU-Net's pictures to predict; they never have labels
_AFTER_NAME = re.compile(r": | has the extension | is (?:a|not|too) ")  # in a problem that begins with a file
_MOST_COUNTED = 100_000
_ALIKE = 0.8


def find_unused(
    root: Path, cases: Sequence[CaseFiles], *, table: Path | None = None, problems: Collection[str] = ()
) -> tuple[Remark, ...]:
    """One line for each folder and each kind of file of a data set that no case uses.

    Args:
        root: of the data set.
        cases: its cases.
        table: the CSV they come from, given as a file: then only the folders of its files are looked at.
        problems: what was said already; files named there are not named again.
    """
    if not cases:  # then everything is named as a problem
        return ()
    used = {_normal(path) for case in cases for path in (*case.images, *case.labels)}
    homes = {Path(path).parent for path in used}
    top = Path(_normal(root))
    branches = {branch for home in homes for branch in (home, *home.parents) if branch.is_relative_to(top)}
    said = {_normal(Path(_AFTER_NAME.split(problem)[0])) for problem in problems}
    remarks: list[Remark] = _find_misnamed(root)
    for folder in sorted(branches | {top} if table is None else homes):
        inside = _list(folder)
        left = [entry for entry in inside if str(entry) not in used | said and entry not in branches]
        left = [entry for entry in left if not (entry.is_dir() and _holds_any(entry, used))]
        if folder == top:
            left = [entry for entry in left if not _is_read(entry, table)]
        shown = root if folder == top else root / folder.relative_to(top) if folder in branches else folder
        remarks += _describe(shown, left, folders=table is None, pictures=not problems)
    return tuple(remarks)


def _describe(folder: Path, left: Sequence[Path], *, folders: bool, pictures: bool) -> list[Remark]:
    inner = [entry for entry in left if entry.is_dir()] if folders else []
    remarks = [_describe_folder(folder / entry.name, entry) for entry in inner]
    broken = [entry for entry in left if entry.is_symlink() and not entry.exists()]
    remarks += [
        Remark("unused", f"{folder / entry.name} is a link to something that does not exist", matters=True)
        for entry in broken
    ]
    files = [entry for entry in left if entry.is_file()]
    images = [entry.name for entry in files if _is_picture(entry)]
    if images and pictures:
        what = "1 image that belongs" if len(images) == 1 else f"{len(images)} images that belong"
        remarks.append(Remark("unused", f"{folder} holds {what} to no case: {shorten(images, limit=5)}"))
    others = [entry.name for entry in files if not (_is_picture(entry) or _FOR_PEOPLE.fullmatch(entry.name))]
    if others and folders:
        remarks.append(Remark("unused", f"{folder}: not used: {shorten(others, limit=5)}"))
    return remarks


def _holds_any(folder: Path, used: Collection[str]) -> bool:
    """Whether files that are used through links lie in `folder`."""
    target = folder.resolve()
    return any(Path(path).resolve().is_relative_to(target) for path in used)


def _describe_folder(shown: Path, folder: Path) -> Remark:
    names = [name for _, _, files in os.walk(folder) for name in files if not is_clutter(name)]
    count = sum(_is_picture(Path(name)) for name in islice(names, _MOST_COUNTED))
    link = f" (a link to {folder.readlink()})" if folder.is_symlink() else ""
    if not count:
        return Remark("unused", f"{shown}/ is not used{link}")
    what = "1 image" if count == 1 else f"{count} images"
    matters = folder.name.casefold() not in _UNLABELLED
    return Remark("unused", f"{shown}/ holds {what} and is not used{link}", matters)


def _find_misnamed(root: Path) -> list[Remark]:
    """Files that are nearly called as one that is read."""
    remarks = []
    for entry in _list(root):
        name = entry.name.casefold()
        if not entry.is_file() or name in (*READ_NAMES, SUGGESTION) or entry.suffix.casefold() in SUFFIXES:
            continue
        bare = name.removesuffix(".txt")
        like = [bare] if bare in READ_NAMES else difflib.get_close_matches(name, READ_NAMES, 1, _ALIKE)
        if like:
            remarks.append(
                Remark("unused", f"{entry} is not read; is it meant to be called {like[0]}?", matters=True)
            )
    return remarks


def find_idle_splits(root: Path, *, own: bool) -> tuple[Remark, ...]:
    """Splits that stand back behind splits.json or splits_final.json, which are looked for first.

    Args:
        root: of the data set.
        own: whether the layout has splits of its own: folders, lists, or a column.
    """
    chosen = find_named(root, "splits.json") or find_named(root, "splits_final.json")
    idle = find_named(root, "splits_final.json")
    if chosen is None:
        return ()
    left = [str(idle)] if idle and idle != chosen else []
    left += ["the splits of the layout (folders, lists or a column)"] if own else []
    return tuple(Remark("split", f"{chosen} goes before {other}") for other in left)


def find_idle_tables(root: Path, layout: str) -> tuple[Remark, ...]:
    """CSV files with the columns image and mask that stand back behind the folders of a layout."""
    return tuple(
        Remark("unused", f"{entry} has the columns image and mask and is not used, because of {layout}", True)
        for entry in _list(root)
        if is_case_table(entry)
    )


def _is_read(entry: Path, table: Path | None) -> bool:
    name = entry.name.casefold()
    like = difflib.get_close_matches(name, READ_NAMES, 1, _ALIKE) or name.removesuffix(".txt") in READ_NAMES
    return bool(name in (*READ_NAMES, SUGGESTION) or like or is_case_table(entry) or entry == table)


def _list(folder: Path) -> list[Path]:
    try:
        found: Iterable[Path] = [entry for entry in folder.iterdir() if not is_clutter(entry.name)]
    except OSError:
        return []
    return sorted(found, key=lambda entry: natural_key(entry.name))


def _normal(path: Path) -> str:
    """The absolute path without `..`, links left as they are."""
    return os.path.normpath(path.absolute())


def _is_picture(path: Path) -> bool:
    return path.suffix.casefold() in SUFFIXES or bool(volume_suffix(path))

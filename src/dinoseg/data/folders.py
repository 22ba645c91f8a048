"""What lies in a folder: images, subfolders, and entries that are neither."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.case_files import natural_key
from dinoseg.data.formats.decoding import SUFFIXES, explain_access
from dinoseg.errors import LayoutError

_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
_OTHER_IMAGES = re.compile(
    r"\.(gif|webp|hei[cf]|avif|jp2|j2k|jxl|p[bgp]m|svg|psd|exr|np[yz]|mat|dcm|nii|gz|mh[ad]|nrrd|svs|ndpi|mp4|avi|mov)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Folder:
    """The entries of one folder, in natural order, without hidden files and system clutter.

    Attributes:
        path: the folder.
        images: files with a supported extension.
        folders: subfolders.
        problems: one line for each entry that looks like an image and cannot be used.
    """

    path: Path
    images: tuple[Path, ...]
    folders: tuple[Path, ...]
    problems: tuple[str, ...]

    def subfolder(self, names: Collection[str]) -> Path | None:
        """The one subfolder with any of `names` (lower case).

        Raises:
            LayoutError: there are several.
        """
        found = [folder for folder in self.folders if folder.name.casefold() in names]
        if len(found) > 1:
            listed = " and ".join(folder.name for folder in found)
            raise LayoutError(f"{self.path} holds {listed}; keep one of them, or list the files in a CSV")
        return found[0] if found else None


def open_folder(path: Path) -> Folder:
    """Look into `path` (not into its subfolders).

    Raises:
        LayoutError: it cannot be read.
    """
    try:
        found = [entry for entry in path.iterdir() if not _is_clutter(entry.name)]
    except OSError as error:
        raise LayoutError(f"{path} {explain_access(path, error)}") from error
    found.sort(key=lambda entry: natural_key(entry.name))
    folders = [entry for entry in found if entry.is_dir()]
    inside = set(folders)
    problem_of = {entry: _find_problem(entry) for entry in found if entry not in inside}
    problems = [problem for problem in problem_of.values() if problem]
    problems += [f"{entry} is a folder, not an image file" for entry in folders if _has_image_name(entry)]
    images = tuple(entry for entry, problem in problem_of.items() if _has_image_name(entry) and not problem)
    return Folder(path, images, tuple(folders), tuple(problems))


def refuse_subfolders(folder: Folder) -> tuple[str, ...]:
    """One line for each subfolder: they are not searched."""
    return tuple(
        f"{entry} is a subfolder, which is not searched; move its files up or list them in a CSV"
        for entry in folder.folders
        if not _has_image_name(entry)
    )


def list_images(path: Path) -> tuple[Path, ...]:
    """The images of a folder in natural order, for prediction.

    Raises:
        LayoutError: the folder cannot be read, or holds no image.
    """
    folder = open_folder(path)
    if not folder.images:
        raise LayoutError(f"{path} holds no image; accepted are {', '.join(SUFFIXES)}")
    return folder.images


def _is_clutter(name: str) -> bool:
    return name.startswith((".", "~$")) or name.casefold() in _CLUTTER


def _has_image_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _find_problem(path: Path) -> str:
    if _OTHER_IMAGES.fullmatch(path.suffix):
        return f"{path} has the extension {path.suffix}; accepted are {', '.join(SUFFIXES)}"
    if not _has_image_name(path):
        return ""
    try:
        path.stat()
    except OSError as error:
        return f"{path} {explain_access(path, error)}"
    return "" if path.is_file() else f"{path} is not a regular file"

"""What lies in a folder: images, volumes, subfolders, and entries that are none of these."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import natural_key
from dinoseg.data.images.decoding import SUFFIXES, explain_access
from dinoseg.data.volumes.files import volume_suffix
from dinoseg.errors import LayoutError

_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
_OTHER_IMAGES = re.compile(
    r"\.(gif|webp|hei[cf]|avif|jp2|j2k|jxl|p[bgp]m|svg|psd|exr|np[yz]|mat|dcm|gz|svs|ndpi|mp4|avi|mov)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Folder:
    """The entries of one folder, in natural order, without hidden files and system clutter.

    Attributes:
        path: the folder.
        images: files with the extension of a 2D image.
        folders: subfolders.
        problems: one line for each entry that looks like an image and cannot be used.
        volumes: files with the extension of a volume.
    """

    path: Path
    images: tuple[Path, ...]
    folders: tuple[Path, ...]
    problems: tuple[str, ...]
    volumes: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Images, then volumes."""
        return self.images + self.volumes

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
        found = [entry for entry in path.iterdir() if not is_clutter(entry.name)]
    except OSError as error:
        raise LayoutError(f"{path} {explain_access(path, error)}") from error
    found.sort(key=lambda entry: natural_key(entry.name))
    folders = [entry for entry in found if entry.is_dir()]
    inside = set(folders)
    problem_of = {entry: _find_problem(entry) for entry in found if entry not in inside}
    problems = [problem for problem in problem_of.values() if problem]
    problems += [f"{entry} is a folder, not an image file" for entry in folders if _has_image_name(entry)]
    usable = [entry for entry, problem in problem_of.items() if not problem]
    images = tuple(entry for entry in usable if _has_image_name(entry))
    volumes = tuple(entry for entry in usable if volume_suffix(entry))
    return Folder(path, images, tuple(folders), tuple(problems), volumes)


def refuse_subfolders(folder: Folder) -> tuple[str, ...]:
    """One line for each subfolder: they are not searched."""
    return tuple(
        f"{entry} is a subfolder, which is not searched; move its files up or list them in a CSV"
        for entry in folder.folders
        if not _has_image_name(entry)
    )


def is_clutter(name: str) -> bool:
    """Whether an entry is hidden or left behind by an operating system."""
    return name.startswith((".", "~$")) or name.casefold() in _CLUTTER


def _has_image_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _find_problem(path: Path) -> str:
    if not _has_image_name(path) and not volume_suffix(path):
        other = _OTHER_IMAGES.fullmatch(path.suffix)
        return f"{path} has the extension {path.suffix}; accepted are {', '.join(SUFFIXES)}" if other else ""
    try:
        path.stat()
    except OSError as error:
        return f"{path} {explain_access(path, error)}"
    return "" if path.is_file() else f"{path} is not a regular file"

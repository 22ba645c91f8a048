"""Volumes of several channels: one 4D file, or NAME_0000, NAME_0001 and so on, as nnU-Net names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.volumes import read_channels
from dinoseg.data.volumes import Volume, read_volume, read_volume_info, volume_stem, volume_suffix
from dinoseg.errors import FileFormatError

_NUMBERED = re.compile(r"(?P<name>.+)_(?P<number>\d{4})")

T = TypeVar("T")


def read_all_channels(path: Path, count: int) -> Volume:
    """Read the volume that a model of `count` channels asks for.

    Args:
        path: a file with all channels; or the first of several files, NAME_0000, the others beside it.
        count: channels of the model.

    Raises:
        FileFormatError: a file is missing or cannot be read, or a 4D file holds another number.
    """
    if count == 1:
        return read_volume(path)
    numbered = _NUMBERED.fullmatch(volume_stem(path))
    if numbered is None or int(numbered["number"]) > 0:
        held = read_volume_info(path).count
        return read_volume(path, channel=tuple(range(count)) if held == count else None)
    files = list_channels(path, count)
    for file in files:
        if not file.exists():
            raise FileFormatError(f"{file} does not exist; the model was trained on {count} channels")
    name = volume_stem(path)
    return read_channels(CaseFiles(name, path, None, group=name, split=None, channels=files))


def list_channels(path: Path, count: int) -> tuple[Path, ...]:
    """The files of a volume of `count` channels: its own alone, or NAME_0000 and those beside it."""
    numbered = _NUMBERED.fullmatch(volume_stem(path))
    if count == 1 or numbered is None or int(numbered["number"]) > 0:
        return (path,)
    return tuple(_sibling(path, numbered["name"], number) for number in range(count))


def first_channel(path: Path) -> Path | None:
    """NAME_0000 of a file that is a further channel by its name, else None."""
    numbered = _NUMBERED.fullmatch(volume_stem(path)) if volume_suffix(path) else None
    if numbered is None or int(numbered["number"]) == 0:
        return None
    return _sibling(path, numbered["name"], 0)


def drop_companions(items: Sequence[T], channels: int) -> list[T]:
    """The items without further channels of volumes among them; with one channel each file is a volume."""
    if channels == 1:
        return list(items)
    given = {Path(item) for item in items if isinstance(item, str | Path)}
    return [
        item for item in items if not (isinstance(item, str | Path) and first_channel(Path(item)) in given)
    ]


def _sibling(path: Path, name: str, number: int) -> Path:
    suffix = path.name[len(volume_stem(path)) :]  # as written, also in capitals
    return path.with_name(f"{name}_{number:04d}{suffix}")

"""What people may ask a model about: files, folders, arrays, images and cases; each becomes a `Case`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import Case, Image
from dinoseg.data.folders import open_folder
from dinoseg.data.formats import read_image
from dinoseg.data.formats.decoding import SUFFIXES
from dinoseg.errors import LayoutError, UsageError

Source: TypeAlias = "str | Path | NDArray[Any] | Image | Case"

_ARRAYS = "accepted are (H, W) or (H, W, 3) of uint8, uint16, or floats from 0 to 1"
_ROUNDING = 1e-6  # by which floats may leave 0..1


@dataclass(frozen=True)
class Listing:
    """The image files of a folder tree in natural order, and one line for each entry that is unusable."""

    files: tuple[Path, ...]
    problems: tuple[str, ...]


def find_images(folder: Path, *, leave_out: Path | None = None) -> Listing:
    """Find image files by their suffix in a folder and all its sub-folders.

    Linked folders are not followed and hidden names are left alone.

    Args:
        folder: where to look.
        leave_out: a folder that is not looked into (the output of an earlier call).
    """
    try:
        content = open_folder(folder)
    except LayoutError as error:
        return Listing((), (str(error),))
    files, problems = list(content.images), list(content.problems)
    for inner in content.folders:
        if not inner.is_symlink() and (leave_out is None or normalise(inner) != normalise(leave_out)):
            below = find_images(inner, leave_out=leave_out)
            files += below.files
            problems += below.problems
    return Listing(tuple(files), tuple(problems))


def normalise(path: Path) -> str:
    """The absolute path without `..`; not resolved, so that a linked file keeps the name it was given."""
    return os.path.normpath(path.absolute())


def is_many(source: Source | Sequence[Source]) -> bool:
    """Whether a source stands for several images: a list, or a folder."""
    if isinstance(source, str | Path):
        return Path(source).is_dir()
    return isinstance(source, Sequence)


def expand(source: Source | Sequence[Source]) -> list[Source]:
    """The single items of a list, a folder, or a list with folders in it; a single item is itself.

    Raises:
        LayoutError: a folder holds no images, or something that is unusable.
    """
    if isinstance(source, str | Path):
        return [*_list_folder(Path(source))] if Path(source).is_dir() else [source]
    if isinstance(source, Sequence):
        return [part for item in source for part in expand(item)]
    return [source]


def _list_folder(folder: Path) -> tuple[Path, ...]:
    listing = find_images(folder)
    if listing.problems:
        raise LayoutError(listing.problems[0])
    if not listing.files:
        raise LayoutError(no_images(folder))
    return listing.files


def no_images(folder: Path) -> str:
    """The sentence for a folder without images."""
    return f"{folder} holds no images; accepted are {', '.join(SUFFIXES)}, in any sub-folder"


def open_case(source: Source, *, index: int = 0) -> Case:
    """Make a case of a single source; arrays and images are called `image-<index>`.

    Raises:
        FileFormatError: a file cannot be read.
        UsageError: the source, or the array's type or range, is not accepted.
    """
    if isinstance(source, Case):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        return Case(id=path.stem, image=read_image(path), label=None, group=path.stem, source=path)
    name = f"image-{index}"
    if isinstance(source, Image):
        return Case(id=name, image=source, label=None, group=name, source=Path(name))
    if isinstance(source, np.ndarray):
        return Case(id=name, image=to_image(source), label=None, group=name, source=Path(name))
    raise UsageError(
        f"cannot predict a {type(source).__name__}; accepted are a path, a folder, a NumPy array, "
        "an Image, a Case, or a list of those"
    )


def to_image(array: NDArray[Any]) -> Image:
    """An `Image` of an array (H, W) or (H, W, 3); integers are divided by 255 or 65535.

    Raises:
        UsageError: another shape, type or range.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or array.size == 0:
        raise UsageError(f"an array of shape {array.shape} is no image; {_ARRAYS}")
    pixels = _scale(array)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # -> (C, H, W)
    return Image(np.ascontiguousarray(pixels))


def _scale(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype in (np.uint8, np.uint16):
        scaled: NDArray[np.float32] = np.divide(array, np.iinfo(array.dtype).max, dtype=np.float32)
        return scaled
    if array.dtype.kind != "f":
        raise UsageError(f"an array of {array.dtype} is no image; {_ARRAYS}")
    low, high = float(array.min()), float(array.max())
    # Written so that NaN fails too.
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise UsageError(f"the array's floats go from {low:g} to {high:g}; {_ARRAYS}")
    return array.clip(0, 1).astype(np.float32)

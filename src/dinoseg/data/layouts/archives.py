"""Data sets in one .npz file, as MedSegBench publishes them: unpacked once into the home folder, as images.

Such a file holds `train_images` (N, H, W) or (N, H, W, 3) and `train_label` (N, H, W), and the same of `val`
and `test`. Its splits are kept as they are. The images were resized by whoever made the file.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.backbones.weights_settings import read_settings
from dinoseg.errors import FileFormatError, LayoutError
from dinoseg.outputs import fail

SUFFIX = ".npz"
FOLDER = "unpacked"  # in the home folder; may be deleted at any time
_SPLITS = ("train", "val", "test")
_KEYS = ", ".join(f"{split}_images and {split}_label" for split in _SPLITS)


@dataclass(frozen=True)
class Unpacked:
    """A file as a folder of images.

    Attributes:
        folder: train/, val/ and test/ with images/ and masks/ each; its name is that of the file.
        size: (H, W) of the images, in pixels.
    """

    folder: Path
    size: tuple[int, int]

    @property
    def mark(self) -> str:
        """What must be said of every score."""
        return f"not native size: {self.size[0]}×{self.size[1]} px, as the file holds them"


def unpack(path: Path) -> Unpacked:
    """The images of a file; unpacked where that was not done yet since it changed.

    Raises:
        LayoutError: it does not hold these arrays.
        FileFormatError: it is damaged, or an array has another shape or type.
        OutputError: the home folder cannot be written.
    """
    status = path.stat()
    identity = f"{path.absolute()}\n{status.st_size}\n{status.st_mtime_ns}"
    place = read_settings().home / FOLDER / hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = place / path.stem
    if not folder.is_dir():
        _unpack(path, place)
    first = next(iter(sorted(folder.glob("*/images/*.png"))))
    with PillowImage.open(first) as image:
        return Unpacked(folder, (image.height, image.width))


def _unpack(path: Path, place: Path) -> None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            _require_keys(path, arrays)
            _write(path, arrays, place)
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise FileFormatError(f"{path} is no readable .npz file: {error}") from error


def _require_keys(path: Path, arrays: Any) -> None:
    names = set(arrays.files)
    whole = [split for split in _SPLITS if {f"{split}_images", f"{split}_label"} <= names]
    if "train" not in whole:
        raise LayoutError(
            f"{path} holds the arrays {', '.join(sorted(names)) or 'none'}; accepted is MedSegBench's "
            f"layout: {_KEYS}"
        )


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=".", dir=place.parent))
    except OSError as error:
        raise fail(f"{place.parent} could not be opened for writing", error) from error
    try:
        for split, images, labels in _read_splits(path, arrays):
            _write_split(temporary / path.stem / split, split, images, labels)
        temporary.replace(place)
    except OSError as error:
        if not place.is_dir():  # else another process was quicker
            raise fail(f"{path} could not be unpacked into {place}", error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_splits(
    path: Path, arrays: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    for split in _SPLITS:
        if f"{split}_images" not in arrays or f"{split}_label" not in arrays:
            continue
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_label"]
        images, labels = (
            array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array for array in (images, labels)
        )
        fits = images.ndim in (3, 4) and images.shape[3:] in ((), (3,)) and images.shape[:3] == labels.shape
        if (
            not fits
            or images.dtype != np.uint8
            or labels.dtype.kind not in "iub"
            or labels.max(initial=0) > 255
        ):
            raise FileFormatError(
                f"{path}: {split}_images has the shape {images.shape} and type {images.dtype}, {split}_label "
                f"{labels.shape} and {labels.dtype}; accepted are uint8 (N, H, W) or (N, H, W, 3) and ids "
                "(N, H, W) up to 255"
            )
        yield split, images, labels.astype(np.uint8)


def _write_split(folder: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    for kind, pixels in (("images", images), ("masks", labels)):
        (folder / kind).mkdir(parents=True)
        for number, each in enumerate(pixels):
            shown = PillowImage.fromarray(np.ascontiguousarray(each))
            shown.save(folder / kind / f"{split}_{number:05d}.png", compress_level=1)

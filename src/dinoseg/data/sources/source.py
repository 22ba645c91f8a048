"""What people may ask a model about: files, folders, series, arrays, images, volumes and cases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from dinoseg.data.case import Case, Image
from dinoseg.data.dicom import GivenSeries, group_files, read_series
from dinoseg.data.images import read_image
from dinoseg.data.images.decoding import SUFFIXES
from dinoseg.data.layouts.folders import open_folder
from dinoseg.data.sources.channels import read_all_channels
from dinoseg.data.volumes import SUFFIXES as VOLUME_SUFFIXES
from dinoseg.data.volumes import Volume, volume_suffix
from dinoseg.errors import LayoutError, UsageError
from dinoseg.outputs import describe_ours, describe_part, is_ours
from dinoseg.progress import Progress, Silent

Source: TypeAlias = "str | Path | NDArray[Any] | PillowImage.Image | Image | Case | Volume | GivenSeries"

_ARRAYS = "accepted are (H, W) or (H, W, 3) of uint8, uint16, or floats from 0 to 1"
_ROUNDING = 1e-6  # by which floats may leave 0..1
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
_ARCHIVE = ".zip"
_DATA_SUFFIXES = (".raw", ".zraw")  # beside a header of MetaImage or NRRD
_DICOM_MAGIC = b"DICM"
_MAGIC_AT = 128


@dataclass(frozen=True)
class Listing:
    """What a folder tree holds to predict, in natural order, and one line for each unusable entry.

    Attributes:
        sources: images, volumes, and folders or zips of a DICOM series.
        problems: one line each.
        left_out: one line for each folder in it that dinoseg wrote: runs, predictions, reports.
    """

    sources: tuple[Path, ...]
    problems: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def find_sources(folder: Path, *, leave_out: Path | None = None) -> Listing:
    """Find images and volumes by their suffix, and series, in a folder and all its sub-folders.

    A folder that holds DICOM files itself stands for a series. Linked folders are not followed and
    hidden names are left alone.

    Args:
        folder: where to look.
        leave_out: a folder that is not looked into (the output of an earlier call).
    """
    try:
        content = open_folder(folder)
        dicom = _list_dicom(folder)
    except (LayoutError, OSError) as error:
        return Listing((), (str(error),))
    named = {str(path) for path in dicom}
    series = (folder,) if any(path.suffix.lower() != _ARCHIVE for path in dicom) else ()
    zips = tuple(path for path in dicom if path.suffix.lower() == _ARCHIVE)
    sources = [*series, *content.images, *content.volumes, *zips]
    problems = [line for line in content.problems if line.partition(" has the extension")[0] not in named]
    left_out: list[str] = []
    for inner in content.folders:
        if inner.is_symlink() or (leave_out is not None and normalise(inner) == normalise(leave_out)):
            continue
        if is_ours(inner):
            left_out.append(f"{inner} is left out: dinoseg wrote it")
            continue
        below = find_sources(inner, leave_out=leave_out)
        sources += below.sources
        problems += below.problems
        left_out += below.left_out
    return Listing(tuple(sources), tuple(problems), tuple(left_out))


def refuse_ours(sources: Sequence[object]) -> None:
    """Raise `LayoutError` if a folder, or the place of a file, is a run, predictions or a report."""
    paths = [Path(source) for source in sources if isinstance(source, str | Path)]
    folders = [path for path in paths if path.is_dir()]
    # A file's folder may be a run with images beside it: only what we put there is no input.
    places = {path.parent for path in paths if not path.is_dir()}
    for told in (*map(describe_ours, folders), *map(describe_part, sorted(places))):
        if told:
            raise LayoutError(f"no input: {told}")


def guess_kind(name: str) -> Literal["file", "series", ""]:
    """What a file is by its name alone: an image or volume, a slice of a series perhaps, or neither."""
    lower = name.lower().rpartition("/")[2]
    if lower.endswith((*SUFFIXES, *VOLUME_SUFFIXES, *_DATA_SUFFIXES, _ARCHIVE)):
        return "file"
    suffix = Path(lower).suffix
    return "series" if suffix in ("", *_DICOM_SUFFIXES) or suffix[1:].isdigit() else ""


def is_series(path: Path) -> bool:
    """Whether a path is a DICOM series: a folder that holds such files itself, a zip, or one file."""
    if path.is_dir():
        return any(found.suffix.lower() != _ARCHIVE for found in _list_dicom(path))
    return _is_dicom(path)


def is_volume(source: Source) -> bool:
    """Whether a source is a volume: in memory, a file by its suffix, or a DICOM series."""
    if isinstance(source, str | Path):
        return bool(volume_suffix(Path(source))) or is_series(Path(source))
    return isinstance(source, Volume | GivenSeries)


def join_series(sources: Sequence[Path]) -> tuple[GivenSeries, ...]:
    """The series of which several files were given one by one (`scan/*.dcm`).

    Raises:
        DinosegError: pydicom is not installed.
    """
    files = [
        path for path in sources if path.suffix.lower() != _ARCHIVE and path.is_file() and _is_dicom(path)
    ]
    return group_files(list(dict.fromkeys(files))) if len(files) > 1 else ()


def open_volume(
    source: str | Path | Volume | GivenSeries,
    *,
    channels: int = 1,
    series: str | None = None,
    files: Sequence[Path] = (),
) -> Volume:
    """Read a volume in the orientation of its file.

    Args:
        source: a file, a folder or zip with a DICOM series, or the files of one; a volume is returned as it
            is.
        channels: of the model; see `read_all_channels`.
        series: UID of the series, needed where there are several.
        files: of a folder, the files of the series that were given; all where none.

    Raises:
        FileFormatError: the file, or one of the series, cannot be read.
        UsageError: several series and no choice.
        DinosegError: pydicom is not installed.
    """
    if isinstance(source, Volume):
        return source
    if isinstance(source, GivenSeries):
        return read_series(source.folder, series=source.uid, files=source.files)
    path = Path(source)
    if volume_suffix(path):
        return read_all_channels(path, channels)
    return read_series(path, series=series, files=files)


def normalise(path: Path) -> str:
    """The absolute path without `..`; not resolved, so that a linked file keeps the name it was given."""
    return os.path.normpath(path.absolute())


def is_many(source: Source | Sequence[Source]) -> bool:
    """Whether a source stands for several images: a list, or a folder that is no series."""
    if isinstance(source, str | Path):
        return _is_tree(Path(source))
    return isinstance(source, Sequence)


def expand(source: Source | Sequence[Source], progress: Progress | None = None) -> list[Source]:
    """The single items of a list, a folder, or a list with folders in it; a single item is itself.

    Files of a DICOM series that stand in a list one by one are one item, where the first of them stood.

    Args:
        source: one, or many.
        progress: told which folders are left out because dinoseg wrote them.

    Raises:
        LayoutError: a folder holds no images, or something that is unusable; or it is a run, predictions
            or a report.
    """
    items: list[object] = [*source] if isinstance(source, list | tuple) else [source]
    refuse_ours(items)
    return _expand(source, progress or Silent())


def _expand(source: Source | Sequence[Source], progress: Progress) -> list[Source]:
    if isinstance(source, str | Path):
        return [*_list_folder(Path(source), progress)] if _is_tree(Path(source)) else [source]
    if isinstance(source, Sequence):
        return _join_files([part for item in source for part in _expand(item, progress)])
    return [source]


def _join_files(items: list[Source]) -> list[Source]:
    paths = [Path(item) for item in items if isinstance(item, str | Path)]
    series_of = {file: series for series in join_series(paths) for file in series.files}
    joined: list[Source] = []
    done: set[GivenSeries] = set()
    for item in items:
        series = series_of.get(Path(item)) if isinstance(item, str | Path) else None
        if series is None:
            joined.append(item)
        elif series not in done:
            done.add(series)
            joined.append(series)
    return joined


def _list_folder(folder: Path, progress: Progress) -> tuple[Path, ...]:
    listing = find_sources(folder)
    for line in listing.left_out:
        progress.note(line)
    if listing.problems:
        raise LayoutError(listing.problems[0])
    if not listing.sources:
        raise LayoutError(no_images(folder))
    return listing.sources


def _is_tree(path: Path) -> bool:
    return path.is_dir() and not is_series(path)


def _list_dicom(folder: Path) -> list[Path]:
    """DICOM files and zips of a folder itself, hidden ones left alone."""
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and _is_dicom(path)]


def _is_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or volume_suffix(path) or not path.is_file():
        return False
    if suffix in (*_DICOM_SUFFIXES, _ARCHIVE):
        return True
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_DICOM_MAGIC))[_MAGIC_AT:] == _DICOM_MAGIC
    except OSError:
        return False


def no_images(folder: Path) -> str:
    """The sentence for a folder without images."""
    accepted = ", ".join((*SUFFIXES, *VOLUME_SUFFIXES))
    return f"{folder} holds no images; accepted are {accepted} and DICOM series, in any sub-folder"


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
    if isinstance(source, PillowImage.Image):
        return Case(id=name, image=to_image(_to_array(source)), label=None, group=name, source=Path(name))
    if isinstance(source, np.ndarray):
        return Case(id=name, image=to_image(source), label=None, group=name, source=Path(name))
    raise UsageError(
        f"cannot predict a {type(source).__name__}; accepted are a path, a folder, a NumPy array, "
        "a Pillow image, an Image, a Volume, a Case, or a list of those"
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


def _to_array(image: PillowImage.Image) -> NDArray[Any]:
    """Pixels of a Pillow image as it is shown: turned as EXIF says, a palette's colours."""
    shown = ImageOps.exif_transpose(image)
    if shown.mode in ("1", "P"):
        shown = shown.convert("L" if shown.mode == "1" else "RGB")
    if shown.mode not in ("L", "RGB", "I;16"):
        raise UsageError(
            f"a Pillow image of the mode {image.mode} is not accepted; give one of 1, L, RGB, P or I;16, "
            'such as image.convert("RGB")'
        )
    return np.asarray(shown)


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

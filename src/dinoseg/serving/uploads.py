"""What is uploaded: stored under safe names in a private folder, and measured before anything is decoded."""

from __future__ import annotations

import re
import shutil
import unicodedata
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from dinoseg.config import Inference
from dinoseg.data.dicom import read_series_shape
from dinoseg.data.images import image_info
from dinoseg.data.sources.channels import drop_companions
from dinoseg.data.sources.source import find_sources, is_volume, no_images
from dinoseg.data.volumes import read_volume_info, volume_suffix
from dinoseg.errors import DinosegError, FileFormatError
from dinoseg.inference.volumes import refuse_other_kind, refuse_volume_options
from dinoseg.model.network import Network
from dinoseg.outputs import fail
from dinoseg.serving.jobs import hide_folder
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import Refusal, status_of

INPUT = "input"  # folder of what was uploaded, in that of the job
_LONGEST = 100  # letters of a name
_UNSAFE = re.compile(r"[^\w.+()-]+", re.ASCII)
_ARCHIVE = ".zip"
_COMPRESSED = ".nii.gz"


@dataclass(frozen=True)
class Upload:
    """One image or volume that was uploaded.

    Attributes:
        name: what clients called it, made safe.
        source: the file, or the folder or zip of a series.
        is_volume: whether it is one.
    """

    name: str
    source: Path
    is_volume: bool


def take_upload(
    files: Sequence[tuple[str, BinaryIO]],
    folder: Path,
    *,
    network: Network,
    how: Inference,
    options: ServeOptions,
) -> Upload:
    """Store files, and find the one image or volume that they are.

    Args:
        files: name and content of each.
        folder: of the job; a new folder in it takes them.
        network: that they are for.
        how: it will be applied.
        options: the limits.

    Raises:
        Refusal: there is no file, not one image or volume, not of the model's kind, or it is too large or not
            safe; `folder` holds nothing afterwards that is not below it.
    """
    place = folder / INPUT
    names = store_files(files, place)
    return accept_stored(place, names[0], network=network, how=how, options=options)


def store_files(files: Sequence[tuple[str, BinaryIO]], place: Path) -> list[str]:
    """Store files under safe names in a new folder; their names.

    Raises:
        Refusal: the disk is full.
    """
    try:
        place.mkdir()
        return [_store(name, file, place, index) for index, (name, file) in enumerate(files)]
    except DinosegError as error:
        raise Refusal(status_of(error), hide_folder(str(error), place.parent)) from error
    except OSError as error:
        raise Refusal(507, f"the upload could not be stored: {error.strerror or error}") from error


def accept_stored(
    place: Path, name: str, *, network: Network, how: Inference, options: ServeOptions
) -> Upload:
    """The one image or volume that the files of a folder are; as `accept_source`."""
    try:
        source = _find_source(place, network)
    except DinosegError as error:
        raise Refusal(status_of(error), hide_folder(str(error), place.parent)) from error
    return accept_source(source, name, network=network, how=how, options=options)


def accept_source(
    source: Path, name: str, *, network: Network, how: Inference, options: ServeOptions
) -> Upload:
    """An image or volume, measured before it is decoded.

    Args:
        source: a file, or the folder or zip of a series.
        name: what clients call it.
        network: that it is for.
        how: it will be applied.
        options: the limits.

    Raises:
        Refusal: as `take_upload`.
    """
    try:
        refuse_other_kind(network, name, is_volume=is_volume(source))
        if not is_volume(source):
            refuse_volume_options(how)
        refuse_large(source, options, how, channels=network.settings.preprocessing.channels)
    except DinosegError as error:
        raise Refusal(status_of(error), hide_folder(str(error), source.parent)) from error
    return Upload(name, source, is_volume(source))


def make_safe(name: str) -> str:
    """A name that is a plain file name everywhere: the last part, in letters that no system gives a meaning.

    The ending is kept, which says what a file is.
    """
    last = unicodedata.normalize("NFKD", name.replace("\\", "/")).rpartition("/")[2]
    plain = _UNSAFE.sub("_", last).lstrip("._-") or "upload"
    return plain if len(plain) <= _LONGEST else plain[:20] + plain[-(_LONGEST - 20) :]


def _store(name: str, file: BinaryIO, place: Path, index: int) -> str:
    safe = make_safe(name)
    path = place / safe
    if path.exists():
        path = place / f"{index:05d}-{safe}"
    try:
        with path.open("xb") as target:
            shutil.copyfileobj(file, target, 1 << 20)
    except OSError as error:
        raise fail(f"{safe} could not be stored", error) from error
    return safe


def _find_source(place: Path, network: Network) -> Path:
    listing = find_sources(place)
    if listing.problems:
        raise Refusal(422, hide_folder(listing.problems[0], place.parent))
    sources = drop_companions(listing.sources, network.settings.preprocessing.channels)
    if not sources:
        raise Refusal(422, hide_folder(no_images(place), place.parent))
    if len(sources) > 1:
        found = ", ".join(path.name for path in sources[:5])
        raise Refusal(
            422,
            f"a prediction is of one image, one volume or one DICOM series, given {len(sources)}: {found}; "
            "send each by itself, and a series as a zip",
        )
    source: Path = sources[0]
    return source


def refuse_large(
    source: Path, options: ServeOptions, how: Inference | None = None, *, channels: int = 1
) -> None:
    """Refuse by what headers say, so that nothing large is ever decoded.

    Raises:
        FileFormatError: it is too large, or its headers cannot be read.
    """
    if not is_volume(source):
        height, width = image_info(source).size
        _compare(height * width, options.pixels, "pixels", f"{width} × {height}", "--pixel-limit")
    elif volume_suffix(source):
        info = read_volume_info(source)
        _compare_volume((*info.geometry.shape, max(info.count, channels)), options)
    else:
        if source.suffix.lower() == _ARCHIVE and source.is_file():
            _refuse_large_archive(source, options)
        _compare_volume(read_series_shape(source, series=how.series if how else None), options)


def _compare_volume(shape: Sequence[int], options: ServeOptions) -> None:
    _compare(prod(shape), options.voxels, "voxels", " × ".join(map(str, shape)), "--voxel-limit")


def _compare(count: int, limit: int, unit: str, shape: str, option: str) -> None:
    if count > limit:
        raise FileFormatError(
            f"{shape} are {count:,} {unit}; accepted are {limit:,}: send less, or raise {option}"
        )


def _refuse_large_archive(path: Path, options: ServeOptions) -> None:
    """Refuse a zip by its list; what is read of a member never exceeds what the list says of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise FileFormatError(f"{path} is no readable zip: {error}") from error
    total = sum(member.file_size for member in members)
    if len(members) > options.members:
        raise FileFormatError(f"{path} holds {len(members):,} files; accepted are {options.members:,}")
    if total > options.unpacked_bytes:
        raise FileFormatError(f"{path} unpacks to {total:,} bytes; accepted are {options.unpacked_bytes:,}")

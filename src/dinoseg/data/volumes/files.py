"""Reading and writing volumes of any format; the extension says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dinoseg.data.volumes.access import reading, refuse_non_file
from dinoseg.data.volumes.geometry import Geometry
from dinoseg.data.volumes.hdf5 import open_hdf5
from dinoseg.data.volumes.metaimage import open_metaimage, write_metaimage
from dinoseg.data.volumes.nifti import open_nifti, write_nifti
from dinoseg.data.volumes.nrrd import open_nrrd, write_nrrd
from dinoseg.data.volumes.stored import StoredVolume, choose_volumes, load_ids, load_image
from dinoseg.data.volumes.volume import LabelVolume, Volume
from dinoseg.errors import FileFormatError, UsageError

Content = Literal["image", "label"]

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".h5", ".hdf5")
LABEL_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

_Write = Callable[..., None]
_WRITERS: dict[str, _Write] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_nrrd,
    ".mha": write_metaimage,
}


@dataclass(frozen=True)
class VolumeInfo:
    """What the header of a file says.

    Attributes:
        path: the file.
        geometry: the grid.
        dtype: type of the stored numbers.
        count: channels or times; 1 where the volume is 3D.
    """

    path: Path
    geometry: Geometry
    dtype: np.dtype[Any]
    count: int


def read_volume(
    path: Path | str, *, channel: int | Sequence[int] | None = None, time: int | None = None
) -> Volume:
    """Read an image in the orientation of its file.

    Integers stay as they are stored; floats, and numbers with a slope or intercept, become float32.
    Peak memory is the array and one slice.

    Args:
        path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .h5 or .hdf5.
        channel: which one or which several of the volumes of a 4D file; counted from 0.
        time: which one of them, where they are times.

    Raises:
        FileFormatError: the file is missing, damaged, or no volume; or 4D without a choice.
        UsageError: a channel or time that is not there, or both at once.
    """
    path = Path(path)
    stored = _open(path, content="image")
    chosen = choose_volumes(stored, channel=channel, time=time)
    with reading(path):
        return Volume(load_image(stored, chosen), stored.geometry, source=path, id=volume_stem(path))


def read_label(path: Path | str) -> LabelVolume:
    """Read class ids in the orientation of their file, as uint8 or, above 255, uint16.

    Raises:
        FileFormatError: the file is missing, damaged, or no volume.
        LabelError: values that are no whole numbers of 0 to 65535, or a 4D file.
    """
    path = Path(path)
    stored = _open(path, content="label")
    with reading(path):
        return LabelVolume(load_ids(stored), stored.geometry, source=path, id=volume_stem(path))


def read_volume_info(path: Path | str, *, content: Content = "image") -> VolumeInfo:
    """Read the header only.

    Args:
        path: as for `read_volume`.
        content: which of the two an HDF5 file is asked for.

    Raises:
        FileFormatError: the file is missing, damaged, or no volume.
    """
    path = Path(path)
    stored = _open(path, content=content)
    return VolumeInfo(path, stored.geometry, stored.dtype, stored.count)


def write_label(path: Path | str, label: LabelVolume, *, overwrite: bool = False) -> None:
    """Write class ids in the smallest type that holds them, in one move.

    Args:
        path: .nii, .nii.gz, .nrrd or .mha.
        label: class ids on the grid that the file shall have; see `Orientation.undo`.
        overwrite: replace an existing file.

    Raises:
        UsageError: another extension.
        OutputError: the file exists already or cannot be written.
    """
    path = Path(path)
    suffix = volume_suffix(path)
    if suffix not in _WRITERS:
        raise UsageError(f"{path} cannot hold a label volume; accepted are {', '.join(LABEL_SUFFIXES)}")
    _WRITERS[suffix](path, label, overwrite=overwrite)


def volume_suffix(path: Path | str) -> str:
    """The extension of a volume in lower case (".nii.gz"), or "" where it is none of `SUFFIXES`."""
    path = Path(path)
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def volume_stem(path: Path | str) -> str:
    """The name without the extension of a volume."""
    path = Path(path)
    suffix = volume_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def _open(path: Path, *, content: Content) -> StoredVolume:
    openers: dict[str, Callable[[Path], StoredVolume]] = {
        ".nii.gz": open_nifti,
        ".nii": open_nifti,
        ".nrrd": open_nrrd,
        ".nhdr": open_nrrd,
        ".mha": open_metaimage,
        ".mhd": open_metaimage,
        ".h5": partial(open_hdf5, dataset=content),
        ".hdf5": partial(open_hdf5, dataset=content),
    }
    suffix = volume_suffix(path)
    if not suffix:
        refuse_non_file(path)
        raise FileFormatError(f"{path} has no extension of a volume; accepted are {', '.join(SUFFIXES)}")
    return openers[suffix](path)

"""HDF5 with the datasets `image` and `label` in array order, as ACDC and Synapse are handed around.

The voxel size is the attribute `spacing` (mm along D, H, W) of the dataset or of the file. Without it the
spacing is unknown, and the directions always are: the volume counts as canonical.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dinoseg.data.volumes.access import reading, refuse_too_small
from dinoseg.data.volumes.geometry import Geometry, upright_geometry
from dinoseg.data.volumes.stored import StoredVolume
from dinoseg.data.volumes.streams import Block
from dinoseg.errors import DataError, FileFormatError

Dataset = Literal["image", "label"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_SLACK = 64 << 20  # what chunks that were never written may stand for


def open_hdf5(path: Path, *, dataset: Dataset) -> StoredVolume:
    """Read and check shape, type and attributes of one dataset.

    Args:
        path: the file.
        dataset: "image", (D, H, W) or (C, D, H, W), or "label", (D, H, W).

    Raises:
        FileFormatError: missing, damaged, without the dataset, or with one that is no volume.
    """
    import h5py

    with reading(path):
        _refuse_foreign(path)
        with h5py.File(path, "r") as file:
            data = _find(path, file, dataset)
            shape = data.shape if data.ndim == 4 else (1, *data.shape)
            geometry = _geometry(path, file, data, shape[1:])
            blocks = partial(_read_blocks, path, dataset)
            return StoredVolume(path, geometry, data.dtype, blocks, int(shape[0]))


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise FileFormatError(f"{path} is not an HDF5 file; is the extension right?")


def _find(path: Path, file: Any, name: Dataset) -> Any:
    import h5py

    if name not in file:
        held = ", ".join(sorted(file)) or "nothing"
        raise FileFormatError(f"{path} has no dataset {name!r}; it holds {held}")
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise FileFormatError(f"{path}: {name!r} is a group; accepted is a dataset (D, H, W)")
    if isinstance(file.get(name, getlink=True), h5py.ExternalLink) or data.external or data.is_virtual:
        raise FileFormatError(f"{path}: {name!r} lies in another file; copy it into this one")
    accepted = (3, 4) if name == "image" else (3,)
    if data.ndim not in accepted:
        text = "×".join(map(str, data.shape)) or "a single value"
        raise FileFormatError(f"{path}: {name!r} is {data.ndim}D ({text}); accepted is (D, H, W)")
    if data.dtype.kind not in "iufb" or data.dtype.itemsize > 8:
        raise FileFormatError(f"{path}: {name!r} has the type {data.dtype}; accepted are integers and floats")
    if 0 in data.shape:
        raise FileFormatError(f"{path}: {name!r} has an axis without voxels {data.shape}; export it again")
    _refuse_too_small(path, data)
    return data


def _refuse_too_small(path: Path, data: Any) -> None:
    stored = int(data.id.get_storage_size())
    needed = int(np.prod(data.shape, dtype=object)) * data.dtype.itemsize
    encoding = "raw" if data.chunks is None and stored else "gzip"
    refuse_too_small(path, needed=needed - _SLACK, available=stored, encoding=encoding)


def _geometry(path: Path, file: Any, data: Any, shape: Sequence[int]) -> Geometry:
    holders = [holder for holder in (data, file.get("image"), file) if holder is not None]
    stated = next((holder.attrs["spacing"] for holder in holders if "spacing" in holder.attrs), None)
    if stated is None:
        return upright_geometry(shape, spacing_known=False)
    spacing = np.asarray(stated)
    if spacing.shape != (3,) or spacing.dtype.kind not in "iuf":
        raise FileFormatError(f"{path} has the spacing {stated!r}; accepted are three numbers (D, H, W)")
    try:
        return upright_geometry(shape, spacing=spacing.tolist())
    except DataError as error:
        raise FileFormatError(f"{path} has {error}") from error


def _read_blocks(path: Path, name: Dataset, chosen: Sequence[int]) -> Iterator[Block]:
    import h5py

    with h5py.File(path, "r") as file:
        data = file[name]
        step = data.chunks[-3] if data.chunks else 1  # whole chunks, so that each is unpacked once
        for channel, wanted in enumerate(chosen):
            for start in range(0, data.shape[-3], step):
                rows = slice(start, start + step)
                yield Block(channel, start, data[rows] if data.ndim == 3 else data[wanted, rows])

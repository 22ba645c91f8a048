"""HDF5 with the datasets `image` and `label` in array order, as ACDC and Synapse are handed around.

The axes are in the order z, y, x (slices first), channels before them where there are four. Another order is
said by the attribute `axes` of the dataset or of the file, or by `axes: xyz` in a dataset.yaml beside the
file or one folder up; where the shape suggests another order and nothing is said, it is asked for.

The voxel size is the attribute `spacing` (mm, in the order of the stored axes) of the dataset or of the file.
Without it the spacing is unknown, and the directions always are: the volume counts as canonical.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from dinoseg.data.volumes.access import reading, refuse_too_small
from dinoseg.data.volumes.geometry import Geometry, upright_geometry
from dinoseg.data.volumes.stored import StoredVolume
from dinoseg.data.volumes.streams import Block
from dinoseg.errors import DataError, FileFormatError

Dataset = Literal["image", "label"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_USUAL = "czyx"
_SLACK = 64 << 20  # what chunks that were never written may stand for


def open_hdf5(path: Path, *, dataset: Dataset) -> StoredVolume:
    """Read and check shape, type and attributes of one dataset.

    Args:
        path: the file.
        dataset: "image", (D, H, W) or (C, D, H, W) in the order that is said, or "label", (D, H, W).

    Raises:
        FileFormatError: missing, damaged, without the dataset, or with one that is no volume.
    """
    import h5py

    with reading(path):
        _refuse_foreign(path)
        with h5py.File(path, "r") as file:
            data = _find(path, file, dataset)
            order = _order_axes(path, file, data)
            shape = _arrange(data.shape, order)
            geometry = _geometry(path, file, data, order, shape[1:])
            blocks = partial(_read_blocks, path, dataset, order)
            return StoredVolume(path, geometry, data.dtype, blocks, int(shape[0]))


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise FileFormatError(f"{path} is not an HDF5 file; is the extension right?")


def _find(path: Path, file: Any, name: Dataset) -> Any:
    import h5py

    if name not in list(file):  # `in file` would follow links
        held = ", ".join(sorted(file)) or "nothing"
        raise FileFormatError(f"{path} has no dataset {name!r}; it holds {held}")
    _refuse_link(path, file, name)
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise FileFormatError(f"{path}: {name!r} is a group; accepted is a dataset (D, H, W)")
    if data.external or data.is_virtual:
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


def _refuse_link(path: Path, file: Any, name: str) -> None:
    """Raise where a name is a link: wherever it leads, it may go on into other files."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise FileFormatError(
            f"{path}: {name!r} is a link, which may lead into another file; copy the voxels themselves into "
            "this one"
        )


def _order_axes(path: Path, file: Any, data: Any) -> str:
    """The stored axes, slowest first, as letters: "zyx", or "czyx" with channels."""
    usual = _USUAL[-data.ndim :]
    stated = next((each.attrs["axes"] for each in (data, file) if "axes" in each.attrs), None)
    said = (
        read_axes(path) if stated is None else stated.decode() if isinstance(stated, bytes) else str(stated)
    )
    if said is None:
        _refuse_doubtful_order(path, data.shape[-3:])
        return usual
    order = said.strip().lower()
    order = f"c{order}" if data.ndim == 4 and len(order) == 3 else order
    if data.ndim == 3 and "c" in order:  # declared for images of several channels; labels have none
        order = order.replace("c", "")
    if sorted(order) != sorted(usual):
        raise FileFormatError(
            f"{path} says that its axes are {said!r}; accepted are x, y and z once each, such as zyx or xyz"
        )
    return order


def read_axes(path: Path) -> str | None:
    """`axes` of the dataset.yaml beside an HDF5 file, or else one folder up; None where nothing is said.

    Raises:
        FileFormatError: it is no text.
    """
    for folder in (path.absolute().parent, path.absolute().parent.parent):
        declared = folder / "dataset.yaml"
        if not declared.is_file():
            continue
        content = yaml.safe_load(declared.read_text(encoding="utf-8-sig"))
        said = content.get("axes") if isinstance(content, dict) else None
        if said is not None and not isinstance(said, str):
            raise FileFormatError(f"{declared} says `axes: {said}`; accepted is an order such as xyz")
        return said
    return None


def _refuse_doubtful_order(path: Path, shape: Sequence[int]) -> None:
    """Raise where another axis than the first is the one of slices, as far as a shape can tell.

    That is the shortest one, where the two others are equal, or both at least twice as long.
    """
    place = int(np.argmin(shape))
    first, second = (length for axis, length in enumerate(shape) if axis != place)
    clear = first == second or min(first, second) >= 2 * shape[place]
    if place == 0 or shape[0] == shape[place] or not clear:
        return
    text = "×".join(map(str, shape))
    order = "xyz" if place == 2 else "yzx"
    raise FileFormatError(
        f"{path} is {text}, as if its {('', 'second', 'last')[place]} axis counted the slices, which are "
        f"expected first; say the order of the axes: `axes: {order}` (or `axes: zyx`, if it is right as it "
        "is) in dataset.yaml, or as the attribute axes of the file"
    )


def _arrange(values: Sequence[int], order: str) -> tuple[int, ...]:
    """Lengths of the axes c, z, y, x from those of the stored ones; 1 for channels that are not there."""
    found = dict(zip(order, values, strict=True))
    return tuple(found.get(axis, 1) for axis in _USUAL)


def _refuse_too_small(path: Path, data: Any) -> None:
    stored = int(data.id.get_storage_size())
    needed = int(np.prod(data.shape, dtype=object)) * data.dtype.itemsize
    encoding = "raw" if data.chunks is None and stored else "gzip"
    refuse_too_small(path, needed=needed - _SLACK, available=stored, encoding=encoding)


def _geometry(path: Path, file: Any, data: Any, order: str, shape: Sequence[int]) -> Geometry:
    holders = [data, file]
    if "image" in list(file):
        _refuse_link(path, file, "image")
        holders.insert(1, file["image"])
    stated = next((holder.attrs["spacing"] for holder in holders if "spacing" in holder.attrs), None)
    if stated is None:
        return upright_geometry(shape, spacing_known=False)
    spacing = np.asarray(stated)
    if spacing.shape != (3,) or spacing.dtype.kind not in "iuf":
        raise FileFormatError(f"{path} has the spacing {stated!r}; accepted are three numbers (D, H, W)")
    along = dict(zip(order.replace("c", ""), spacing.tolist(), strict=True))
    try:
        return upright_geometry(shape, spacing=[along[axis] for axis in "zyx"])
    except DataError as error:
        raise FileFormatError(f"{path} has {error}") from error


def _read_blocks(path: Path, name: Dataset, order: str, chosen: Sequence[int]) -> Iterator[Block]:
    import h5py

    with h5py.File(path, "r") as file:
        data = file[name]
        if order != _USUAL[-data.ndim :]:
            yield from _read_turned(data, order, chosen)
            return
        step = data.chunks[-3] if data.chunks else 1  # whole chunks, so that each is unpacked once
        for channel, wanted in enumerate(chosen):
            for start in range(0, data.shape[-3], step):
                rows = slice(start, start + step)
                yield Block(channel, start, data[rows] if data.ndim == 3 else data[wanted, rows])


def _read_turned(data: Any, order: str, chosen: Sequence[int]) -> Iterator[Block]:
    """One channel at a time: with slices last, every slice would unpack all chunks anew."""
    axes = [order.replace("c", "").index(axis) for axis in "zyx"]
    for channel, wanted in enumerate(chosen):
        where = tuple(wanted if axis == "c" else slice(None) for axis in order)
        yield Block(channel, 0, data[where].transpose(axes))

"""NRRD, with the voxels in the same file (.nrrd) or in one beside it (.nhdr).

Source: the format's definition, teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.access import contained_file, reading
from dinoseg.data.volumes.geometry import Geometry, corner_rounding, file_geometry, reverse_axes
from dinoseg.data.volumes.headers import MAX_HEADER_BYTES, TextHeader, rounding_error, space_affine
from dinoseg.data.volumes.stored import StoredVolume
from dinoseg.data.volumes.streams import Encoding, VoxelStream
from dinoseg.data.volumes.volume import LabelVolume, smallest_id_type
from dinoseg.errors import FileFormatError
from dinoseg.outputs import atomic_path

_MAGIC = re.compile(rb"NRRD000[1-5]\s*$")
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    "gzip": "gzip",
    "gz": "gzip",
    "bzip2": "bzip2",
    "bz2": "bzip2",
    "text": "text",
    "txt": "text",
    "ascii": "text",
}
# Signs of the header's x, y, z in a world that grows to right, anterior, superior.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "rast": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "last": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "lpst": (-1, -1, 1),
}
_NO_SPACE = (-1, -1, 1)  # nothing said: left-posterior-superior, as in ITK and 3D Slicer
_TYPES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: np.dtype(code) for code, names in _TYPES.items() for name in names.split(",")}
_VECTOR = re.compile(r"none|\(([^()]*)\)")


@dataclass(frozen=True)
class _Axes:
    """Which axis of a file is the one of channels or times.

    Attributes:
        sizes: of the three axes in space, fastest first.
        place: of the fourth axis among all; None where there is none.
        count: its length, or 1.
    """

    sizes: tuple[int, int, int]
    place: int | None
    count: int


def open_nrrd(path: Path) -> StoredVolume:
    """Read and check the header of a NRRD file.

    Raises:
        FileFormatError: missing, damaged, in a space or encoding that is not accepted, or with
            its voxels in a file outside the header's folder.
    """
    with reading(path):
        header = _read_header(path)
        steps = _read_steps(header)
        axes = _find_axes(header, steps)
        geometry = _geometry(header, steps, axes)
        stream = _stream(header, axes)
        stream.refuse_too_small()
        return StoredVolume(path, geometry, stream.dtype, stream.blocks, axes.count)


def write_nrrd(path: Path, label: LabelVolume, *, overwrite: bool) -> None:
    """Write class ids as a gzip-compressed NRRD in left-posterior-superior, with all digits.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    dtype = smallest_id_type(int(label.array.max())).newbyteorder("<")
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        file.write(_format_header(label, dtype).encode("ascii"))
        _write_compressed(file, label.array, dtype)


def _write_compressed(file: BinaryIO, array: NDArray[Any], dtype: np.dtype[Any]) -> None:
    # Without a name and a time, so that equal masks make equal files.
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as stream:
        for plane in array:
            stream.write(np.ascontiguousarray(plane, dtype=dtype).tobytes())


def _format_header(label: LabelVolume, dtype: np.dtype[Any]) -> str:
    affine = space_affine(reverse_axes(label.affine)[:3, :3].T, label.affine[:3, 3].tolist(), _SPACES["lps"])
    vectors = [f"({','.join(repr(float(value)) for value in column)})" for column in affine[:3].T]
    lines = [
        "NRRD0004",
        f"type: {'unsigned char' if dtype.itemsize == 1 else 'unsigned short'}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(length) for length in reversed(label.geometry.shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    return "\n".join(lines) + "\n\n"


def _read_header(path: Path) -> TextHeader:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not _MAGIC.match(file.readline(64)):
            raise FileFormatError(f"{path} is not a NRRD file of versions 1 to 5; is the extension right?")
        while line := file.readline(MAX_HEADER_BYTES).rstrip(b"\r\n"):
            if file.tell() > MAX_HEADER_BYTES:
                raise FileFormatError(f"{path} has a header without end; is it damaged?")
            name, colon, value = line.decode("utf-8", errors="replace").partition(":")
            if colon and not name.startswith("#") and not value.startswith("="):
                fields[name.strip().lower()] = value.strip()
        return TextHeader(path, fields, file.tell())


def _read_steps(header: TextHeader) -> list[list[float] | None] | None:
    """Step of each axis in space, None for an axis that is not in space; None if nothing is said."""
    value = header.get("space directions")
    if value is None:
        return None
    return [_read_step(header, match) for match in _VECTOR.finditer(value)]


def _read_step(header: TextHeader, match: re.Match[str]) -> list[float] | None:
    if match.group() == "none":
        return None
    step = header.numbers("space directions", match[1].replace(",", " "))
    if len(step) == 4 and not any(step[:3]):  # time as a fourth dimension of space
        return None
    if len(step) not in (3, 4):
        raise FileFormatError(f"{header.path} has a step of {len(step)} numbers in 'space directions', not 3")
    return None if np.isnan(step).all() else step[:3]


def _find_axes(header: TextHeader, steps: list[list[float] | None] | None) -> _Axes:
    dimension = header.integer("dimension", default=0)
    if dimension not in (3, 4):
        raise FileFormatError(f"{header.path} is {dimension}D; accepted are 3D and 4D")
    sizes = header.sizes("sizes", count=dimension)
    if steps is not None and len(steps) != dimension:
        raise FileFormatError(f"{header.path} has {dimension} axes, but {len(steps)} 'space directions'")
    outside = [] if steps is None else [axis for axis, step in enumerate(steps) if step is None]
    if len(outside) != dimension - 3 or any(axis not in (0, 3) for axis in outside):
        raise FileFormatError(
            f"{header.path} has {dimension} axes, {dimension - len(outside)} of them in space; "
            "accepted are three in space and one of channels or times, first or last, with the direction none"
        )
    place = outside[0] if outside else None
    count = 1 if place is None else sizes.pop(place)
    return _Axes((sizes[0], sizes[1], sizes[2]), place, count)


def _geometry(header: TextHeader, steps: list[list[float] | None] | None, axes: _Axes) -> Geometry:
    _refuse_other_units(header)
    shape = axes.sizes[::-1]
    spacings = header.get("spacings")
    if steps is not None:
        directions = np.array([step for step in steps if step is not None])
    elif spacings is not None:
        directions = np.diag(header.numbers("spacings", spacings, count=3))
    else:
        directions = np.eye(3)
    origin = _read_origin(header)
    affine = space_affine(directions, origin, _signs(header))
    known = steps is not None or spacings is not None
    error = rounding_error(header.get("space directions") or spacings or "")
    rounding = corner_rounding(axes.sizes, affine[:3, :3], error)
    return file_geometry(header.path, shape, reverse_axes(affine), spacing_known=known, rounding=rounding)


def _read_origin(header: TextHeader) -> list[float]:
    value = header.get("space origin")
    if value is None:
        return [0.0, 0.0, 0.0]
    numbers = header.numbers("space origin", value.strip("()").replace(",", " "))
    if len(numbers) not in (3, 4):
        raise FileFormatError(f"{header.path} has {len(numbers)} numbers in 'space origin'; accepted are 3")
    return numbers[:3]


def _signs(header: TextHeader) -> tuple[int, int, int]:
    space = header.get("space")
    if space is None:
        return _NO_SPACE
    name = space.lower().removesuffix("-time")
    if name not in _SPACES:
        raise FileFormatError(
            f"{header.path} is in the space {space!r}; accepted are {', '.join(list(_SPACES)[::3])}"
        )
    return _SPACES[name]


def _refuse_other_units(header: TextHeader) -> None:
    units = {unit.strip() for unit in re.findall(r'"([^"]*)"', header.get("space units") or "")}
    if other := sorted(units - {"", "mm", "millimeter", "millimeters", "none", "???"}):
        raise FileFormatError(f"{header.path} gives lengths in {other[0]!r}; accepted are 'mm'")


def _stream(header: TextHeader, axes: _Axes) -> VoxelStream:
    encoding = _encoding(header)
    dtype = _dtype(header, encoding)
    data, start = _data_file(header)
    start = _pass_lines(data, start, header.integer("line skip", "lineskip", default=0))
    skip = header.integer("byte skip", "byteskip", default=0)
    width, height, depth = axes.sizes
    if skip == -1 and encoding == "raw":  # the voxels are the end of the file
        skip = data.stat().st_size - start - depth * height * width * axes.count * dtype.itemsize
    if skip < 0:
        raise FileFormatError(f"{header.path} has a 'byte skip' that does not fit its file; export it again")
    interleaved = axes.place == 0
    shape = (depth, height, width)
    return VoxelStream(
        header.path, data, encoding, dtype, shape, axes.count, interleaved, start=start, skip=skip
    )


def _encoding(header: TextHeader) -> Encoding:
    name = header.require("encoding").lower()
    if name not in _ENCODINGS:
        raise FileFormatError(f"{header.path} is encoded as {name!r}; accepted are raw, gzip, bzip2 and text")
    return _ENCODINGS[name]


def _dtype(header: TextHeader, encoding: Encoding) -> np.dtype[Any]:
    name = " ".join(header.require("type").lower().split())
    if name not in _DTYPES:
        raise FileFormatError(f"{header.path} has voxels of type {name!r}; accepted are integers and floats")
    dtype = _DTYPES[name]
    if dtype.itemsize == 1 or encoding == "text":
        return dtype
    endian = header.require("endian").lower()
    if endian not in ("little", "big"):
        raise FileFormatError(f"{header.path} has 'endian' {endian!r}; accepted are little and big")
    ordered: np.dtype[Any] = dtype.newbyteorder("<" if endian == "little" else ">")
    return ordered


def _data_file(header: TextHeader) -> tuple[Path, int]:
    name = header.get("data file", "datafile")
    if name is None:
        return header.path, header.size
    if name.startswith("LIST") or "%" in name:
        raise FileFormatError(f"{header.path} has its voxels in several files; save it as one .nrrd")
    return contained_file(header.path, name), 0


def _pass_lines(path: Path, start: int, lines: int) -> int:
    if lines == 0:
        return start
    with path.open("rb") as file:
        file.seek(start)
        for _ in range(lines):
            file.readline()
        return file.tell()

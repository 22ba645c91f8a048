"""MetaImage, the format of ITK: voxels in the same file (.mha) or in a .raw or .zraw beside it (.mhd).

Its world is left-posterior-superior; `TransformMatrix` holds the direction of one axis after the other.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

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

_LPS = (-1, -1, 1)
_LAST_FIELD = "elementdatafile"
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def open_metaimage(path: Path) -> StoredVolume:
    """Read and check the header of a MetaImage.

    Raises:
        FileFormatError: missing, damaged, of a kind that is not accepted, or with its voxels in a
            file outside the header's folder.
    """
    with reading(path):
        header = _read_header(path)
        _refuse_foreign(header)
        dimension = header.integer("ndims", default=0)
        channels = header.integer("elementnumberofchannels", default=1)
        if dimension not in (3, 4) or channels < 1 or (dimension == 4 and channels > 1):
            raise FileFormatError(
                f"{path} is {dimension}D with {channels} channels; accepted are 3D, or 4D with one channel"
            )
        sizes = header.sizes("dimsize", count=dimension)
        times = sizes.pop() if dimension == 4 else 1
        geometry = _geometry(header, sizes, dimension)
        stream = _stream(header, geometry, times * channels, interleaved=channels > 1)
        stream.refuse_too_small()
        return StoredVolume(path, geometry, stream.dtype, stream.blocks, stream.count)


def write_metaimage(path: Path, label: LabelVolume, *, overwrite: bool) -> None:
    """Write class ids as a compressed .mha with all digits of the geometry.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    dtype = smallest_id_type(int(label.array.max())).newbyteorder("<")
    voxels = _compress(label.array, dtype)
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        file.write(_format_header(label, dtype, len(voxels)).encode("ascii"))
        file.write(voxels)


def _compress(array: NDArray[Any], dtype: np.dtype[Any]) -> bytes:
    # The header states the compressed size, so all of it is made first; a mask shrinks to a few per cent.
    deflate = zlib.compressobj(6)
    planes = [deflate.compress(np.ascontiguousarray(plane, dtype=dtype).tobytes()) for plane in array]
    return b"".join([*planes, deflate.flush()])


def _format_header(label: LabelVolume, dtype: np.dtype[Any], size: int) -> str:
    affine = space_affine(reverse_axes(label.affine)[:3, :3].T, label.affine[:3, 3].tolist(), _LPS)
    spacing = label.spacing[::-1]
    cosines = affine[:3, :3] / np.array(spacing)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {size}",
        f"TransformMatrix = {_join(cosines.T.ravel())}",
        f"Offset = {_join(affine[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_join(spacing)}",
        f"DimSize = {' '.join(str(length) for length in reversed(label.geometry.shape))}",
        f"ElementType = {'MET_UCHAR' if dtype.itemsize == 1 else 'MET_USHORT'}",
        "ElementDataFile = LOCAL",
    ]
    return "\n".join(lines) + "\n"


def _join(values: Any) -> str:
    return " ".join(repr(float(value)) for value in values)


def _read_header(path: Path) -> TextHeader:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while line := file.readline(MAX_HEADER_BYTES):
            name, equals, value = line.decode("utf-8", errors="replace").partition("=")
            if not equals or file.tell() > MAX_HEADER_BYTES:
                break
            fields[name.strip().lower()] = value.strip()
            if name.strip().lower() == _LAST_FIELD:
                return TextHeader(path, fields, file.tell())
    raise FileFormatError(
        f"{path} is not a MetaImage (no header that ends with ElementDataFile); is the extension right?"
    )


def _refuse_foreign(header: TextHeader) -> None:
    kind = header.get("objecttype") or "Image"
    if kind.lower() != "image":
        raise FileFormatError(f"{header.path} holds a MetaIO object of type {kind!r}; accepted is Image")
    unit = header.get("distanceunits") or "mm"
    if unit.lower() not in ("mm", "?"):
        raise FileFormatError(f"{header.path} gives lengths in {unit!r}; accepted are 'mm'")
    slope = header.get("elementtointensityfunctionslope") or "1"
    offset = header.get("elementtointensityfunctionoffset") or "0"
    if header.numbers("slope", slope) != [1.0] or header.numbers("offset", offset) != [0.0]:
        raise FileFormatError(
            f"{header.path} has an intensity function ({slope}, {offset}); apply it on export"
        )


def _geometry(header: TextHeader, sizes: list[int], dimension: int) -> Geometry:
    spacing_text = header.get("elementspacing", "elementsize")
    spacing = [1.0] * dimension
    if spacing_text is not None:
        spacing = header.numbers("ElementSpacing", spacing_text, count=dimension)
    matrix_text = header.get("transformmatrix", "rotation", "orientation")
    matrix = np.eye(dimension)
    if matrix_text is not None:
        numbers = header.numbers("TransformMatrix", matrix_text, count=dimension**2)
        matrix = np.array(numbers).reshape(dimension, dimension)  # row i: direction of axis i
    origin_text = header.get("offset", "position", "origin")
    origin = [0.0] * dimension
    if origin_text is not None:
        origin = header.numbers("Offset", origin_text, count=dimension)
    directions = matrix[:3, :3] * np.array(spacing[:3])[:, None]
    affine = space_affine(directions, origin[:3], _LPS)
    errors = rounding_error(matrix_text or "") * np.abs(spacing[:3]) + rounding_error(spacing_text or "")
    rounding = corner_rounding(sizes, affine[:3, :3], errors)
    return file_geometry(
        header.path,
        sizes[::-1],
        reverse_axes(affine),
        spacing_known=spacing_text is not None,
        rounding=rounding,
    )


def _stream(header: TextHeader, geometry: Geometry, count: int, *, interleaved: bool) -> VoxelStream:
    encoding = _encoding(header)
    dtype = _dtype(header, encoding)
    data, start = _data_file(header)
    skip = header.integer("headersize", default=0) if data != header.path else 0
    if skip == -1 and encoding == "raw":  # the voxels are the end of the file
        skip = data.stat().st_size - int(np.prod(geometry.shape, dtype=object)) * count * dtype.itemsize
    if skip < 0:
        raise FileFormatError(f"{header.path} has a HeaderSize that does not fit {data.name}")
    start += skip
    return VoxelStream(header.path, data, encoding, dtype, geometry.shape, count, interleaved, start=start)


def _encoding(header: TextHeader) -> Encoding:
    if _is_true(header, "binarydata", default="true"):
        return "zlib" if _is_true(header, "compresseddata", default="false") else "raw"
    return "text"


def _is_true(header: TextHeader, name: str, *, default: str) -> bool:
    value = (header.get(name) or default).lower()
    if value not in ("true", "false", "1", "0"):
        raise FileFormatError(f"{header.path} has {name} = {value!r}; accepted are True and False")
    return value in ("true", "1")


def _dtype(header: TextHeader, encoding: Encoding) -> np.dtype[Any]:
    name = header.require("elementtype").upper()
    if name not in _TYPES:
        raise FileFormatError(f"{header.path} has voxels of type {name}; accepted are {', '.join(_TYPES)}")
    order = "binarydatabyteordermsb" if header.get("binarydatabyteordermsb") else "elementbyteordermsb"
    dtype = np.dtype(_TYPES[name])
    if encoding == "text":
        return dtype
    big = _is_true(header, order, default="false")
    ordered: np.dtype[Any] = dtype.newbyteorder(">" if big else "<")
    return ordered


def _data_file(header: TextHeader) -> tuple[Path, int]:
    name = header.require(_LAST_FIELD)
    if name.upper() == "LOCAL":
        return header.path, header.size
    if name.upper().startswith("LIST") or "%" in name:
        raise FileFormatError(f"{header.path} has its voxels in several files; save it as one .mha")
    return contained_file(header.path, name), 0

"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz).

Whether the file is compressed, its first bytes say. Orientation comes from the sform where its code is
above 0, else from the qform where its code is above 0, else from the voxel sizes alone, placed as
nibabel does (x to the left, world origin in the middle). Voxel sizes are those of this orientation.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.access import reading
from dinoseg.data.volumes.geometry import file_geometry, reverse_axes
from dinoseg.data.volumes.stored import StoredVolume
from dinoseg.data.volumes.streams import VoxelStream
from dinoseg.data.volumes.volume import LabelVolume, smallest_id_type
from dinoseg.errors import FileFormatError, UsageError
from dinoseg.outputs import atomic_path

_GZIP = b"\x1f\x8b"
_SIZES = {348: 1, 540: 2}  # bytes of the header -> version
_SMALLEST_OFFSET = {1: 352, 2: 544}
_MILLIMETRES = (0, 2)  # unknown counts as mm, as everywhere
_UNITS = {1: "metres", 3: "micrometres"}
_LONGEST_AXIS = 32767
_RIGHT_ANGLE = 1e-5


def open_nifti(path: Path) -> StoredVolume:
    """Read and check the header of a NIfTI file.

    Raises:
        FileFormatError: missing, damaged, or of a kind that is no scalar volume.
    """
    with reading(path):
        compressed = _read_head(path, 2) == _GZIP
        header = _parse(path, _read_head(path, 540, compressed=compressed))
        shape, count = _shape(path, header)
        slope, intercept = _scaling(path, header)
        stream = VoxelStream(
            header=path,
            path=path,
            encoding="gzip" if compressed else "raw",
            dtype=_dtype(path, header),
            shape=shape,
            count=count,
            skip=_offset(path, header),
            exact=False,
        )
        geometry = file_geometry(path, shape, reverse_axes(_affine(path, header)))
        stream.refuse_too_small()
        return StoredVolume(path, geometry, stream.dtype, stream.blocks, count, slope, intercept)


def write_nifti(path: Path, label: LabelVolume, *, overwrite: bool) -> None:
    """Write class ids as NIfTI-1 with the sform, and the qform where that can hold the same.

    Raises:
        UsageError: an axis is longer than the format allows.
        OutputError: the file exists already or cannot be written.
    """
    longest = max(label.geometry.shape)
    if longest > _LONGEST_AXIS:
        raise UsageError(f"{path}: NIfTI holds {_LONGEST_AXIS} voxels per axis, not {longest}; write .nrrd")
    ids = label.array.astype(smallest_id_type(int(label.array.max())), copy=False)
    affine = reverse_axes(label.affine)
    image = _nibabel().Nifti1Image(ids.transpose(2, 1, 0), affine)  # (D, H, W) -> (W, H, D)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1 if _is_rectangular(affine) else 0)
    image.header.set_xyzt_units("mm" if label.geometry.spacing_known else "unknown")
    with atomic_path(path, overwrite=overwrite) as temporary:
        image.to_filename(temporary)


def _nibabel() -> Any:
    import nibabel  # here, because only few commands read volumes

    return nibabel


def _read_head(path: Path, size: int, *, compressed: bool = False) -> bytes:
    if not compressed:
        with path.open("rb") as file:
            return file.read(size)
    with gzip.open(path, "rb") as stream:
        return stream.read(size)


def _parse(path: Path, head: bytes) -> Any:
    nibabel = _nibabel()
    kinds = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}
    for order in "<>":
        size = struct.unpack(f"{order}i", head[:4])[0] if len(head) >= 4 else 0
        if size in _SIZES and len(head) >= size:
            magic = head[344:348] if size == 348 else head[4:8]
            _refuse_magic(path, magic)
            return kinds[_SIZES[size]](head[:size], endianness=order, check=False)
    raise FileFormatError(f"{path} is not a NIfTI file (its header is missing); is the extension right?")


def _refuse_magic(path: Path, magic: bytes) -> None:
    if magic[:3] in (b"ni1", b"ni2"):
        raise FileFormatError(f"{path} is the header of a NIfTI pair; convert it to a single .nii.gz")
    if magic[:3] not in (b"n+1", b"n+2"):
        raise FileFormatError(f"{path} is an ANALYZE or damaged NIfTI file; convert it to a NIfTI .nii.gz")


def _shape(path: Path, header: Any) -> tuple[tuple[int, int, int], int]:
    dims = [int(length) for length in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise FileFormatError(f"{path} says it has {dims[0]} axes; accepted are 3 or 4")
    sizes = dims[1 : dims[0] + 1]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    text = "×".join(map(str, sizes))
    if min(sizes) < 1:
        raise FileFormatError(f"{path} has an axis without voxels ({text}); export it again")
    if len(sizes) not in (3, 4):
        raise FileFormatError(f"{path} is {len(sizes)}D ({text}); accepted are 3D and 4D")
    count = sizes[3] if len(sizes) == 4 else 1
    return (sizes[2], sizes[1], sizes[0]), count


def _dtype(path: Path, header: Any) -> np.dtype[Any]:
    code = int(header["datatype"])
    codes = type(header)._data_type_codes
    dtype = codes.dtype[code] if code in codes.dtype else np.dtype("V")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = dict(codes.label).get(code, "unknown")
        raise FileFormatError(
            f"{path} has voxels of type {name} (code {code}); accepted are integers and floats"
        )
    ordered: np.dtype[Any] = dtype.newbyteorder(header.endianness)
    return ordered


def _scaling(path: Path, header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0:  # by definition: no scaling
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise FileFormatError(
            f"{path} has scl_slope {slope} and scl_inter {intercept}; "
            "accepted are finite numbers (1 and 0 for none)"
        )
    return slope, intercept


def _offset(path: Path, header: Any) -> int:
    offset = float(header["vox_offset"])
    smallest = _SMALLEST_OFFSET[_SIZES[int(header["sizeof_hdr"])]]
    if offset == 0:
        return smallest
    if not smallest <= offset < 2**62:
        raise FileFormatError(f"{path} says its voxels begin at byte {offset:g}; the least is {smallest}")
    return int(offset)


def _affine(path: Path, header: Any) -> NDArray[np.float64]:
    units = int(header["xyzt_units"]) & 7
    if units not in _MILLIMETRES:
        raise FileFormatError(
            f"{path} gives lengths in {_UNITS.get(units, f'unit {units}')}; accepted are millimetres"
        )
    if int(header["sform_code"]) > 0:
        return np.asarray(header.get_sform(), dtype=np.float64)
    sizes = header["pixdim"]
    if int(header["qform_code"]) > 0:
        if sizes[0] == 0:  # by definition: 1
            sizes[0] = 1
        return _qform(path, header)
    sizes[1:4] = np.abs(sizes[1:4])
    return np.asarray(header.get_base_affine(), dtype=np.float64)


def _qform(path: Path, header: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except Exception as error:  # nibabel's own error is no ValueError
        raise FileFormatError(f"{path} has a qform that is no rotation ({error}); export it again") from error


def _is_rectangular(affine: NDArray[np.float64]) -> bool:
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() < _RIGHT_ANGLE)

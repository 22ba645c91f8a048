"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz).

Whether the file is compressed, its first bytes say. Orientation comes from the sform where its code is
above 0, else from the qform where its code is above 0, else from the voxel sizes alone, placed as
nibabel does (x to the left, world origin in the middle). Voxel sizes are those of this orientation.

What is written for an image that came from NIfTI (a mask, a converted volume) carries both forms with their
codes, the voxel sizes and the units exactly as the image had them, in the same version of the format: so it
lies over its image in every program, whichever form that follows.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.access import reading
from dinoseg.data.volumes.forms import NiftiForms
from dinoseg.data.volumes.geometry import (
    Geometry,
    Rounding,
    file_geometry,
    measure_offset,
    refuse_other_geometry,
    reverse_axes,
)
from dinoseg.data.volumes.stored import StoredVolume
from dinoseg.data.volumes.streams import VoxelStream
from dinoseg.data.volumes.volume import LabelVolume, smallest_id_type
from dinoseg.errors import DataError, FileFormatError, LabelError, UsageError
from dinoseg.outputs import atomic_path

_GZIP = b"\x1f\x8b"
_SIZES = {348: 1, 540: 2}  # bytes of the header -> version
_SMALLEST_OFFSET = {1: 352, 2: 544}
_MILLIMETRES = (0, 2)  # unknown counts as mm, as everywhere
_UNITS = {1: "metres", 3: "micrometres"}
_LONGEST_AXIS = 32767
_SFORM = ("srow_x", "srow_y", "srow_z")
_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
_OFFSET = ("qoffset_x", "qoffset_y", "qoffset_z")
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
        affine = _affine(path, header)
        geometry = file_geometry(
            path,
            shape,
            reverse_axes(affine),
            rounding=_rounding(header),
            forms=_read_forms(header, shape, affine),
        )
        stream.refuse_too_small()
        return StoredVolume(path, geometry, stream.dtype, stream.blocks, count, slope, intercept)


def write_nifti(path: Path, label: LabelVolume, *, overwrite: bool) -> None:
    """Write class ids in the smallest type that holds them; see `write_grid`.

    Raises:
        UsageError: an axis is longer than the format allows.
        OutputError: the file exists already or cannot be written.
    """
    ids = label.array.astype(smallest_id_type(int(label.array.max())), copy=False)
    write_grid(path, ids, label.geometry, overwrite=overwrite)


def write_grid(path: Path, array: NDArray[Any], geometry: Geometry, *, overwrite: bool = False) -> None:
    """Write numbers (D, H, W) with the header's forms where the grid is that of a NIfTI file.

    Other grids are written as NIfTI-1 with the sform, and the qform where that can hold the same.

    Raises:
        UsageError: an axis is longer than the format allows.
        OutputError: the file exists already or cannot be written.
    """
    longest, forms = max(geometry.shape), geometry.forms
    version = 1 if forms is None else forms.version
    if version == 1 and longest > _LONGEST_AXIS:
        raise UsageError(f"{path}: NIfTI holds {_LONGEST_AXIS} voxels per axis, not {longest}; write .nrrd")
    kind = _nibabel().Nifti1Image if version == 1 else _nibabel().Nifti2Image
    image = kind(array.transpose(2, 1, 0), None, dtype=array.dtype)  # (D, H, W) -> (W, H, D)
    if forms is None:
        _state_place(image, geometry)
    else:
        _restore_forms(image.header, forms)
    with atomic_path(path, overwrite=overwrite) as temporary:
        image.to_filename(temporary)


def _state_place(image: Any, geometry: Geometry) -> None:
    affine = reverse_axes(geometry.affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1 if _is_rectangular(affine) else 0)
    image.header.set_xyzt_units("mm" if geometry.spacing_known else "unknown")


def _restore_forms(header: Any, forms: NiftiForms) -> None:
    header["sform_code"], header["qform_code"] = forms.sform_code, forms.qform_code
    for place, name in enumerate(_SFORM):
        header[name] = forms.sform[4 * place : 4 * place + 4]
    for name, value in zip((*_QUATERNION, *_OFFSET), (*forms.quaternion, *forms.offset), strict=True):
        header[name] = value
    header["pixdim"], header["xyzt_units"] = forms.pixdim, forms.units


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
    header = header.copy()  # what is mended here is written as it was
    if int(header["qform_code"]) > 0:
        return _qform(path, header)
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    return np.asarray(header.get_base_affine(), dtype=np.float64)


def _qform(path: object, header: Any) -> NDArray[np.float64]:
    if header["pixdim"][0] == 0:  # by definition: 1
        header["pixdim"][0] = 1
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except Exception as error:  # nibabel's own error is no ValueError
        raise FileFormatError(f"{path} has a qform that is no rotation ({error}); export it again") from error


def _read_forms(header: Any, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> NiftiForms:
    return NiftiForms(
        version=_SIZES[int(header["sizeof_hdr"])],
        sform_code=int(header["sform_code"]),
        qform_code=int(header["qform_code"]),
        sform=_finite([value for name in _SFORM for value in header[name]]),
        quaternion=_finite([header[name] for name in _QUATERNION]),
        offset=_finite([header[name] for name in _OFFSET]),
        pixdim=_finite(header["pixdim"]),
        units=int(header["xyzt_units"]),
        disagreement=_describe_disagreement(header, shape, affine),
    )


def _finite(values: Any) -> tuple[float, ...]:
    """Numbers of a header; of what is none, which only an unused form may hold, 0 is left."""
    return tuple(float(value) if np.isfinite(value) else 0.0 for value in values)


def _describe_disagreement(header: Any, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> str:
    """Where sform and qform are both in use and differ: by how much, and which one is followed."""
    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return ""
    rule = "the volume is read by its sform, and what is written for it keeps both"
    try:
        other = header.copy()
        other["pixdim"][1:4] = np.abs(other["pixdim"][1:4])
        turn = Rounding(_quaternion_error(header))
        grids = [
            Geometry(shape, reverse_axes(each), rounding=turn) for each in (affine, _qform("the file", other))
        ]
    except DataError:
        return f"its qform is no placement at all, although its code says so; {rule}"
    try:
        refuse_other_geometry(*grids, image_name="sform", label_name="qform")
        return ""
    except LabelError:
        offset = measure_offset(*grids)
    mirrored = np.linalg.det(grids[0].affine[:3, :3]) * np.linalg.det(grids[1].affine[:3, :3]) < 0
    turned = f"towards {grids[0].directions[::-1]} and {grids[1].directions[::-1]} along i, j, k"
    return (
        f"its sform and qform disagree ({turned}{', mirrored' if mirrored else ''}; corners up to "
        f"{offset.millimetres:.4g} mm apart): {rule}"
    )


def _rounding(header: Any) -> Rounding:
    by_qform = int(header["sform_code"]) <= 0 < int(header["qform_code"])
    return Rounding(_quaternion_error(header)) if by_qform else Rounding()


def _quaternion_error(header: Any) -> float:
    """Angle in radians that a grid may be turned by because its quaternion is rounded.

    Of the four numbers the first is not stored but follows from the others, badly where it is small: near
    half a turn, as between the two usual directions of x and y. Readers take it as 0 below a limit.
    """
    squares = float(np.sum(np.square([float(header[name]) for name in _QUATERNION])))
    error = 4 * float(np.finfo(header["quatern_b"].dtype).eps)
    first = np.sqrt(max(1.0 - squares, 0.0))
    return float(2 * error / max(first, np.sqrt(error)))


def _is_rectangular(affine: NDArray[np.float64]) -> bool:
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(cosines.T @ cosines - np.eye(3)).max() < _RIGHT_ANGLE)

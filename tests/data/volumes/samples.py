"""Small volumes, and files of every format, written with other libraries or by hand."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import nibabel
import nrrd
import numpy as np
from scipy.spatial.transform import Rotation

from dinoseg.data.volumes import Geometry, LabelVolume, Volume

SHAPE = (4, 5, 6)


def counting(shape: tuple[int, ...] = SHAPE, dtype: Any = np.int16) -> np.ndarray:
    """Every voxel another number, so that no mix-up of axes goes unseen."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def oblique_affine(*, seed: int = 0, spacing: tuple[float, ...] = (4.5, 1.25, 0.75)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * spacing
    affine[:3, 3] = (-101.5, 33.25, 7.125)
    return affine


def tilted_affine() -> np.ndarray:
    """Axes that are not at right angles, as a gantry tilt leaves them."""
    affine = oblique_affine(seed=3)
    affine[:3, 0] += 0.3 * affine[:3, 1]
    return affine


def make_volume(
    array: np.ndarray | None = None, *, affine: np.ndarray | None = None, spacing_known: bool = True
) -> Volume:
    array = counting() if array is None else array
    array = array[None] if array.ndim == 3 else array
    affine = oblique_affine() if affine is None else affine
    return Volume(array, Geometry(array.shape[1:], affine, spacing_known), Path("scan.nii.gz"), "scan")


def make_label(array: np.ndarray | None = None, *, affine: np.ndarray | None = None) -> LabelVolume:
    array = counting(dtype=np.uint8) if array is None else array
    affine = oblique_affine() if affine is None else affine
    return LabelVolume(array, Geometry(array.shape, affine), Path("mask.nii.gz"), "mask")


def ijk(affine: np.ndarray) -> np.ndarray:
    """Affine of (i, j, k) from that of (d, h, w)."""
    return affine[:, [2, 1, 0, 3]]


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **fields: Any) -> Path:
    """Write (D, H, W) or (T, D, H, W) with nibabel; then set header fields byte by byte."""
    data = array.transpose(2, 1, 0) if array.ndim == 3 else array.transpose(*range(array.ndim)[::-1])
    image = nibabel.Nifti1Image(data, ijk(oblique_affine() if affine is None else affine), dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return edit_nifti(path, **fields) if fields else path


def edit_nifti(path: Path, **fields: Any) -> Path:
    content = bytearray(read_content(path))
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return write_content(path, bytes(content))


def read_content(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def write_content(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def save_nrrd(path: Path, array: np.ndarray, fields: Mapping[str, Any] | None = None) -> Path:
    """Write (D, H, W) with pynrrd, which stamps files with a call that newer Pythons warn about."""
    header = {
        "encoding": "raw",
        "space": "left-posterior-superior",
        "space directions": np.diag([0.75, 1.25, 4.5]),
        "space origin": np.array([1.0, 2.0, 3.0]),
        **(fields or {}),
    }
    header = {name: value for name, value in header.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        nrrd.write(str(path), array, header, index_order="C")
    return path


def save_text_nrrd(path: Path, lines: str, voxels: bytes = b"") -> Path:
    path.write_bytes(b"NRRD0004\n" + lines.strip().encode() + b"\n\n" + voxels)
    return path


def save_mha(path: Path, fields: Mapping[str, Any] | None = None, voxels: bytes | None = None) -> Path:
    """Write a MetaImage by hand: 4x5x6 voxels of int16, and what `fields` changes (None leaves out)."""
    stated = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": False,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "1 2 3",
        "ElementSpacing": "0.75 1.25 4.5",
        "DimSize": "6 5 4",
        "ElementType": "MET_SHORT",
        **(fields or {}),
    }
    name = stated.pop("ElementDataFile", "LOCAL")
    lines = [f"{key} = {value}\n" for key, value in stated.items() if value is not None]
    voxels = counting(dtype="<i2").tobytes() if voxels is None else voxels
    local = name == "LOCAL"
    path.write_bytes("".join([*lines, f"ElementDataFile = {name}\n"]).encode() + (voxels if local else b""))
    return path


def save_h5(path: Path, *, attributes: Mapping[str, Any] | None = None, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file[name] = array
        file.attrs.update(attributes or {})
    return path

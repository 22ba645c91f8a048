"""Every kind of bad volume, the message it gives, and that nothing is left behind."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from dinoseg.data.volumes import read_label, read_volume, read_volume_info
from dinoseg.errors import DataError, FileFormatError, LabelError
from tests.data.volumes.samples import (
    SHAPE,
    counting,
    oblique_affine,
    read_content,
    save_h5,
    save_mha,
    save_nifti,
    save_nrrd,
    save_text_nrrd,
    write_content,
)

HUGE = 32767
NRRD = "type: short\nendian: little\ndimension: 3\nsizes: 6 5 4\nencoding: raw\nspace: LPS\n"
STEPS = "space directions: (1,0,0) (0,1,0) (0,0,1)\n"
VOXELS = counting(dtype="<i2").tobytes()


@dataclass(frozen=True)
class BadVolume:
    """`make` writes a bad file; reading it must raise `error` with all `words`."""

    name: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]
    read: Callable[[Path], Any] = read_volume
    error: type[DataError] = FileFormatError


def _nifti(**fields: Any) -> Callable[[Path], Path]:
    return lambda folder: save_nifti(folder / "a.nii.gz", counting(), **fields)


def _nifti_of(array: np.ndarray, name: str = "a.nii.gz") -> Callable[[Path], Path]:
    return lambda folder: save_nifti(folder / name, array)


def _bytes(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _cut(name: str, keep: float, save: Callable[[Path, np.ndarray], Path]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        noise = np.random.default_rng(0).integers(0, 200, (20, 30, 40)).astype(np.int16)
        path = save(folder / name, noise)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))] if keep < 1 else content[:-4])
        return path

    return make


def _damaged(folder: Path) -> Path:
    path = save_nifti(folder / "a.nii.gz", counting())
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF  # in the check sum of gzip
    path.write_bytes(bytes(content))
    return path


def _sform(place: tuple[int, int], value: float) -> Callable[[Path], Path]:
    row = np.array(nibabel.Nifti1Header().get_best_affine()[place[0]])
    row[place[1]] = value
    return _nifti(**{f"srow_{'xyz'[place[0]]}": row})


def _qform(pixdim: list[float], **fields: Any) -> Callable[[Path], Path]:
    return _nifti(sform_code=0, qform_code=1, pixdim=pixdim, **fields)


def _nifti_in(dtype: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5, 4), dtype), np.eye(4)), folder / "a.nii")
        return folder / "a.nii"

    return make


def _nrrd(lines: str, voxels: bytes = VOXELS, name: str = "a.nrrd") -> Callable[[Path], Path]:
    return lambda folder: save_text_nrrd(folder / name, lines, voxels)


def _mha(voxels: bytes | None = None, **fields: Any) -> Callable[[Path], Path]:
    return lambda folder: save_mha(folder / "a.mha", fields, voxels)


def _mhd(name: str, content: bytes | None = None, **fields: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        if content is not None:
            (folder / name).write_bytes(content)
        return save_mha(folder / "a.mhd", {"ElementDataFile": name, **fields})

    return make


def _outside(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "secret.raw").write_bytes(VOXELS)
        (folder / "inner").mkdir()
        lines = NRRD + STEPS + f"data file: {name.format(folder=folder)}"
        return save_text_nrrd(folder / "inner" / "a.nhdr", lines)

    return make


def _h5(**datasets: Any) -> Callable[[Path], Path]:
    return lambda folder: save_h5(folder / "a.h5", **datasets)


def _h5_spacing(spacing: Any) -> Callable[[Path], Path]:
    return lambda folder: save_h5(folder / "a.h5", image=counting(), attributes={"spacing": spacing})


def _h5_link(folder: Path) -> Path:
    save_h5(folder / "other.h5", image=counting())
    with h5py.File(folder / "a.h5", "w") as file:
        file["image"] = h5py.ExternalLink("other.h5", "image")
    return folder / "a.h5"


def _h5_group(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_group("image")
    return folder / "a.h5"


def _h5_huge(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("image", shape=(10**5, 10**5, 10**5), dtype="i2", chunks=(1, 64, 64))
    return folder / "a.h5"


def _folder(folder: Path) -> Path:
    (folder / "a.nii.gz").mkdir()
    return folder / "a.nii.gz"


def _h5_soft_link(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["voxels"] = counting()
        file["image"] = h5py.SoftLink("/voxels")
    return folder / "a.h5"


def _h5_far_link(folder: Path) -> Path:
    save_h5(folder / "other.h5", image=counting())
    with h5py.File(folder / "a.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/")
        file["image"] = h5py.SoftLink("/elsewhere/image")
    return folder / "a.h5"


def _link(folder: Path) -> Path:
    (folder / "a.nii.gz").symlink_to(folder / "gone.nii.gz")
    return folder / "a.nii.gz"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.nii")
    return folder / "a.nii"


def _five_axes(folder: Path) -> Path:
    return save_nifti(folder / "a.nii", counting((2, 3, *SHAPE)))


def _two_axes(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 5), np.int16), np.eye(4)), folder / "a.nii")
    return folder / "a.nii"


def _analyze(folder: Path) -> Path:
    path = save_nifti(folder / "a.nii", counting())
    content = bytearray(read_content(path))
    content[344:348] = b"\0\0\0\0"
    return write_content(path, bytes(content))


def _pair(folder: Path) -> Path:
    path = save_nifti(folder / "a.nii", counting())
    content = bytearray(read_content(path))
    content[344:348] = b"ni1\0"
    return write_content(path, bytes(content))


FILES = [
    BadVolume("missing", lambda folder: folder / "a.nii.gz", ("does not exist",)),
    BadVolume("link to nothing", _link, ("link to a file that does not exist",)),
    BadVolume("folder", _folder, ("is a folder",)),
    BadVolume("pipe", _pipe, ("not a regular file",)),
    BadVolume("empty", _bytes("a.nii.gz", b""), ("empty (0 bytes)",)),
    BadVolume("unknown extension", _bytes("a.img", b"x"), ("no extension of a volume", ".nii.gz", ".mha")),
    BadVolume("empty gzip", _bytes("a.nii.gz", gzip.compress(b"")), ("not a NIfTI file",)),
]

NIFTI = [
    BadVolume("text named .nii", _bytes("a.nii", b"This is no scan.\n" * 50), ("not a NIfTI file",)),
    BadVolume("text named .nii.gz", _bytes("a.nii.gz", b"no scan"), ("not a NIfTI file",)),
    BadVolume("zeros named .nii", _bytes("a.nii", bytes(1000)), ("not a NIfTI file",)),
    BadVolume("gzip cut within the header", _cut("a.nii.gz", 0.001, save_nifti), ("is truncated",)),
    BadVolume("gzip cut within the voxels", _cut("a.nii.gz", 0.5, save_nifti), ("is truncated",)),
    BadVolume("gzip cut within its check sum", _cut("a.nii.gz", 1.0, save_nifti), ("is truncated",)),
    BadVolume("gzip with a wrong check sum", _damaged, ("CRC", "damaged")),
    BadVolume("plain file cut", _cut("a.nii", 0.5, save_nifti), ("is truncated", "48,000 bytes")),
    BadVolume("ANALYZE", _analyze, ("ANALYZE", "convert it")),
    BadVolume("header of a pair", _pair, ("header of a NIfTI pair",)),
    BadVolume("5D", _five_axes, ("is 5D (6×5×4×3×2)", "accepted are 3D and 4D")),
    BadVolume("2D", _two_axes, ("is 2D (6×5)",)),
    BadVolume("9 axes", _nifti(dim=[9, 6, 5, 4, 1, 1, 1, 1]), ("9 axes",)),
    BadVolume("zero-length axis", _nifti(dim=[3, 6, 0, 4, 1, 1, 1, 1]), ("axis without voxels (6×0×4)",)),
    BadVolume("negative axis", _nifti(dim=[3, 6, -5, 4, 1, 1, 1, 1]), ("axis without voxels (6×-5×4)",)),
    BadVolume("gigantic axes", _nifti(dim=[3, HUGE, HUGE, HUGE, 1, 1, 1, 1]), ("70,362,301,923,326 bytes",)),
    BadVolume("zero spacing", _qform([1, 0, 1, 1, 0, 0, 0, 0]), ("a voxel size of 0 mm along W",)),
    BadVolume("negative spacing", _qform([1, -2, 1, 1, 0, 0, 0, 0]), ("should be positive",)),
    BadVolume("NaN spacing", _qform([1, np.nan, 1, 1, 0, 0, 0, 0]), ("NaN or infinity in its affine",)),
    BadVolume(
        "no orientation, zero spacing", _nifti(sform_code=0, qform_code=0, pixdim=[0.0] * 8), ("0 mm",)
    ),
    BadVolume("wrong quaternion", _qform([1] * 8, quatern_b=2, quatern_c=2), ("no rotation",)),
    BadVolume("NaN in the affine", _sform((1, 1), np.nan), ("NaN or infinity in its affine",)),
    BadVolume("infinity in the affine", _sform((2, 3), np.inf), ("NaN or infinity in its affine",)),
    BadVolume("singular affine", _nifti(srow_y=[0] * 4, srow_x=[1, 1, 0, 0]), ("affine",)),
    BadVolume(
        "parallel axes", _nifti(srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0], srow_z=[0, 0, 1, 0]), ("singular",)
    ),
    BadVolume("NaN slope", _nifti(scl_slope=np.nan), ("scl_slope nan", "accepted are finite")),
    BadVolume("infinite slope", _nifti(scl_slope=np.inf), ("scl_slope inf",)),
    BadVolume("NaN intercept", _nifti(scl_slope=2.0, scl_inter=np.nan), ("scl_inter nan",)),
    BadVolume("complex", _nifti_in(np.complex64), ("complex64", "integers and floats")),
    BadVolume("RGB", _nifti_in(np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), ("RGB", "accepted")),
    BadVolume("unknown type", _nifti(datatype=999), ("code 999",)),
    BadVolume("voxels within the header", _nifti(vox_offset=100), ("begin at byte 100", "352")),
    BadVolume("micrometres", _nifti(xyzt_units=3), ("lengths in micrometres", "millimetres")),
    BadVolume(
        "NaN voxels",
        _nifti_of(np.full(SHAPE, np.nan, np.float32)),
        ("NaN or infinite voxels",),
        error=DataError,
    ),
    BadVolume(
        "too large for float32", _nifti_of(np.full(SHAPE, 1e300)), ("infinite voxels",), error=DataError
    ),
]

NRRDS = [
    BadVolume("text named .nrrd", _bytes("a.nrrd", b"hello\n\n"), ("not a NRRD file",)),
    BadVolume("NRRD of the future", _bytes("a.nrrd", b"NRRD0009\n\n"), ("versions 1 to 5",)),
    BadVolume(
        "header without end", _bytes("a.nrrd", b"NRRD0004\n" + b"a: b\n" * 300_000), ("header without end",)
    ),
    BadVolume("no sizes", _nrrd(NRRD.replace("sizes", "lengths")), ("no field 'sizes'",)),
    BadVolume("no type", _nrrd(NRRD.replace("type", "sort") + STEPS), ("no field 'type'",)),
    BadVolume("no endian", _nrrd(NRRD.replace("endian", "end") + STEPS), ("no field 'endian'",)),
    BadVolume(
        "middle endian", _nrrd(NRRD.replace("little", "middle") + STEPS), ("'middle'", "little and big")
    ),
    BadVolume("type block", _nrrd(NRRD.replace("short", "block") + STEPS), ("'block'",)),
    BadVolume("hex", _nrrd(NRRD.replace("raw", "hex") + STEPS), ("'hex'", "raw, gzip, bzip2 and text")),
    BadVolume("sizes too few", _nrrd(NRRD.replace("6 5 4", "6 5") + STEPS), ("2 numbers in 'sizes'",)),
    BadVolume("size with a fraction", _nrrd(NRRD.replace("6 5 4", "6 5 4.5") + STEPS), ("whole numbers",)),
    BadVolume("size in letters", _nrrd(NRRD.replace("6 5 4", "6 5 four") + STEPS), ("accepted are numbers",)),
    BadVolume("zero-length axis", _nrrd(NRRD.replace("6 5 4", "6 0 4") + STEPS), ("axis without voxels",)),
    BadVolume("2D", _nrrd(NRRD.replace("dimension: 3", "dimension: 2")), ("is 2D",)),
    BadVolume("5D", _nrrd(NRRD.replace("dimension: 3", "dimension: 5")), ("is 5D",)),
    BadVolume(
        "4D without directions",
        _nrrd(NRRD.replace("dimension: 3\nsizes: 6 5 4", "dimension: 4\nsizes: 6 5 4 1")),
        ("4 of them in space",),
    ),
    BadVolume(
        "directions too few",
        _nrrd(NRRD + "space directions: (1,0,0) (0,1,0)\n"),
        ("but 2 'space directions'",),
    ),
    BadVolume(
        "directions in a plane", _nrrd(NRRD + "space directions: (1,0) (0,1) (1,1)\n"), ("step of 2 numbers",)
    ),
    BadVolume("zero spacing", _nrrd(NRRD + "space directions: (1,0,0) (0,0,0) (0,0,1)\n"), ("0 mm along H",)),
    BadVolume(
        "NaN in the directions", _nrrd(NRRD + "space directions: (1,0,0) (0,nan,0) (0,0,1)\n"), ("NaN",)
    ),
    BadVolume(
        "singular directions", _nrrd(NRRD + "space directions: (1,0,0) (1,0,0) (0,0,1)\n"), ("singular",)
    ),
    BadVolume(
        "origin too short", _nrrd(NRRD + STEPS + "space origin: (1,2)\n"), ("2 numbers in 'space origin'",)
    ),
    BadVolume(
        "scanner space",
        _nrrd(NRRD.replace("LPS", "scanner-xyz") + STEPS),
        ("'scanner-xyz'", "left-posterior"),
    ),
    BadVolume("micrometres", _nrrd(NRRD + STEPS + 'space units: "um" "um" "um"\n'), ("'um'", "'mm'")),
    BadVolume("raw cut", _nrrd(NRRD + STEPS, VOXELS[:-1]), ("is truncated", "240 bytes", "239 bytes")),
    BadVolume("raw too long", _nrrd(NRRD + STEPS, VOXELS + b"x"), ("more voxels than its header says",)),
    BadVolume(
        "gzip cut",
        _cut("a.nrrd", 0.5, lambda path, array: save_nrrd(path, array, {"encoding": "gzip"})),
        ("truncated",),
    ),
    BadVolume("gzip that is none", _nrrd(NRRD.replace("raw", "gzip") + STEPS, VOXELS), ("gzip", "damaged")),
    BadVolume(
        "gzip with too few voxels",
        _nrrd(NRRD.replace("raw", "gzip") + STEPS, gzip.compress(VOXELS[:100])),
        ("truncated",),
    ),
    BadVolume("bzip2 that is none", _nrrd(NRRD.replace("raw", "bzip2") + STEPS, VOXELS), ("damaged",)),
    BadVolume(
        "bzip2 with too many voxels",
        _nrrd(NRRD.replace("raw", "bzip2") + STEPS, bz2.compress(VOXELS * 2)),
        ("more voxels",),
    ),
    BadVolume("text cut", _nrrd(NRRD.replace("raw", "text") + STEPS, b"1 " * 119 + b" " * 9), ("truncated",)),
    BadVolume("text too long", _nrrd(NRRD.replace("raw", "text") + STEPS, b"1 " * 121), ("more voxels",)),
    BadVolume(
        "text with words",
        _nrrd(NRRD.replace("raw", "text") + STEPS, b"one " * 120),
        ("cannot be read", "one"),
    ),
    BadVolume(
        "text beyond its type", _nrrd(NRRD.replace("raw", "text") + STEPS, b"70000 " * 120), ("no int16",)
    ),
    BadVolume(
        "gigantic sizes",
        _nrrd(NRRD.replace("6 5 4", "999999999 999999999 999999999") + STEPS),
        ("truncated",),
    ),
    BadVolume(
        "gigantic sizes, gzip",
        _nrrd(NRRD.replace("6 5 4", "99999 99999 99999").replace("raw", "gzip") + STEPS),
        ("truncated",),
    ),
    BadVolume(
        "several data files", _nrrd(NRRD + STEPS + "data file: LIST\na.raw\nb.raw"), ("several files",)
    ),
    BadVolume("numbered data files", _nrrd(NRRD + STEPS + "data file: a%03d.raw 0 9 1"), ("several files",)),
    BadVolume(
        "data file outside, relative", _outside("../secret.raw"), ("outside its folder (../secret.raw)",)
    ),
    BadVolume("data file outside, absolute", _outside("{folder}/secret.raw"), ("outside its folder",)),
    BadVolume("data file outside, in and out", _outside("x/../../secret.raw"), ("outside its folder",)),
    BadVolume(
        "data file missing",
        _nrrd(NRRD + STEPS + "data file: gone.raw", name="a.nhdr"),
        ("gone.raw", "does not exist"),
    ),
    BadVolume("bytes to skip below the file", _nrrd(NRRD + STEPS + "byte skip: -5"), ("'byte skip'",)),
]

METAIMAGES = [
    BadVolume("text named .mha", _bytes("a.mha", b"hello\n"), ("not a MetaImage",)),
    BadVolume("binary named .mha", _bytes("a.mha", os.urandom(64) + b"\0\n"), ("not a MetaImage",)),
    BadVolume(".raw of .mhd missing", _mhd("gone.raw"), ("names the data file gone.raw", "does not exist")),
    BadVolume(".raw of .mhd empty", _mhd("a.raw", b""), ("empty (0 bytes)",)),
    BadVolume(
        ".raw of .mhd cut", _mhd("a.raw", VOXELS[:-2]), ("(voxels in a.raw) is truncated", "238 bytes")
    ),
    BadVolume(
        ".raw of .mhd too long", _mhd("a.raw", VOXELS + b"xx"), ("(voxels in a.raw) holds more voxels",)
    ),
    BadVolume(".mhd that points outside", _mhd("../a.raw"), ("outside its folder",)),
    BadVolume(".mhd with a list", _mhd("LIST"), ("several files",)),
    BadVolume("tubes", _mha(ObjectType="Tube"), ("'Tube'",)),
    BadVolume("2D", _mha(NDims=2, DimSize="6 5"), ("2D",)),
    BadVolume("no channels", _mha(ElementNumberOfChannels=0), ("0 channels",)),
    BadVolume("zero spacing", _mha(ElementSpacing="0.75 0 4.5"), ("0 mm along H",)),
    BadVolume("spacing too short", _mha(ElementSpacing="0.75 1"), ("2 numbers in 'ElementSpacing'",)),
    BadVolume("singular matrix", _mha(TransformMatrix="1 0 0 1 0 0 0 0 1"), ("singular",)),
    BadVolume("matrix of zeros", _mha(TransformMatrix="0 0 0 0 0 0 0 0 0"), ("0 mm",)),
    BadVolume("vectors", _mha(ElementType="MET_FLOAT_ARRAY"), ("MET_FLOAT_ARRAY", "MET_SHORT")),
    BadVolume("neither true nor false", _mha(CompressedData="perhaps"), ("'perhaps'", "True and False")),
    BadVolume("header size below the file", _mhd("a.raw", VOXELS, HeaderSize=-5), ("HeaderSize",)),
    BadVolume("intensity function", _mha(ElementToIntensityFunctionSlope="2"), ("intensity function",)),
    BadVolume("micrometres", _mha(DistanceUnits="um"), ("'um'",)),
    BadVolume("packed and cut", _mha(zlib.compress(VOXELS)[:-9], CompressedData=True), ("truncated",)),
    BadVolume("packed and damaged", _mha(b"x" * 100, CompressedData=True), ("damaged",)),
    BadVolume("gigantic sizes", _mha(DimSize="999999999 999999999 9"), ("truncated",)),
]

HDF5S = [
    BadVolume("text named .h5", _bytes("a.h5", b"hello"), ("not an HDF5 file",)),
    BadVolume("cut", _bytes("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)), ("cannot be read",)),
    BadVolume("without image", _h5(scan=counting(), mask=counting()), ("no dataset 'image'", "mask, scan")),
    BadVolume("without anything", _h5(), ("it holds nothing",)),
    BadVolume("without label", _h5(image=counting()), ("no dataset 'label'",), read_label),
    BadVolume("group", _h5_group, ("is a group",)),
    BadVolume("2D", _h5(image=counting()[0]), ("2D (5×6)", "(D, H, W)")),
    BadVolume("5D", _h5(image=counting((1, 1, *SHAPE))), ("5D",)),
    BadVolume("one number", _h5(image=3.5), ("a single value",)),
    BadVolume("4D label", _h5(label=counting((1, *SHAPE))), ("4D",), read_label),
    BadVolume("zero-length axis", _h5(image=np.zeros((4, 0, 6))), ("axis without voxels",)),
    BadVolume("complex", _h5(image=counting(dtype=np.complex64)), ("complex64",)),
    BadVolume("words", _h5(image=np.full(SHAPE, b"abc")), ("accepted are integers and floats",)),
    BadVolume("in another file", _h5_link, ("is a link, which may lead into another",)),
    BadVolume("soft link", _h5_soft_link, ("is a link, which may lead into another",)),
    BadVolume("soft link through a group elsewhere", _h5_far_link, ("is a link",)),
    BadVolume("gigantic and never written", _h5_huge, ("truncated",)),
    BadVolume("zero spacing", _h5_spacing([1.0, 0.0, 1.0]), ("0 mm along H",)),
    BadVolume("NaN spacing", _h5_spacing([1.0, np.nan, 1.0]), ("NaN",)),
    BadVolume("spacing too short", _h5_spacing([1.0, 2.0]), ("three numbers",)),
    BadVolume("spacing in words", _h5_spacing("1 mm"), ("three numbers",)),
]

LABELS = [
    BadVolume(
        "int64 beyond range",
        _nifti_of(np.full(SHAPE, 2**40)),
        ("1099511627776", "65535"),
        read_label,
        LabelError,
    ),
    BadVolume(
        "uint64 beyond range",
        _nifti_of(np.full(SHAPE, 2**64 - 1, np.uint64)),
        ("65535",),
        read_label,
        LabelError,
    ),
    BadVolume("negative", _nifti_of(counting() - 1), ("the label -1",), read_label, LabelError),
    BadVolume(
        "fractions", _nifti_of(counting(dtype=np.float32) / 2), ("0.5", "nearest"), read_label, LabelError
    ),
    BadVolume("NaN", _nifti_of(np.full(SHAPE, np.nan)), ("nan",), read_label, LabelError),
    BadVolume("wrong slope", _nifti(scl_slope=0.4), ("the label 0.4",), read_label, LabelError),
    BadVolume(
        "fractions in HDF5", _h5(label=counting(dtype=np.float64) + 0.25), ("0.25",), read_label, LabelError
    ),
    BadVolume(
        "negative in NRRD",
        lambda folder: save_nrrd(folder / "a.nrrd", -counting()),
        ("the label -",),
        read_label,
        LabelError,
    ),
]

GROUPS = {
    "file": FILES,
    "nifti": NIFTI,
    "nrrd": NRRDS,
    "metaimage": METAIMAGES,
    "hdf5": HDF5S,
    "label": LABELS,
}
CASES = [pytest.param(bad, id=f"{group}: {bad.name}") for group, bads in GROUPS.items() for bad in bads]


@pytest.mark.parametrize("bad", CASES)
def test_bad_volume_is_one_line_that_says_why(bad: BadVolume, tmp_path: Path) -> None:
    path = bad.make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(bad.error) as caught:
        bad.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    for words in bad.words:
        assert words in message
    assert sorted(tmp_path.rglob("*")) == before


def test_there_are_many_kinds() -> None:
    assert len(CASES) > 100
    assert len({case.id for case in CASES}) == len(CASES)


def test_gigantic_header_takes_no_memory(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", counting(), dim=[3, HUGE, HUGE, HUGE, 1, 1, 1, 1])
    with pytest.raises(FileFormatError, match="promised"):
        read_volume_info(path)


def test_file_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    for name in ("a.nii", "a.nrrd", "a.mha", "a.h5"):
        (tmp_path / name).write_bytes(b"content")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse)
            with pytest.raises(FileFormatError, match=f"{name} cannot be opened: permission denied"):
                read_volume(tmp_path / name)


def test_header_is_read_without_the_voxels(tmp_path: Path) -> None:
    path = _cut("a.nii.gz", 0.5, save_nifti)(tmp_path)
    info = read_volume_info(path)
    assert (info.geometry.shape, info.dtype, info.count) == ((20, 30, 40), np.int16, 1)
    np.testing.assert_allclose(info.geometry.affine, oblique_affine(), atol=1e-5)

"""Damaged copies of valid files through every reader of volumes and DICOM: refused in one line, or read.

The quick tests try a few dozen of each; the slow ones go on for DINOSEG_FUZZ_SECONDS (20) with each file.
"""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dinoseg.data.dicom import (
    group_files,
    read_label_object,
    read_reference,
    read_segmentation,
    read_series,
    read_structures,
    survey_series,
    write_segmentation,
)
from dinoseg.data.layouts.surveys import survey_data
from dinoseg.data.volumes import LabelVolume, read_label, read_volume, read_volume_info, write_label
from tests import fuzzing
from tests.data.dicom.drawn import draw_multiframe, draw_series, draw_structures
from tests.data.volumes.samples import counting, make_label, save_h5, save_mha, save_nifti, save_nrrd

BIG = (6, 40, 40)


def _same(content: bytes) -> bytes:
    return content


@dataclass(frozen=True)
class Seed:
    """A valid file and what reads it.

    Attributes:
        make: writes it (and what belongs to it) into a folder; returns the file to damage.
        read: everything that a program does with it.
        gzipped: damage what the compressed stream holds, not the stream.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    gzipped: bool = False


def _read_volume(path: Path) -> None:
    """The header, the image and the label; each may refuse, but only as a `DinosegError`."""
    errors = []
    for read in (read_volume_info, read_volume, read_label, lambda path: read_volume(path, channel=0)):
        try:
            read(path)
        except fuzzing.DinosegError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _text_nrrd(folder: Path) -> Path:
    return save_nrrd(folder / "a.nrrd", counting(), {"encoding": "ascii"})


def _detached(folder: Path) -> Path:
    (folder / "a.raw").write_bytes(counting(dtype="<i2").tobytes())
    return save_mha(folder / "a.mhd", {"ElementDataFile": "a.raw"}) or folder / "a.mhd"


def _h5(folder: Path) -> Path:
    path = save_h5(folder / "a.h5", image=counting(BIG), label=counting(BIG, np.uint8) % 4)
    with h5py.File(path, "a") as file:
        file.attrs["spacing"] = (3.0, 1.0, 1.0)
        file.attrs["axes"] = "zyx"
    return path


def _packed_h5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("image", data=counting(BIG), chunks=(2, 20, 20), compression="gzip", shuffle=True)
        file["label"] = counting(BIG, np.uint8) % 4
    return folder / "a.h5"


def _written(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_label(folder / name, make_label(counting(BIG, np.uint8) % 5))
        return folder / name

    return make


def _slice(folder: Path) -> Path:
    return draw_series(folder / "ct")[1]


def _read_slice(path: Path) -> None:
    survey_series(path.parent)
    group_files(sorted(path.parent.iterdir()))
    read_series(path.parent)


def _multiframe(folder: Path) -> Path:
    draw_multiframe(folder / "mr/a.dcm")
    return folder / "mr/a.dcm"


def _compressed(folder: Path) -> Path:
    import pydicom
    from pydicom.uid import RLELossless

    path = _slice(folder)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    return path


def _zip(folder: Path) -> Path:
    paths = draw_series(folder / "ct")
    with zipfile.ZipFile(folder / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)
    return folder / "ct.zip"


def _read_zip(path: Path) -> None:
    survey_series(path)
    read_series(path)


def _segmentation(folder: Path) -> Path:
    draw_series(folder / "ct")
    reference = read_reference(folder / "ct")
    ids = np.zeros(reference.geometry.shape, np.uint8)
    ids[1:3, 1:4, 2:5], ids[3, 2:4] = 1, 2
    write_segmentation(
        folder / "seg.dcm",
        LabelVolume(ids, reference.geometry, folder, "a"),
        reference=reference,
        classes={0: "background", 1: "liver", 2: "tumour"},
        algorithm_name="t",
        algorithm_version="1",
    )
    return folder / "seg.dcm"


def _read_segmentation(path: Path) -> None:
    survey_data(path.parent)
    read_label_object(path)
    read_segmentation(path, path.parent / "ct")


def _structures(folder: Path) -> Path:
    draw_series(folder / "ct")
    square = [(1.0, 1.0), (1.0, 4.0), (4.0, 4.0), (4.0, 1.0)]
    draw_structures(folder / "rt.dcm", {"liver": [(1, square), (2, square)], "other": [(3, square)]})
    return folder / "rt.dcm"


def _read_structures(path: Path) -> None:
    survey_data(path.parent)
    read_label_object(path)
    read_structures(path, path.parent / "ct")


SEEDS = {
    "nii": Seed(lambda folder: save_nifti(folder / "a.nii", counting(BIG)), _read_volume),
    "nii.gz": Seed(_written("a.nii.gz"), _read_volume),
    "nii.gz inside": Seed(_written("a.nii.gz"), _read_volume, gzipped=True),
    "nrrd": Seed(lambda folder: save_nrrd(folder / "a.nrrd", counting(BIG)), _read_volume),
    "nrrd gzip": Seed(_written("a.nrrd"), _read_volume),
    "nrrd text": Seed(_text_nrrd, _read_volume),
    "mha": Seed(lambda folder: save_mha(folder / "a.mha") or folder / "a.mha", _read_volume),
    "mha zlib": Seed(_written("a.mha"), _read_volume),
    "mhd": Seed(_detached, _read_volume),
    "h5": Seed(_h5, _read_volume),
    "h5 gzip": Seed(_packed_h5, _read_volume),
    "dicom slice": Seed(_slice, _read_slice),
    "dicom rle": Seed(_compressed, _read_slice),
    "dicom multiframe": Seed(_multiframe, lambda path: read_series(path.parent)),
    "dicom zip": Seed(_zip, _read_zip),
    "dicom seg": Seed(_segmentation, _read_segmentation),
    "dicom rtstruct": Seed(_structures, _read_structures),
}


def run(name: str, folder: Path, **limits: float) -> fuzzing.Outcome:
    seed = SEEDS[name]
    valid = seed.make(folder)
    kept = folder.with_name(folder.name + "-kept")
    kept.mkdir()
    copy = shutil.copyfile(valid, kept / valid.name)
    seed.read(valid)
    pack, unpack = (gzip.compress, gzip.decompress) if seed.gzipped else (_same, _same)
    return fuzzing.fuzz(seed.read, copy, valid.parent, pack=pack, unpack=unpack, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SEEDS)
def test_a_few_damaged_files(tmp_path: Path, name: str) -> None:
    outcome = run(name, tmp_path, count=fuzzing.QUICK, seed=1)
    assert outcome.faults == []
    assert outcome.read + outcome.refused == fuzzing.QUICK
    assert outcome.refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_many_damaged_files(tmp_path: Path, name: str) -> None:
    outcome = run(name, tmp_path, count=10**9, seconds=fuzzing.budget(), seed=2)
    assert outcome.faults == []
    assert outcome.refused > 0


def test_a_mutation_is_the_same_for_the_same_seed() -> None:
    content = bytes(range(256)) * 8
    first, second, other = (fuzzing.mutate(content, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == second != other
    assert first != content

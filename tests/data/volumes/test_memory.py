"""Reading takes the array and a little; nothing is copied until a slice is asked for."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from dinoseg.data.volumes import (
    AsStored,
    LabelVolume,
    MRPercentiles,
    apply_ramps,
    fit_ramps,
    iter_slices,
    read_label,
    read_volume,
    stack_slices,
    to_canonical,
    write_label,
)
from tests.data.volumes.samples import save_mha, save_text_nrrd

SHAPE = (64, 256, 256)
LIMIT = 1.3


def _array(dtype: Any) -> np.ndarray:
    return (np.arange(np.prod(SHAPE)) % 200).reshape(SHAPE).astype(dtype)


def _nifti(folder: Path, name: str, dtype: Any) -> Path:
    nibabel.save(nibabel.Nifti1Image(_array(dtype).transpose(2, 1, 0), np.eye(4), dtype=dtype), folder / name)
    return folder / name


def _nrrd(folder: Path, encoding: str, pack: Callable[[bytes], bytes]) -> Path:
    lines = (
        f"type: short\nendian: little\ndimension: 3\nsizes: 256 256 64\nspacings: 1 1 1\nencoding: {encoding}"
    )
    return save_text_nrrd(folder / "a.nrrd", lines, pack(_array("<i2").tobytes()))


def _mha(folder: Path) -> Path:
    fields = {"DimSize": "256 256 64", "CompressedData": True}
    return save_mha(folder / "a.mha", fields, zlib.compress(_array("<i2").tobytes(), 1))


def _h5(folder: Path, dtype: Any) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for name in ("image", "label"):
            file.create_dataset(name, data=_array(dtype), chunks=(4, 64, 64), compression="lzf")
    return folder / "a.h5"


FILES: dict[str, Callable[[Path], Path]] = {
    "nii uint8": lambda folder: _nifti(folder, "a.nii", np.uint8),
    "nii.gz int16": lambda folder: _nifti(folder, "a.nii.gz", np.int16),
    "nii float64": lambda folder: _nifti(folder, "a.nii", np.float64),
    "nrrd raw": lambda folder: _nrrd(folder, "raw", bytes),
    "nrrd gzip": lambda folder: _nrrd(folder, "gzip", lambda voxels: gzip.compress(voxels, 1)),
    "mha packed": _mha,
    "h5 float16": lambda folder: _h5(folder, np.float16),
}


def _peak(act: Callable[[], object]) -> tuple[int, Any]:
    tracemalloc.start()
    try:
        result = act()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_reading_takes_the_array_and_a_slice(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    peak, volume = _peak(lambda: read_volume(path))
    np.testing.assert_array_equal(volume.array[0, ::21], _array(volume.array.dtype)[::21])
    assert peak <= LIMIT * volume.array.nbytes


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_labels_take_a_byte_each_and_a_slice(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    peak, label = _peak(lambda: read_label(path))
    assert label.array.dtype == np.uint8
    assert peak <= label.array.nbytes + 5 * 256 * 256 * 8 + (1 << 20)  # and the widest slice, a few times


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_slices_and_writing_take_a_few_slices(tmp_path: Path, suffix: str) -> None:
    volume = read_volume(_nifti(tmp_path, "scan.nii", np.uint8))
    rule = fit_ramps(AsStored(), volume)

    def predict() -> None:
        canonical = to_canonical(volume)
        inputs = (apply_ramps(rule, piece) for piece in iter_slices(canonical.volume, context=3))
        masks = ((piece[1] > 0.5).astype(np.uint8) for piece in inputs)
        ids = stack_slices(masks, shape=canonical.volume.geometry.shape)
        mask = LabelVolume(ids, canonical.volume.geometry, volume.source, volume.id)
        write_label(tmp_path / f"mask{suffix}", canonical.orientation.undo(mask))

    peak, _ = _peak(predict)
    assert peak <= 1.6 * volume.array.nbytes  # the mask is as large as this 8-bit volume
    np.testing.assert_array_equal(read_label(tmp_path / f"mask{suffix}").array, volume.array[0] > 127)


def test_percentiles_take_a_sample(tmp_path: Path) -> None:
    volume = read_volume(_nifti(tmp_path, "a.nii", np.int16))
    peak, _ = _peak(lambda: fit_ramps(MRPercentiles(), volume))
    assert peak <= 64 << 20  # that of at most four million voxels, however large the volume

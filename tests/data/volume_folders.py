"""Data sets of small volumes in the layouts that people have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from numpy.typing import NDArray

from tests.data.samples import write_lines

SHAPE = (6, 20, 24)  # (D, H, W)
RAS = np.diag([0.8, 0.7, 3.0, 1.0])  # of (i, j, k): W to the right, H to anterior, D to superior


def draw_scan(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    """Noise with a bright ball in it, in the numbers of CT."""
    generator = np.random.default_rng(seed)
    scan = generator.integers(-100, 100, shape)
    return (scan + 400 * (draw_label(seed, shape) > 0)).astype(np.int16)


def draw_label(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """1 in a box, 2 in the middle of it; the first and the last slice are empty."""
    label = np.zeros(shape, dtype=np.uint8)
    shift = seed % 4
    label[1:-1, 4 + shift : 12 + shift, 5:15] = 1
    label[2:-2, 6 + shift : 10 + shift, 8:12] = 2
    return label


def write_nifti(path: Path, array: NDArray[Any], affine: NDArray[Any] = RAS) -> Path:
    """Write (D, H, W), or (C, D, H, W), with the affine of (i, j, k)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = (2, 1, 0) if array.ndim == 3 else (3, 2, 1, 0)
    nibabel.Nifti1Image(array.transpose(axes), affine).to_filename(path)
    return path


def make_raw(
    root: Path,
    count: int = 4,
    *,
    channels: Sequence[str] = ("MRI",),
    labels: Mapping[str, Any] | None = None,
    affine: NDArray[Any] = RAS,
    **content: Any,
) -> Path:
    """imagesTr/c1_0000.nii.gz …, labelsTr and dataset.json as nnU-Net wants them."""
    for number in range(1, count + 1):
        for channel in range(len(channels)):
            scan = draw_scan(number + 100 * channel)
            write_nifti(root / f"imagesTr/c{number}_{channel:04d}.nii.gz", scan, affine)
        write_nifti(root / f"labelsTr/c{number}.nii.gz", draw_label(number), affine)
    described = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": labels or {"background": 0, "organ": 1, "tumour": 2},
        "numTraining": count,
        "file_ending": ".nii.gz",
        **content,
    }
    describe(root, described)
    return root


def describe(root: Path, content: Mapping[str, Any]) -> None:
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


def make_hdf5(root: Path, names: Sequence[str], *, spacing: Sequence[float] | None = None) -> Path:
    """name.h5 with image (float16 in 0..1) and label."""
    root.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names, start=1):
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["image"] = ((draw_scan(seed) + 100) / 600).astype(np.float16)
            file["label"] = draw_label(seed)
            if spacing is not None:
                file.attrs["spacing"] = spacing
    return root


def make_acdc(root: Path) -> Path:
    """Eight volumes of four patients with lists in the manner of DINO-AugSeg."""
    names = [f"patient00{number}_{time}" for number in range(1, 5) for time in ("ED", "ES")]
    make_hdf5(root, names)
    write_lines(
        root / "splits/shots.txt", ["patient003_ES", "patient003_ED", "patient001_ED", "patient001_ES"]
    )
    write_lines(root / "splits/val.txt", ["patient002_ED", "patient002_ES"])
    write_lines(root / "splits/test.txt", ["patient004_ED", "patient004_ES"])
    return root

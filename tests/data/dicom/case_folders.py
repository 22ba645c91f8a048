"""Data sets of drawn DICOM series with a SEG or RTSTRUCT each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dinoseg.data.dicom import read_reference, write_segmentation
from dinoseg.data.volumes import LabelVolume
from tests.data.dicom.drawn import draw_series, draw_structures

SHAPE = (4, 24, 20)
CLASSES = {0: "background", 1: "Liver", 2: "Tumour"}


def draw_ids(seed: int = 0) -> np.ndarray:
    """1 in a box, 2 in the middle of it."""
    ids = np.zeros(SHAPE, np.uint8)
    shift = seed % 3
    ids[1:3, 5 + shift : 15 + shift, 4:14] = 1
    ids[1:3, 8 + shift : 11 + shift, 7:10] = 2
    return ids


def draw_values(seed: int = 0) -> np.ndarray:
    """Hounsfield units: air, fat, and brighter classes."""
    noise = np.random.default_rng(seed).integers(0, 20, SHAPE)
    values = np.full(SHAPE, -1000)
    values[:, 2:-2, 2:-2] = -100
    return (values + noise + 150 * (draw_ids(seed) == 1) + 300 * (draw_ids(seed) == 2)).astype(np.int16)


def corners(top: int, bottom: int, left: int, right: int) -> list[tuple[float, float]]:
    """A contour around whole voxels."""
    return [
        (top - 0.5, left - 0.5),
        (top - 0.5, right - 0.5),
        (bottom - 0.5, right - 0.5),
        (bottom - 0.5, left - 0.5),
    ]


def add_case(
    root: Path,
    name: str,
    *,
    seed: int = 0,
    kind: str = "SEG",
    patient: str | None = None,
    flat: bool = False,
    classes: Mapping[int, str] = CLASSES,
) -> Path:
    """root/name/ct/*.dcm with root/name/label.dcm (or all in `root`); returns the label's path."""
    folder = root if flat else root / name / "ct"
    draw_series(folder, array=draw_values(seed), series=name, patient=patient or name)
    path = root / f"{name}.dcm" if flat else root / name / "label.dcm"
    if kind == "RTSTRUCT":
        ids, shift = draw_ids(seed), seed % 3
        outer, inner = corners(5 + shift, 15 + shift, 4, 14), corners(8 + shift, 11 + shift, 7, 10)
        drawn = {
            classes[1]: [(depth, part) for depth in (1, 2) for part in (outer, inner)],  # even-odd: a hole
            classes[2]: [(depth, inner) for depth in (1, 2)],
        }
        assert ids.any()
        draw_structures(path, drawn, series=name)
        return path
    from tests.data.dicom.drawn import uid

    reference = read_reference(folder, series=uid(name))
    label = LabelVolume(draw_ids(seed)[:, :, :], reference.geometry, path, name)
    write_segmentation(
        path, label, reference=reference, classes=classes, algorithm_name="t", algorithm_version="1"
    )
    return path

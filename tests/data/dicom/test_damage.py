"""Random damage to bytes: an answer or one line that names the file, never a traceback of a library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dinoseg.data.dicom import (
    read_reference,
    read_segmentation,
    read_series,
    read_structures,
    write_segmentation,
)
from dinoseg.data.volumes import LabelVolume
from dinoseg.errors import DinosegError
from tests.data.dicom.drawn import SHAPE, draw_multiframe, draw_series, draw_structures

TRIES = 60


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes replaced, none before the header's start."""
    damaged = bytearray(content)
    for place in rng.integers(132, len(content), rng.integers(1, 12)):
        damaged[place] = rng.integers(0, 256)
    return bytes(damaged)


def try_all(path: Path, read: Callable[[], object]) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(len(whole))
    messages = []
    for _ in range(TRIES):
        path.write_bytes(damage(whole, rng))
        try:
            read()
        except DinosegError as error:
            messages.append(str(error))
    path.write_bytes(whole)
    assert messages
    assert not [message for message in messages if "\n" in message or len(message) > 2000]


def test_slices(tmp_path: Path) -> None:
    paths = draw_series(tmp_path, array=np.zeros((3, 6, 7), np.uint16))
    try_all(paths[1], lambda: read_series(tmp_path))
    try_all(paths[2], lambda: read_reference(tmp_path))


def test_multiframe(tmp_path: Path) -> None:
    draw_multiframe(tmp_path / "mr.dcm")
    try_all(tmp_path / "mr.dcm", lambda: read_series(tmp_path))


@pytest.mark.parametrize("kind", ["seg", "rt"])
def test_labels(tmp_path: Path, kind: str) -> None:
    draw_series(tmp_path / "ct")
    reference = read_reference(tmp_path / "ct")
    path = tmp_path / f"{kind}.dcm"
    if kind == "rt":
        draw_structures(path, {"liver": [(1, [(1, 2), (1, 5), (4, 5), (4, 2)])]})
        try_all(path, lambda: read_structures(path, reference))
        return
    write_segmentation(
        path,
        LabelVolume(np.ones(SHAPE, np.uint8), reference.geometry, tmp_path, "mask"),
        reference=reference,
        classes={1: "liver"},
        algorithm_name="a",
        algorithm_version="1",
    )
    try_all(path, lambda: read_segmentation(path, reference))

"""MedSegBench's .npz files are a layout: splits kept, marked as not of native size, refused where damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dinoseg.data import open_dataset, read_case
from dinoseg.data.splits.splits import resolve_splits
from dinoseg.errors import DataError, FileFormatError, LayoutError
from tests.backbones.tiny import Notes


def make_arrays(*, colour: bool = False, classes: int = 2) -> dict[str, np.ndarray]:
    generator, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 3), ("val", 2), ("test", 2)):
        shape = (count, 24, 32, 3) if colour else (count, 24, 32)
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_label"] = generator.integers(0, classes, shape[:3], dtype=np.uint8)
    return arrays


@pytest.mark.parametrize(("colour", "classes"), [(False, 2), (True, 4)])
def test_arrays_are_cases_in_their_splits(tmp_path: Path, colour: bool, classes: int) -> None:
    arrays, notes = make_arrays(colour=colour, classes=classes), Notes()
    np.savez(tmp_path / "small.npz", **arrays)
    dataset = open_dataset(tmp_path / "small.npz", progress=notes)
    assert dataset.root.name == "small"
    assert "not native size: 24×32 px" in dataset.layout
    assert any("not native size" in line for line in notes.notes)
    assert len(dataset.classes) == classes
    splits = resolve_splits(dataset)
    assert [len(ids) for _, ids in splits.items()] == [3, 2, 2]
    for place, files in enumerate(dataset.find(splits.test)):
        case = read_case(files, dataset.labels)
        image = np.atleast_3d(arrays["test_images"][place]).transpose(2, 0, 1)
        assert np.array_equal((case.image.array * 255).round(), image)
        assert case.label is not None
        assert np.array_equal(case.label.array, arrays["test_label"][place])
    again = open_dataset(tmp_path / "small.npz")
    assert [case.image for case in again.cases] == [case.image for case in dataset.cases]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"train_images": None}, LayoutError, "accepted is MedSegBench's layout"),
        ({"train_label": np.zeros((2, 24, 32), np.uint8)}, FileFormatError, "train_label \\(2, 24, 32\\)"),
        ({"train_images": np.zeros((3, 24, 32), np.float32)}, FileFormatError, "type float32"),
        ({"train_label": np.full((3, 24, 32), 300)}, FileFormatError, "up to 255"),
        ({"train_images": np.array([{}, {}, {}])}, FileFormatError, "no readable .npz"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, change: dict[str, Any], error: type[DataError], words: str
) -> None:
    arrays = {key: value for key, value in {**make_arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(error, match=words) as told:
        open_dataset(tmp_path / "bad.npz")
    assert "\n" not in str(told.value)


def test_a_file_that_was_cut_off_is_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **make_arrays())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-500])
    with pytest.raises(FileFormatError, match=r"cut\.npz is no readable \.npz file"):
        open_dataset(tmp_path / "cut.npz")

"""Masks of two values with noise are refused with the threshold that reads them; classes are not noise."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.data import open_dataset
from dinoseg.data.labels.histograms import find_solid
from dinoseg.data.labels.inference import infer_mapping, scan_labels
from dinoseg.errors import LabelError
from tests.data.samples import blob, make_dataset, save, write_lines

LARGE = (64, 80)


def _speckle(mask: np.ndarray, values: tuple[int, ...], count: int = 40) -> np.ndarray:
    """`count` single pixels of each value, in places far from each other."""
    noisy = mask.copy()
    places = np.random.default_rng(0).permutation(mask.size // 16)[: count * len(values)]
    rows, columns = np.divmod(places, mask.shape[1] // 4)
    noisy[rows * 4, columns * 4] = np.resize(values, len(places))
    return noisy


def _disc(value: int = 255) -> np.ndarray:
    row, column = np.mgrid[: LARGE[0], : LARGE[1]]
    return (((row - 30) ** 2 + (column - 40) ** 2 < 20**2) * value).astype(np.uint8)


def _jpeg(mask: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    PillowImage.fromarray(mask).save(buffer, format="JPEG", quality=95)
    return np.array(PillowImage.open(buffer))


def _scaled(mask: np.ndarray) -> np.ndarray:
    picture = PillowImage.fromarray(mask)
    half = picture.resize((mask.shape[1] // 2, mask.shape[0] // 2), PillowImage.Resampling.NEAREST)
    return np.array(half.resize(picture.size, PillowImage.Resampling.BILINEAR))


@pytest.mark.parametrize(
    "mask",
    [
        _speckle(_disc(), (1, 2, 254), 20),
        _speckle(_disc(), (254,)),
        _speckle(_disc(), (1,), 20),
        _jpeg(_disc()),
        _scaled(_disc()),
        _speckle(_disc(), (128, 64), 20),
    ],
    ids=["near both ends", "near white", "near black", "jpeg", "scaled", "between"],
)
def test_noise_is_refused_and_a_threshold_reads_it(tmp_path: Path, mask: np.ndarray) -> None:
    save(tmp_path / "images/a.png", np.stack([_speckle(_disc(200), (9, 99))] * 3, axis=2))
    save(tmp_path / "masks/a.png", mask)
    with pytest.raises(LabelError, match=r"a\.png.*threshold: 128"):
        open_dataset(tmp_path)
    write_lines(tmp_path / "dataset.yaml", ["threshold: 128"])
    dataset = open_dataset(tmp_path)
    ids = dataset.labels.read(tmp_path / "masks/a.png")
    assert (ids != (_disc() > 0)).mean() < 0.02


def test_noise_of_16_bits(tmp_path: Path) -> None:
    deep = _speckle(_disc(), (1, 2, 254), 20).astype(np.uint16) * 257
    with pytest.raises(LabelError, match="threshold: 32768"):
        infer_mapping(scan_labels([save(tmp_path / "a.png", deep)]))


def test_noise_in_colour(tmp_path: Path) -> None:
    green = _disc()
    green[::9, ::9] = np.where(green[::9, ::9] > 0, 254, 1)
    mask = np.stack([_disc(), green, _disc()], axis=2)
    with pytest.raises(LabelError, match="black and white with noise"):
        infer_mapping(scan_labels([save(tmp_path / "a.png", mask)]))
    red = np.stack([_speckle(_disc(), (250,), 20), _disc(0), _disc(0)], axis=2)
    with pytest.raises(LabelError, match="colours #fa0000 and #ff0000, which differ too little"):
        infer_mapping(scan_labels([save(tmp_path / "b.png", red)]))


def test_classes_with_an_inside_are_no_noise(tmp_path: Path) -> None:
    ring = _disc()
    ring[20:30, 35:45] = 128
    two = _disc(value=1)
    two[20:30, 35:45] = 255
    for number, mask in enumerate((ring, two)):
        mapping = infer_mapping(scan_labels([save(tmp_path / f"{number}.png", mask)]))
        assert mapping.kind == "sorted"
        assert mapping.class_count == 3


def test_a_value_alone_in_its_file_is_a_class(tmp_path: Path) -> None:
    thin = np.zeros(LARGE, np.uint8)
    thin[10, 5:70] = 80
    paths = [save(tmp_path / "a.png", thin), *(save(tmp_path / f"{n}.png", _disc()) for n in range(3))]
    assert dict(infer_mapping(scan_labels(paths)).table) == {0: 0, 80: 1, 255: 2}


def test_declared_values_are_never_called_noise(tmp_path: Path) -> None:
    make_dataset(tmp_path, 1)
    save(
        tmp_path / "masks/c1.png", np.where(blob() > 0, 255, np.eye(24, 32, dtype=np.uint8)).astype(np.uint8)
    )
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 1: 1, 255: 2}"])
    assert open_dataset(tmp_path).labels.kind == "declared"


def test_solid_values_fill_a_square() -> None:
    mask = np.zeros((8, 9), np.uint8)
    mask[1:4, 1:4] = 5
    mask[6, :] = 7
    assert find_solid(mask) == {0, 5}
    assert find_solid(np.zeros((2, 9), np.uint8)) == frozenset()

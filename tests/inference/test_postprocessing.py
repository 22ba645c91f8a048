from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from dinoseg.config import ClassPostprocessing, PostprocessingSettings
from dinoseg.errors import DataError
from dinoseg.inference.masks.components import find_components
from dinoseg.inference.masks.postprocessing import clean_mask


def _settings(dimensions: int = 3, unit: str = "px", **steps) -> PostprocessingSettings:
    return PostprocessingSettings(dimensions=dimensions, unit=unit, classes={1: ClassPostprocessing(**steps)})


def _noise(shape: tuple[int, ...], seed: int, share: float = 0.45) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


@pytest.mark.parametrize("shape", [(9, 14, 11), (1, 20, 20), (2, 3, 40), (30, 1, 7)])
def test_components_are_those_of_scipy(shape: tuple[int, int, int]) -> None:
    for seed, share in enumerate((0.0, 0.1, 0.3, 0.5, 1.0)):
        mask = _noise(shape, seed, share) > 0
        found = find_components(lambda index, mask=mask: mask[index], len(mask))
        labels, count = ndimage.label(mask)
        sizes = np.bincount(labels.ravel())[1:]
        assert sorted(found.sizes) == sorted(sizes)
        for number in range(count):
            chosen = np.arange(count) == number
            whole = np.stack([found.select(index, chosen) for index in range(len(mask))])
            (label,) = np.unique(labels[whole])
            assert whole.sum() == found.sizes[number] == (labels == label).sum()
            where = np.random.default_rng(9).random(shape) < 0.5
            counted = sum(found.count(index, where[index])[number] for index in range(len(mask)))
            assert counted == (whole & where).sum()


@pytest.mark.parametrize("shape", [(12, 13, 14), (40, 50)])
def test_steps_are_those_of_scipy(shape: tuple[int, ...]) -> None:
    mask = _noise(shape, 1, 0.55 if len(shape) == 2 else 0.7)
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    expected = {
        "largest_component": labels == sizes.argmax(),
        "fill_holes": ndimage.binary_fill_holes(mask),
        "minimum_size": (sizes >= 4)[labels],
    }
    for step, wanted in expected.items():
        cleaned = mask.copy()
        clean_mask(cleaned, _settings(len(shape), **{step: 4 if step == "minimum_size" else True}), cell=None)
        assert (cleaned != mask).any(), step
        np.testing.assert_array_equal(cleaned.astype(bool), wanted, err_msg=step)


def test_a_hole_that_holds_another_class_is_not_filled() -> None:
    ring = np.zeros((9, 9), np.uint8)
    ring[1:8, 1:8] = 1
    ring[3:6, 3:6] = 2
    ring[2, 4] = 0
    clean_mask(ring, _settings(2, fill_holes=True), cell=None)
    assert ring[2, 4] == 1
    assert (ring[3:6, 3:6] == 2).all()


def test_a_ring_in_one_slice_of_a_volume_is_open() -> None:
    volume = np.zeros((3, 9, 9), np.uint8)
    volume[1, 2:7, 2:7] = 1
    volume[1, 4, 4] = 0
    ring = volume[1].copy()
    clean_mask(volume, _settings(fill_holes=True), cell=None)
    assert volume[1, 4, 4] == 0
    clean_mask(ring, _settings(2, fill_holes=True), cell=None)
    assert ring[4, 4] == 1


def test_sizes_are_in_millimetres_where_chosen_so() -> None:
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[0, 0, :4] = 1  # 4 voxels
    mask[2, 5, :6] = 1  # 6 voxels
    small = mask.copy()
    clean_mask(small, _settings(unit="mm", minimum_size=10.0), cell=2.0)
    assert small.sum() == 6
    clean_mask(mask, _settings(unit="px", minimum_size=5.0), cell=2.0)
    assert mask.sum() == 6


def test_all_steps_together_and_nothing_left() -> None:
    mask = np.zeros((5, 12, 12), np.uint8)
    mask[:, 1:8, 1:8] = 1
    mask[2, 4, 4] = 0
    mask[4, 10, 10] = 1
    mask[0, 0, 11] = 2
    clean_mask(mask, _settings(minimum_size=2, largest_component=True, fill_holes=True), cell=None)
    assert (mask[2, 4, 4], mask[4, 10, 10], mask[0, 0, 11]) == (1, 0, 2)
    clean_mask(mask, _settings(minimum_size=1e6), cell=None)
    assert np.unique(mask).tolist() == [0, 2]


def test_another_kind_of_image_is_refused() -> None:
    with pytest.raises(DataError, match="chosen on images, not volumes; predict with --no-postprocessing"):
        clean_mask(np.zeros((2, 3, 4), np.uint8), _settings(2, fill_holes=True), cell=None)
    with pytest.raises(DataError, match=r"case_1 has no spacing, .* counts in mm³"):
        clean_mask(
            np.zeros((2, 3, 4), np.uint8), _settings(unit="mm", minimum_size=3), cell=None, name="case_1"
        )


def test_memory_does_not_grow_with_the_slices() -> None:
    def peak(depth: int) -> int:
        blobs = ndimage.gaussian_filter(np.random.default_rng(3).random((96, 96)), 2) > 0.5
        mask = np.repeat(blobs[None].astype(np.uint8), depth, axis=0)
        tracemalloc.start()
        clean_mask(mask, _settings(minimum_size=5, largest_component=True, fill_holes=True), cell=None)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # imports
    assert peak(400) - peak(20) < 96 * 96 * 380 / 3  # bytes; a copy of the mask would be three times that


def test_settings_in_words() -> None:
    settings = PostprocessingSettings(
        dimensions=3,
        unit="mm",
        classes={
            1: ClassPostprocessing(largest_component=True, fill_holes=True),
            2: ClassPostprocessing(minimum_size=30),
            3: ClassPostprocessing(),
        },
    )
    words = settings.describe({1: "liver", 2: "tumour", 3: "spleen"})
    assert words == "liver: largest component, holes filled; tumour: at least 30 mm³"

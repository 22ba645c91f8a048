"""Images are interpolated, labels are looked up, on the same grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.tensors.transforms import normalise, prepare_pixels, resize_image, resize_label, to_rgb

SIZES = [(8, 8), (3, 11), (1, 1), (40, 25), (13, 1)]


def ids(*rows: list[int]) -> LabelMap:
    return LabelMap(np.array(rows, dtype=np.uint8))


def random_label(size: tuple[int, int], values: list[int]) -> LabelMap:
    return LabelMap(np.random.default_rng(0).choice(np.array(values, dtype=np.uint8), size))


@pytest.mark.parametrize("size", SIZES)
def test_resized_labels_hold_no_other_ids(size: tuple[int, int]) -> None:
    label = random_label((17, 12), [0, 3, 250])
    resized = resize_label(label, size)
    assert resized.size == size
    assert resized.array.dtype == np.uint8
    assert set(np.unique(resized.array)) <= {0, 3, 250}


def test_each_cell_is_looked_up_at_its_centre() -> None:
    """Centres of 3 new cells on 5 old ones: 0.83, 2.5, 4.17; of 5 on 3: 0.3, 0.9, 1.5, 2.1, 2.7."""
    row = [10, 11, 12, 13, 14]
    assert resize_label(ids(row), (1, 3)).array.tolist() == [[10, 12, 14]]
    assert resize_label(ids([1, 2, 3]), (1, 5)).array.tolist() == [[1, 1, 2, 3, 3]]
    assert resize_label(ids(row), (1, 1)).array.tolist() == [[12]]
    assert resize_label(ids([1, 2], [3, 4]), (4, 4)).array.tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


def test_rows_and_columns_are_not_confused() -> None:
    label = ids([0, 1, 2, 3], [4, 5, 6, 7])
    assert resize_label(label, (4, 2)).array.tolist() == [[1, 3], [1, 3], [5, 7], [5, 7]]


def test_lookup_agrees_with_half_pixel_interpolation() -> None:
    """Enlarged by an odd factor, image and label meet at the centres."""
    label = random_label((6, 9), [0, 1])
    image = Image(label.array[None].astype(np.float32))
    resized = resize_image(image, (30, 45)).array[0]
    assert np.array_equal(resized[2::5, 2::5], image.array[0])
    assert np.array_equal(resize_label(label, (30, 45)).array[2::5, 2::5], label.array)


def test_a_label_of_the_size_is_itself() -> None:
    label = random_label((5, 7), [0, 1, 2])
    assert resize_label(label, (5, 7)) is label


def test_a_volume_is_resized_slice_by_slice() -> None:
    slices = [random_label((6, 8), [0, 1, 2]).array, random_label((6, 8), [0, 5]).array]
    resized = resize_label(LabelMap(np.stack(slices)), (3, 10))
    for index, each in enumerate(slices):
        assert np.array_equal(resized.array[index], resize_label(LabelMap(each), (3, 10)).array)


@pytest.mark.parametrize("size", SIZES)
def test_a_constant_image_stays_constant(size: tuple[int, int]) -> None:
    colour = np.array([0.0, 0.3, 1.0], np.float32).reshape(3, 1, 1)
    resized = resize_image(Image(np.broadcast_to(colour, (3, 17, 12))), size).array
    assert resized.shape == (3, *size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, np.broadcast_to(colour, (3, *size)), atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (3, 11), (29, 200), (30, 31), (40, 25), (97, 211), (150, 20)])
def test_resizing_is_that_of_torch(channels: int, size: tuple[int, int]) -> None:
    """Antialiased bilinear interpolation, shrinking, enlarging and both at once.

    In double precision: in single, torch rounds the place of a cell as well. Not to a width of 1, where
    torch repeats rows.
    """
    array = np.random.default_rng(1).random((channels, 90, 120), dtype=np.float32)
    wanted = F.interpolate(
        torch.from_numpy(array).double()[None],
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    assert np.abs(resize_image(Image(array), size).array - wanted[0].numpy()).max() < 2e-7


def test_an_image_of_the_size_is_not_touched() -> None:
    image = Image(np.random.default_rng(0).random((3, 5, 7), dtype=np.float32))
    assert resize_image(image, (5, 7)) is image


def test_shrinking_averages_and_enlarging_interpolates() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (1, 64, 32))  # would alias to a constant 0 or 1
    shrunk = resize_image(Image(stripes), (8, 8)).array
    assert np.abs(shrunk - 0.5).max() < 0.05
    enlarged = resize_image(Image(np.array([[[0, 1]]], np.float32)), (1, 4)).array
    np.testing.assert_allclose(enlarged, [[[0.0, 0.25, 0.75, 1.0]]], atol=1e-7)


def test_resizing_stays_within_the_range() -> None:
    image = Image((np.random.default_rng(0).random((3, 31, 47)) > 0.5).astype(np.float32))
    for size in ((16, 16), (64, 64), (200, 9)):
        resized = resize_image(image, size).array
        assert resized.min() >= 0.0
        assert resized.max() <= 1.0 + 1e-6


def test_normalise_by_hand() -> None:
    colour = np.array([0.5, 1.0, 0.0], np.float32).reshape(3, 1, 1)
    pixels = np.broadcast_to(colour, (3, 2, 2))
    out = normalise(pixels, (0.5, 0.6, 0.1), (0.25, 0.2, 0.5))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[:, 0, 0], [0.0, 2.0, -0.2], atol=1e-6)
    batch = normalise(np.broadcast_to(pixels, (4, 3, 2, 2)), (0.5, 0.6, 0.1), (0.25, 0.2, 0.5))
    assert np.array_equal(batch, np.broadcast_to(out, (4, 3, 2, 2)))


def test_grey_is_repeated_and_colour_stays() -> None:
    array = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    assert np.array_equal(to_rgb(Image(array)), array)
    grey = to_rgb(Image(array[:1]))
    assert grey.shape == (3, 4, 5)
    assert all(np.array_equal(channel, array[0]) for channel in grey)


def test_reversed_arrays_are_read_in_their_order() -> None:
    array = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)[:, ::-1, ::-1]
    assert np.array_equal(to_rgb(Image(array)), array.copy())
    assert np.array_equal(
        resize_image(Image(array), (9, 8)).array, resize_image(Image(array.copy()), (9, 8)).array
    )


def test_prepared_is_resized_then_normalised() -> None:
    image = Image(np.random.default_rng(0).random((1, 9, 14), dtype=np.float32))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    expected = normalise(to_rgb(resize_image(image, (6, 8))), mean, std)
    found = prepare_pixels(image, (6, 8), mean=mean, std=std)
    assert np.array_equal(found, expected)
    assert found.flags.c_contiguous
    assert found.flags.writeable

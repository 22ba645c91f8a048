"""Images are interpolated, labels are looked up, on the same grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.tensors.transforms import normalise, resize_image, resize_label, to_rgb

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
    image = torch.from_numpy(label.array).float()[None]
    resized = resize_image(image, (30, 45))[0]
    assert torch.equal(resized[2::5, 2::5], image[0])
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
    pixels = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1).expand(3, 17, 12)
    resized = resize_image(pixels, size)
    assert resized.shape == (3, *size)
    torch.testing.assert_close(resized, pixels[:, :1, :1].expand(3, *size))


def test_an_image_of_the_size_is_not_touched() -> None:
    pixels = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert resize_image(pixels, (5, 7)) is pixels


def test_shrinking_averages_and_enlarging_interpolates() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 64, 64)  # would alias to a constant 0 or 1
    shrunk = resize_image(stripes, (8, 8))
    assert float((shrunk - 0.5).abs().max()) < 0.05
    enlarged = resize_image(torch.tensor([[[0.0, 1.0]]]), (1, 4))
    torch.testing.assert_close(enlarged, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]))


def test_resizing_stays_within_the_range() -> None:
    pixels = (torch.rand(3, 31, 47, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    for size in ((16, 16), (64, 64), (200, 9)):
        resized = resize_image(pixels, size)
        assert float(resized.min()) >= 0.0
        assert float(resized.max()) <= 1.0 + 1e-6


def test_normalise_by_hand() -> None:
    pixels = torch.tensor([0.5, 1.0, 0.0]).view(3, 1, 1).expand(3, 2, 2)
    out = normalise(pixels, (0.5, 0.6, 0.1), (0.25, 0.2, 0.5))
    torch.testing.assert_close(out[:, 0, 0], torch.tensor([0.0, 2.0, -0.2]))
    batch = normalise(pixels.expand(4, 3, 2, 2), (0.5, 0.6, 0.1), (0.25, 0.2, 0.5))
    assert torch.equal(batch, out.expand(4, 3, 2, 2))


def test_normalise_keeps_the_type() -> None:
    pixels = torch.zeros(3, 2, 2, dtype=torch.float64)
    assert normalise(pixels, (0.5,) * 3, (0.5,) * 3).dtype == torch.float64


def test_grey_is_repeated_and_colour_stays() -> None:
    array = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    assert torch.equal(to_rgb(Image(array)), torch.from_numpy(array))
    grey = to_rgb(Image(array[:1]))
    assert grey.shape == (3, 4, 5)
    assert all(torch.equal(channel, torch.from_numpy(array[0])) for channel in grey)


def test_reversed_arrays_are_read_in_their_order() -> None:
    array = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)[:, ::-1, ::-1]
    assert torch.equal(to_rgb(Image(array)), torch.from_numpy(array.copy()))

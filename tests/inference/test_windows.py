from __future__ import annotations

import numpy as np
import pytest
import torch

from dinoseg.inference import predict
from dinoseg.inference.windows import slide
from dinoseg.model.network import Array
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import Slope, make_glass


def _noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def _mean_of_window(pixels: Array) -> Array:
    return np.broadcast_to(pixels.mean(axis=(1, 2, 3), keepdims=True), (len(pixels), 1, *pixels.shape[2:]))


def _blur(pixels: Array) -> Array:
    """Differs from window to window at the same pixel."""
    return np.sin(9 * pixels) + pixels.mean(axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (37, 53), (64, 64), (65, 31)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_windowing_an_identity_is_the_identity(size: tuple[int, int], overlap: float) -> None:
    pixels = _noise(3, *size)
    blended = slide(np.copy, pixels, window=32, overlap=overlap, batch_size=4)
    assert blended.shape == pixels.shape
    assert np.abs(blended - pixels).max() < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (37, 53), (64, 64), (65, 31)])
@pytest.mark.parametrize(
    ("window", "overlap"), [(32, 0.0), (32, 0.25), (33, 0.7), (64, 0.1), (7, 0.5), (2, 0.9)]
)
def test_blending_is_that_of_monai(size: tuple[int, int], window: int, overlap: float) -> None:
    from monai.inferers.utils import sliding_window_inference

    pixels = _noise(3, *size)
    wanted = sliding_window_inference(
        torch.from_numpy(pixels)[None],
        (window, window),
        5,
        lambda windows: torch.from_numpy(_blur(windows.numpy())),
        overlap=overlap,
        mode="gaussian",
    )
    found = slide(_blur, pixels, window=window, overlap=overlap, batch_size=3)
    assert np.abs(found - wanted[0].numpy()).max() < 2e-6


def test_blending_changes_the_seam_only() -> None:
    pixels = np.zeros((3, 32, 56), np.float32)
    pixels[..., 28:] = 1  # windows at columns 0..31 and 24..55: means 0.125 and 0.875
    row = slide(_mean_of_window, pixels, window=32, overlap=0.25, batch_size=2)[0, 16]
    assert row[:24] == pytest.approx(0.125, abs=1e-6)
    assert row[32:] == pytest.approx(0.875, abs=1e-6)
    assert (np.diff(row[23:33]) > 0).all()
    assert row[27] + row[28] == pytest.approx(1, abs=1e-5)


def test_windows_go_in_batches_and_batches_do_not_matter() -> None:
    pixels = _noise(3, 70, 90, seed=1)
    sizes: list[int] = []

    def note(windows: Array) -> Array:
        sizes.append(len(windows))
        assert windows.shape[1:] == (3, 32, 32)
        return np.sin(windows)

    one = slide(note, pixels, window=32, overlap=0.25, batch_size=1)
    count = len(sizes)
    five = slide(note, pixels, window=32, overlap=0.25, batch_size=5)
    assert sizes[:count] == [1] * count
    assert sizes[count:] == [5, 5, 2]
    assert np.array_equal(one, five)


def test_windows_see_native_pixels(glass: Segmenter) -> None:
    # One bright pixel of 300 x 300: gone when shrunk to 32 x 32, found by a window.
    pixels = np.zeros((300, 300), dtype=np.uint8)
    pixels[140, 71] = 255
    assert predict(glass, pixels).mask.sum() == 0
    found = predict(glass, pixels, window=64).mask
    assert found.sum() == 1
    assert found[140, 71] == 1


def test_window_of_the_whole_image_equals_no_window(glass: Segmenter) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    whole = predict(glass, pixels, probabilities=True)
    window = predict(glass, pixels, window=32, probabilities=True)
    assert np.abs(whole.probabilities - window.probabilities).max() < 1e-6
    assert (whole.mask == window.mask).all()


def test_overlap_reaches_the_windows() -> None:
    # A model that leans within each window: more overlap hides the seam at column 32.
    model = make_glass(decoder=Slope)
    pixels = np.full((32, 64), 128, dtype=np.uint8)
    jumps = []
    for overlap in (0.0, 0.5):
        scores = predict(model, pixels, window=32, overlap=overlap, probabilities=True).probabilities[1]
        jumps.append(np.abs(np.diff(scores, axis=1)).max())
    assert jumps[0] > 0.9
    assert jumps[1] < 0.5

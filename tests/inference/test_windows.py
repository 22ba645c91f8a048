from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dinoseg.inference import predict
from dinoseg.inference.engine import slide
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import Slope, make_glass


def _mean_of_window(pixels: Tensor) -> Tensor:
    return pixels.mean(dim=(1, 2, 3), keepdim=True).expand(-1, 1, *pixels.shape[-2:]).clone()


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (37, 53), (64, 64), (65, 31)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_windowing_an_identity_is_the_identity(size: tuple[int, int], overlap: float) -> None:
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    blended = slide(Tensor.clone, pixels, window=32, overlap=overlap, batch_size=4)
    assert blended.shape == pixels.shape
    assert (blended - pixels).abs().max() < 1e-6


def test_blending_changes_the_seam_only() -> None:
    pixels = torch.zeros(1, 3, 32, 56)
    pixels[..., 28:] = 1  # windows at columns 0..31 and 24..55: means 0.125 and 0.875
    row = slide(_mean_of_window, pixels, window=32, overlap=0.25, batch_size=2)[0, 0, 16]
    assert row[:24] == pytest.approx(torch.full((24,), 0.125), abs=1e-6)
    assert row[32:] == pytest.approx(torch.full((24,), 0.875), abs=1e-6)
    steps = row[23:33].diff()
    assert (steps > 0).all()
    assert row[27] + row[28] == pytest.approx(1, abs=1e-5)


def test_windows_go_in_batches_and_batches_do_not_matter() -> None:
    pixels = torch.rand(1, 3, 70, 90, generator=torch.Generator().manual_seed(1))
    sizes: list[int] = []

    def note(windows: Tensor) -> Tensor:
        sizes.append(len(windows))
        assert windows.shape[1:] == (3, 32, 32)
        return windows.sin()

    one = slide(note, pixels, window=32, overlap=0.25, batch_size=1)
    count = len(sizes)
    five = slide(note, pixels, window=32, overlap=0.25, batch_size=5)
    assert sizes[:count] == [1] * count
    assert sizes[count:] == [5, 5, 2]
    assert (one - five).abs().max() < 1e-6


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

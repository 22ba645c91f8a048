"""The NumPy half of inference against torch: the same logits give the same masks and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dinoseg.errors import RunError
from dinoseg.inference import predict
from dinoseg.inference.logits import (
    FromLogits,
    answering,
    find_class,
    resize_logits,
    to_mask,
    to_probabilities,
)
from dinoseg.model.network import Array
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import BINARY, THREE, Slope, make_glass, make_vit


class LogitsOnly:
    """A Segmenter of which nothing but the protocol is left."""

    def __init__(self, model: Segmenter) -> None:
        self.settings, self.postprocessing, self.run = model.settings, model.postprocessing, model.run
        self.mean, self.std = model.mean, model.std
        self.describe, self.logits = model.describe, model.logits


def _logits(channels: int, size: tuple[int, int] = (19, 33)) -> Array:
    return 4 * np.random.default_rng(0).standard_normal((channels, *size)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("size", [(19, 33), (57, 99), (100, 40), (7, 11), (200, 5), (1, 1), (38, 33)])
def test_resizing_is_that_of_torch(channels: int, size: tuple[int, int]) -> None:
    logits = _logits(channels)
    wanted = F.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False)
    found = resize_logits(logits, size)
    assert found.dtype == np.float32
    assert np.abs(found - wanted[0].numpy()).max() < 1e-6 * np.abs(logits).max()


def test_logits_of_the_size_are_themselves() -> None:
    logits = _logits(2)
    assert resize_logits(logits, (19, 33)) is logits


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_are_those_of_torch(channels: int) -> None:
    logits = 30 * _logits(channels)  # far beyond what exp can take
    found = to_probabilities(logits)
    tensor = torch.from_numpy(logits)
    wanted = torch.cat([1 - tensor.sigmoid(), tensor.sigmoid()]) if channels == 1 else tensor.softmax(dim=0)
    assert found.shape == (max(2, channels), 19, 33)
    assert np.abs(found - wanted.numpy()).max() < 1e-6
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)


def test_the_mask_is_the_first_of_the_highest() -> None:
    ties = np.zeros((4, 2, 2), np.float32)
    ties[1:3, 0, 0], ties[3, 1, 1] = 2, 1
    assert to_mask(ties).tolist() == [[1, 0], [0, 3]]
    assert to_mask(np.array([[[-1, 0, 1e-7]]], np.float32)).tolist() == [[0, 0, 1]]
    logits = _logits(5)
    assert np.array_equal(find_class(logits), logits.argmax(axis=0))
    assert find_class(logits).dtype == np.uint8


@pytest.mark.parametrize("classes", [BINARY, THREE], ids=["binary", "three"])
@pytest.mark.parametrize(
    "options", [{}, {"flips": True}, {"window": 24, "overlap": 0.4}, {"window": 20, "flips": True}]
)
def test_numpy_and_torch_agree(classes: dict[int, str], options: dict) -> None:
    model = make_vit("segdino-v1", classes, size=48)
    plain = LogitsOnly(model)
    assert answering(model) is model
    assert isinstance(answering(plain), FromLogits)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 63, 3), dtype=np.uint8)
    ours, torchs = (predict(each, pixels, probabilities=True, **options) for each in (plain, model))
    assert np.abs(ours.probabilities - torchs.probabilities).max() < 2e-6
    assert torchs.probabilities.std(axis=(1, 2)).min() > 1e-3  # not the same everywhere
    assert (ours.mask == torchs.mask).mean() > 0.999
    assert np.array_equal(ours.mask, predict(plain, pixels, **options).mask)


def test_flips_are_turned_back() -> None:
    model = make_glass(decoder=Slope)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = predict(LogitsOnly(model), pixels, flips=True, probabilities=True)
    mirrored = predict(LogitsOnly(model), pixels[:, ::-1].copy(), flips=True, probabilities=True)
    np.testing.assert_allclose(found.probabilities, mirrored.probabilities[:, :, ::-1], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_logits_are_an_error(value: float) -> None:
    model = LogitsOnly(make_glass())
    model.logits = lambda pixels: np.full((len(pixels), 1, 4, 4), value, np.float32)
    with pytest.raises(RunError, match="NaN or infinity"):
        predict(model, np.zeros((8, 8)))


def test_coarser_logits_and_read_only_ones_are_taken(tmp_path: Path) -> None:
    model = LogitsOnly(make_glass())

    def quarter(pixels: Array) -> Array:
        shape: Sequence[int] = (len(pixels), 1, 8, 8)
        return np.broadcast_to(np.linspace(-1, 1, 8, dtype=np.float32), shape)

    model.logits = quarter
    found = predict(model, np.zeros((30, 40)), flips=False).mask
    assert found[:, :20].sum() == 0
    assert found[:, 20:].all()

"""Models that read the slices around: one answer whatever the batch, and nothing from beyond the ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dinoseg.backbones import create_backbone
from dinoseg.backbones.features import Features
from dinoseg.config import BackboneSettings, Inference, PreprocessingSettings, RangeIntensity
from dinoseg.data.volumes import Volume, upright_geometry
from dinoseg.errors import UsageError
from dinoseg.inference.volumes import segment_volume
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from tests.methods.small import SMALL

SLICES = 7


def make_model(reach: int) -> Segmenter:
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("guided", **SMALL["guided"], reach=reach),
        preprocessing=PreprocessingSettings(size=32, intensity=RangeIntensity(minimum=0, maximum=1)),
        classes={0: "background", 1: "a", 2: "b"},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Segmenter(settings, create_backbone("untrained-vitt16"))
        with torch.no_grad():
            for weight in model.decoder.parameters():
                weight.normal_(std=0.3)
    return model.eval()


def make_volume(seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).random((1, SLICES, 20, 24), dtype=np.float32)
    return Volume(array, upright_geometry((SLICES, 20, 24)), Path("made.nii"), "made")


def find_mask(model: Segmenter, volume: Volume, batch_size: int) -> np.ndarray:
    return segment_volume(model, volume, how=Inference(batch_size=batch_size)).mask


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 7, 20])
def test_masks_do_not_depend_on_the_batch(reach: int, batch_size: int) -> None:
    model, volume = make_model(reach), make_volume()
    whole = find_mask(model, volume, SLICES)
    assert len(np.unique(whole)) > 1
    assert (find_mask(model, volume, batch_size) == whole).mean() > 0.999  # sums in another order


def test_a_slice_is_read_as_far_as_said() -> None:
    volume = make_volume()
    changed = replace(volume, array=volume.array.copy())
    changed.array[:, 2] = make_volume(1).array[:, 2]
    for reach in (0, 1, 2):
        model = make_model(reach)
        differ = [
            not np.array_equal(before, after)
            for before, after in zip(find_mask(model, volume, 3), find_mask(model, changed, 3), strict=True)
        ]
        assert differ == [abs(place - 2) <= reach for place in range(SLICES)]


def test_windows_are_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.decoder\.reach=0"):
        segment_volume(make_model(1), make_volume(), how=Inference(window=16))


def test_neighbours_are_those_of_the_batch_and_zero_beyond() -> None:
    level = torch.arange(1.0, 5.0).view(4, 1, 1, 1)
    features = Features((level,), (16,), (16, 16), (16, 16)).with_neighbours(2)
    assert features.around is not None
    assert features.around[0].flatten(1).tolist() == [[0, 0, 2, 3], [0, 1, 3, 4], [1, 2, 4, 0], [2, 3, 0, 0]]

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
from dinoseg.data.volumes import Geometry, Volume, upright_geometry
from dinoseg.errors import UsageError
from dinoseg.inference.volumes import segment_volume
from dinoseg.methods import decoder_settings
from dinoseg.model.network import find_reach
from dinoseg.model.runtime import find_neighbours
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from tests.methods.small import SMALL

SLICES = 7


def make_model(reach: int, *, slice_spacing: float | None = None, seed: int = 0) -> Segmenter:
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("guided", **SMALL["guided"], reach=reach),
        preprocessing=PreprocessingSettings(
            size=32, intensity=RangeIntensity(minimum=0, maximum=1), slice_spacing=slice_spacing
        ),
        classes={0: "background", 1: "a", 2: "b"},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
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


def make_smooth(factor: int = 1) -> Volume:
    """Slices that fade from one to the next, 1 mm apart where the factor is 1, else 1 / factor."""
    ends = np.random.default_rng(3).random((2, 20, 24), dtype=np.float32)
    share = (np.arange((SLICES - 1) * factor + 1, dtype=np.float32) / (SLICES - 1) / factor)[:, None, None]
    array = (1 - share) * ends[0] + share * ends[1]
    return place(array, 1 / factor)


def place(array: np.ndarray, spacing: float) -> Volume:
    geometry = upright_geometry(array.shape, spacing=(spacing, 1, 1))
    return Volume(array[None], geometry, Path("made.nii"), "made")


def unknown(volume: Volume) -> Geometry:
    return replace(volume.geometry, spacing_known=False)


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_doubled_slices_at_half_the_distance_give_the_same_masks(reach: int, batch_size: int) -> None:
    model = make_model(reach, slice_spacing=1.0)
    volume = make_volume()
    doubled = place(np.repeat(volume.array[0], 2, axis=0), 0.5)
    whole, found = find_mask(model, volume, SLICES), find_mask(model, doubled, batch_size)
    # Of a pair the second is a step from the second of the next, the first from the first.
    assert all((found[first::2] == whole).mean() > 0.999 for first in (0, 1))
    untold = find_mask(model, replace(doubled, geometry=unknown(doubled)), batch_size)
    assert (untold[::2] == whole).mean() < 0.99


def compare_distances(seed: int) -> list[tuple[float, float]]:
    """Of the voxels, the share that is as in the original: thinned out and interpolated, told and not."""
    told, untold = make_model(1, slice_spacing=1.0, seed=seed), make_model(1, seed=seed)
    original = find_mask(told, make_smooth(), SLICES)
    assert np.array_equal(original, find_mask(untold, make_smooth(), SLICES))
    cases = (
        (place(make_smooth().array[0, ::2], 2.0), original[::2], 1),
        (make_smooth(3), original, 3),
    )
    return [
        tuple((find_mask(model, volume, 4)[::step][1:-1] == of[1:-1]).mean() for model in (told, untold))
        for volume, of, step in cases
    ]


def test_slices_at_other_distances_are_read_at_that_of_training() -> None:
    """Thinned out or interpolated: nearer to the masks of the original than without the distance."""
    shares = np.array([compare_distances(seed) for seed in range(3)])  # one model may be lucky without
    for with_it, without in shares.mean(axis=0):
        assert with_it > without
        assert with_it > 0.97


def test_without_a_distance_it_reads_the_next_slices() -> None:
    """Of the file, or of the model, as runs before had none."""
    volume = make_volume()
    plain = find_mask(make_model(2), volume, 3)
    nowhere = replace(volume, geometry=unknown(volume))
    assert np.array_equal(find_mask(make_model(2, slice_spacing=2.5), nowhere, 3), plain)
    thick = place(volume.array[0], 7.0)
    assert np.array_equal(find_mask(make_model(2), thick, 3), plain)
    assert not np.array_equal(find_mask(make_model(2, slice_spacing=2.5), thick, 3), plain)


def test_a_slab_stays_small_where_slices_are_thin() -> None:
    model = make_model(2, slice_spacing=5.0)
    assert [find_reach(model, spacing) for spacing in (None, 5.1, 100.0, 4.0, 2.5, 0.01)] == [
        2,
        2,
        1,
        3,
        4,
        8,
    ]


@pytest.mark.parametrize("stride", [0.1, 0.5, 1.0, 1.5, 2.0, 4.0])
def test_the_engine_reads_the_slices_that_torch_reads(stride: float) -> None:
    level = np.random.default_rng(0).random((5, 3, 2, 2), dtype=np.float32)
    features = Features((torch.from_numpy(level),), (16,), (32, 32), (32, 32)).with_neighbours(2, stride)
    assert features.around is not None
    assert np.array_equal(features.around[0].numpy(), find_neighbours(level, 2, stride))


def test_between_two_slices_the_nearer_one_counts_more() -> None:
    level = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(4, 1, 1, 1)
    features = Features((level,), (16,), (16, 16), (16, 16)).with_neighbours(1, 1.2)
    assert features.around is not None
    wanted = [
        [0, 0.8 * 2 + 0.2 * 4],
        [0.8, 0.8 * 4 + 0.2 * 8],
        [0.8 * 2 + 0.2, 0.8 * 8],
        [0.8 * 4 + 0.2 * 2, 0],
    ]
    torch.testing.assert_close(features.around[0].flatten(1), torch.tensor(wanted))


def test_windows_are_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.decoder\.reach=0"):
        segment_volume(make_model(1), make_volume(), how=Inference(window=16))


def test_neighbours_are_those_of_the_batch_and_zero_beyond() -> None:
    level = torch.arange(1.0, 5.0).view(4, 1, 1, 1)
    features = Features((level,), (16,), (16, 16), (16, 16)).with_neighbours(2)
    assert features.around is not None
    assert features.around[0].flatten(1).tolist() == [[0, 0, 2, 3], [0, 1, 3, 4], [1, 2, 4, 0], [2, 3, 0, 0]]

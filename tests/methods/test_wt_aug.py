from __future__ import annotations

import torch
from torch import Tensor

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.haar import analyse
from dinoseg.methods.blocks.wt_aug import wt_aug


def make_features(batch: int = 4, *, grid: tuple[int, int] = (16, 16)) -> Features:
    generator = torch.Generator().manual_seed(0)
    levels = tuple(
        torch.randn(batch, 8, grid[0] // s + 1, grid[1] // s + 1, generator=generator) for s in (1, 2)
    )
    cls = (torch.randn(batch, 8, generator=generator),) * 2
    return Features(levels, (16, 32), (250, 250), (256, 256), cls)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(before: Features, after: Features) -> list[bool]:
    """Per image: whether any map differs."""
    pairs = list(zip(before.levels, after.levels, strict=True))
    return [any(not torch.equal(a[i], b[i]) for a, b in pairs) for i in range(len(before.levels[0]))]


def test_the_generator_decides() -> None:
    features = make_features()
    first, again = wt_aug(features, generator()), wt_aug(features, generator())
    assert all(torch.equal(a, b) for a, b in zip(first.levels, again.levels, strict=True))
    other = wt_aug(features, generator(2))
    assert not all(torch.equal(a, b) for a, b in zip(first.levels, other.levels, strict=True))


def test_geometry_and_class_tokens_stay() -> None:
    features = make_features(grid=(14, 21))  # odd maps too
    result = wt_aug(features, generator(), probability=1)
    assert [level.shape for level in result.levels] == [level.shape for level in features.levels]
    assert (result.strides, result.size, result.padded) == (features.strides, features.size, features.padded)
    assert result.cls is features.cls


def test_limits_of_both_probabilities() -> None:
    features = make_features()
    assert changed(features, wt_aug(features, generator(), probability=0)) == [False] * 4
    everything = wt_aug(features, generator(), probability=1, drop=1)
    assert all(not level.any() for level in everything.levels)
    nothing = wt_aug(features, generator(), probability=1, drop=0)
    for before, after in zip(features.levels, nothing.levels, strict=True):
        torch.testing.assert_close(after, before)


def test_share_of_images_that_change() -> None:
    features = make_features(400, grid=(2, 2))
    share = sum(changed(features, wt_aug(features, generator()))) / 400
    assert abs(share - 0.7) < 0.07


def test_every_band_loses_its_share_independently_and_nothing_is_scaled_up() -> None:
    maps = torch.randn(1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    features = Features((maps,), (16,), (1024, 1024), (1024, 1024))
    result = wt_aug(features, generator(), probability=1).levels[0]
    gone = []
    for before, after in zip(_bands(maps), _bands(result), strict=True):
        dropped = after.abs() < 1e-5
        assert abs(dropped.float().mean() - 0.3) < 0.01
        torch.testing.assert_close(after[~dropped], before[~dropped], rtol=1e-4, atol=1e-4)
        gone.append(dropped.flatten().float())
    correlation = torch.corrcoef(torch.stack(gone)) - torch.eye(4)
    assert correlation.abs().max() < 0.02


def _bands(maps: Tensor) -> list[Tensor]:
    bands = analyse(maps)
    return [bands.low, *bands.high.unbind(dim=2)]

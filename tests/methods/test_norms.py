"""One value per channel or group is no error, and changes no other result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dinoseg.methods.blocks.norms import BatchNorm, GroupNorm


def make_maps(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(2, 8, 1, 1), (1, 8, 2, 1), (3, 8, 4, 5)])
def test_all_else_is_what_torch_gives(shape: tuple[int, ...], train: bool) -> None:
    maps = make_maps(*shape)
    for ours, theirs in ((BatchNorm(8), nn.BatchNorm2d(8)), (GroupNorm(4, 8), nn.GroupNorm(4, 8))):
        assert torch.equal(ours.train(train)(maps), theirs.train(train)(maps))
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name])


def test_a_single_value_is_normalised_by_what_is_known_and_teaches_nothing() -> None:
    norm = BatchNorm(8).train()
    norm(make_maps(4, 8, 3, 3))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    alone = make_maps(1, 8, 1, 1)
    found = norm(alone)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert torch.equal(found, norm.eval()(alone))


def test_groups_of_one_value_are_their_bias_as_in_a_batch() -> None:
    norm = GroupNorm(8, 8)
    with torch.no_grad():
        norm.bias.copy_(torch.arange(8.0))
    maps = make_maps(2, 8, 1, 1)
    torch.testing.assert_close(norm(maps), nn.GroupNorm.forward(norm, maps), rtol=0, atol=1e-4)
    assert torch.equal(norm(maps[:1]), norm.bias.view(1, 8, 1, 1))

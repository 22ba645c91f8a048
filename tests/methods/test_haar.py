from __future__ import annotations

import pytest
import torch

from dinoseg.methods.blocks.haar import Bands, analyse, synthesise
from tests.methods.released import difference, read


def test_bands_signs_and_inverse_are_the_released_programs() -> None:
    case = read("haar_masked")
    bands = analyse(case.inputs["feature"])
    assert difference(bands.low, case.outputs["low"]) <= 1e-5
    assert difference(bands.high, case.outputs["high"]) <= 1e-5
    masked = Bands(bands.low * case.inputs["low_mask"], bands.high * case.inputs["high_mask"], bands.size)
    assert difference(synthesise(masked), case.outputs["reconstructed"]) <= 1e-5


def test_one_block_by_hand() -> None:
    bands = analyse(torch.tensor([[1.0, 2.0], [4.0, 8.0]]).view(1, 1, 2, 2))
    assert bands.low.flatten().tolist() == [7.5]
    assert bands.high.flatten().tolist() == [-4.5, -2.5, 1.5]  # top-bottom, left-right, diagonal


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7), (8, 3), (12, 18)])
def test_inverse_returns_the_maps(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    bands = analyse(maps)
    assert bands.low.shape[-2:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert difference(synthesise(bands), maps) <= 1e-6


def test_orthonormal() -> None:
    maps = torch.randn(1, 2, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bands = analyse(maps)
    energy = bands.low.square().sum() + bands.high.square().sum()
    torch.testing.assert_close(energy, maps.square().sum())

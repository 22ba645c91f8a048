"""One-level orthonormal Haar transform of feature maps, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Bands:
    """Haar coefficients of maps (B, C, h, w).

    Attributes:
        low: LL, (B, C, ceil(h/2), ceil(w/2)): half the sum of each 2x2 block.
        high: LH, HL, HH on dim 2, (B, C, 3, ceil(h/2), ceil(w/2)): top minus bottom, left
            minus right, diagonal minus antidiagonal, halved.
        size: (h, w).
    """

    low: Tensor
    high: Tensor
    size: tuple[int, int]


def analyse(maps: Tensor) -> Bands:
    """Haar coefficients of (B, C, h, w); the last row or column is repeated where h or w is odd."""
    height, width = int(maps.shape[-2]), int(maps.shape[-1])
    if height % 2 or width % 2:
        maps = F.pad(maps, (0, width % 2, 0, height % 2), mode="replicate")
    top, bottom = maps[..., 0::2, :], maps[..., 1::2, :]
    low, high = (top + bottom) / 2, (top - bottom) / 2
    bands = [low[..., 0::2] + low[..., 1::2], high[..., 0::2] + high[..., 1::2]]
    bands += [low[..., 0::2] - low[..., 1::2], high[..., 0::2] - high[..., 1::2]]
    return Bands(bands[0], torch.stack(bands[1:], dim=2), (height, width))


def synthesise(bands: Bands) -> Tensor:
    """The maps (B, C, h, w) that have these coefficients."""
    low, (vertical, horizontal, diagonal) = bands.low, bands.high.unbind(dim=2)
    top = _interleave(low + vertical, horizontal + diagonal)
    bottom = _interleave(low - vertical, horizontal - diagonal)
    maps = torch.stack([top, bottom], dim=-2).flatten(-3, -2) / 2  # (B, C, h/2, 2, w) -> (B, C, h, w)
    return maps[..., : bands.size[0], : bands.size[1]]


def _interleave(total: Tensor, difference: Tensor) -> Tensor:
    """Left and right columns from their sums and differences, (…, w/2) -> (…, w)."""
    return torch.stack([total + difference, total - difference], dim=-1).flatten(-2)

"""Instance normalisation that also accepts a map of one cell, which torch's own layer refuses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InstanceNorm(nn.InstanceNorm2d):
    """Affine instance normalisation; a map of one cell becomes its bias.

    An image of 32 px or less has one cell at stride 32, and its size must not be an error.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        if maps.shape[-2] * maps.shape[-1] > 1:
            return super().forward(maps)
        return torch.zeros_like(maps) * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

"""Deformable attention in plain PyTorch: one grid_sample instead of a compiled operator.

Trains on any device and exports to ONNX (GridSample).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.errors import UsageError

POINTS = 4  # samples per query and head


class DeformableAttention(nn.Module):
    """Each query reads a few points of one map, at places it chooses around its own.

    Args:
        width: C of queries, map and result.
        heads: attention heads, each with its own points; the values have width C / 2.

    Source:
        Deformable DETR (arXiv 2010.04159), equation 2, with one level.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise UsageError(
                f"heads {heads} do not fit features of width {width}; accepted are divisors of {width // 2}, "
                f"for example --set model.decoder.heads={math.gcd(width // 2, 16)}"
            )
        self.heads = heads
        self.offsets = nn.Linear(width, heads * POINTS * 2)
        self.weights = nn.Linear(width, heads * POINTS)
        self.value = nn.Linear(width, width // 2)
        self.project = nn.Linear(width // 2, width)
        self._initialise()

    def forward(self, queries: Tensor, centres: Tensor, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Read the map once per query.

        Args:
            queries: (B, Q, C).
            centres: (Q, 2), x and y of each query; 0..1 spans the map.
            tokens: (B, h*w, C), the map row by row.
            grid: (h, w).

        Returns:
            (B, Q, C).
        """
        batch, count, _ = queries.shape
        height, width = grid
        values = self.value(tokens)
        # (B, h*w, heads*d) -> (B*heads, d, h, w)
        values = values.transpose(1, 2).reshape(batch * self.heads, -1, height, width)
        # Points before queries, so that sums over four points run along rows of thousands.
        # (B, Q, heads*P*2) -> (B*heads, P, Q, 2), -1..1 as grid_sample wants it
        offsets = self.offsets(queries).view(batch, count, self.heads, POINTS, 2).permute(0, 2, 3, 1, 4)
        scale = offsets.new_tensor([2 / width, 2 / height])
        places = torch.addcmul(2 * centres - 1, offsets, scale).flatten(0, 1)
        sampled = F.grid_sample(values, places, padding_mode="zeros", align_corners=False)
        # (B, Q, heads*P) -> (B*heads, 1, P, Q)
        weights = self.weights(queries).view(batch, count, self.heads, POINTS).permute(0, 2, 3, 1)
        weights = weights.softmax(dim=2).reshape(-1, 1, POINTS, count)
        mixed = (sampled * weights).sum(dim=2)
        # (B*heads, d, Q) -> (B, heads*d, Q) -> (B, Q, heads*d)
        result: Tensor = self.project(mixed.view(batch, -1, count).transpose(1, 2))
        return result

    def _initialise(self) -> None:
        """Start with equal weights on points along one direction per head, one cell further each."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)  # onto the unit square
        steps = torch.arange(1, POINTS + 1).view(1, POINTS, 1)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        with torch.no_grad():
            self.offsets.bias.copy_((directions.unsqueeze(1) * steps).flatten())
        for linear in (self.value, self.project):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

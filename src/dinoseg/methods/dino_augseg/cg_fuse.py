"""CG-Fuse of DINO-AugSeg: the deeper map, enlarged, asks the encoder's map what it knows."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.errors import UsageError
from dinoseg.methods.blocks.norms import BatchNorm
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.blocks.rewrites import conv3x3_after_doubling

BASE = 10000.0  # of the rotary positions


class CGFuse(nn.Module):
    """One step from coarse to fine: enlarge, attend, concatenate, two convolutions.

    Args:
        deeper: channels of the coarser map.
        width: channels of the encoder's map and of the result.
        heads: attention heads.
        pool: cells per side that are averaged into one key.
    """

    def __init__(self, deeper: int, width: int, *, heads: int, pool: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(deeper, width, 2, 2)
        self.attention = CrossAttention(width, heads=heads, pool=pool)
        self.mix = nn.Sequential(ConvNorm(2 * width, width), ConvNorm(width, width))

    def forward(self, deeper: Tensor, level: Tensor) -> Tensor:
        """(B, C', h/2, w/2) and (B, C, h, w) -> (B, C, h, w)."""
        size = (int(level.shape[-2]), int(level.shape[-1]))
        attended = self.attention(resize(self.up(deeper), size), level)
        fused: Tensor = self.mix(torch.cat([level, attended], dim=1))
        return fused


class CrossAttention(nn.Module):
    """Queries from the enlarged map, keys and values from the pooled encoder map, without the matrix."""

    def __init__(self, width: int, *, heads: int, pool: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise UsageError(
                f"heads {heads} do not fit features of width {width}: each needs an even number of channels; "
                "choose fewer, for example --set model.decoder.heads=1"
            )
        self.heads = heads
        self.pool = pool
        self.norm_query = nn.LayerNorm(width)
        self.norm_key = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)

    def forward(self, maps: Tensor, level: Tensor) -> Tensor:
        """(B, C, h, w) twice -> (B, C, h, w)."""
        pooled = F.avg_pool2d(level, self.pool, ceil_mode=True)
        # (B, C, h, w) -> (B, h*w, C)
        asking = self.norm_query(maps.flatten(2).transpose(1, 2))
        known = self.norm_key(pooled.flatten(2).transpose(1, 2))
        attended = F.scaled_dot_product_attention(
            rotate(self._split(self.query(asking))),
            rotate(self._split(self.key(known))),
            self._split(self.value(known)),
        )
        # (B, heads, N, d) -> (B, N, C)
        joined = self.project(attended.transpose(1, 2).flatten(2)) + asking
        # (B, N, C) -> (B, h, w, C) -> (B, C, h, w), with the channels last in memory as before
        attended_maps: Tensor = torch.unflatten(joined, 1, maps.shape[-2:]).permute(0, 3, 1, 2)
        return attended_maps

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, d)."""
        batch, count, _ = tokens.shape
        return tokens.view(batch, count, self.heads, -1).transpose(1, 2)


class ConvNorm(nn.Sequential):
    """3x3 convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3, padding=1, bias=False), BatchNorm(after), nn.ReLU(inplace=True)
        )

    def after_doubling(self, maps: Tensor, doubling: nn.ConvTranspose2d) -> Tensor:
        """(B, C, h, w) -> (B, after, 2h, 2w): of what a 2x2 transposed convolution makes of the maps."""
        conv, norm, activation = self
        enlarged = conv3x3_after_doubling([maps], [doubling], cast(nn.Conv2d, conv).weight, None)
        activated: Tensor = activation(norm(enlarged))
        return activated


def rotate(tokens: Tensor) -> Tensor:
    """Rotary positions: channels 2i and 2i+1 of token n turn by the angle n / BASE**(2i / d).

    Args:
        tokens: (B, heads, N, d), d even; N counts the cells of a map row by row.
    """
    count, width = int(tokens.shape[-2]), int(tokens.shape[-1])
    speeds = BASE ** (-torch.arange(0, width, 2, device=tokens.device, dtype=torch.float32) / width)
    angles = torch.arange(count, device=tokens.device, dtype=torch.float32).unsqueeze(1) * speeds  # (N, d/2)
    cos, sin = angles.cos().to(tokens.dtype), angles.sin().to(tokens.dtype)
    even, odd = tokens[..., 0::2], tokens[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)

"""FAPM of Dino U-Net: every scale from C channels to the width of its U-Net stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.methods.blocks.norms import InstanceNorm

SLOPE = 0.01  # of LeakyReLU
REDUCTION = 16  # of squeeze and excitation


class FAPM(nn.Module):
    """Fidelity-aware projection: what all scales share modulates what each has of its own, at low rank.

    Args:
        channels: C of all maps.
        widths: F_s of each result.
        rank: channels in between.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, rank: int) -> None:
        super().__init__()
        self.shared = nn.Conv2d(channels, rank, 1)
        self.scales = nn.ModuleList(Projection(channels, width, rank) for width in widths)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C, h_s, w_s) -> (B, F_s, h_s, w_s)."""
        return [scale(level, self.shared(level)) for scale, level in zip(self.scales, levels, strict=True)]


class Projection(nn.Module):
    """One scale: FiLM of its own basis by the shared one, then refinement beside a shortcut.

    The shortcut is a 1x1 convolution only where the rank and the width differ, as released.
    """

    def __init__(self, channels: int, width: int, rank: int) -> None:
        super().__init__()
        self.specific = nn.Conv2d(channels, rank, 1)
        self.film = nn.Conv2d(rank, 2 * rank, 1)
        self.project = nn.Conv2d(rank, width, 1)
        self.norm = InstanceNorm(width)
        self.separable = DepthwiseSeparable(width)
        self.mix = nn.Conv2d(width, width, 1)
        self.se = SqueezeExcite(width)
        self.shortcut = nn.Identity() if rank == width else nn.Conv2d(rank, width, 1)

    def forward(self, level: Tensor, shared: Tensor) -> Tensor:
        """(B, C, h, w) and (B, rank, h, w) -> (B, F, h, w)."""
        gamma, beta = self.film(shared).chunk(2, dim=1)
        modulated = torch.addcmul(beta, gamma, self.specific(level))
        refined = F.leaky_relu(self.norm(self.project(modulated)), SLOPE, inplace=True)
        result: Tensor = self.se(self.mix(self.separable(refined))) + self.shortcut(modulated)
        return result


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3, pointwise 1x1, norm, activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.norm = InstanceNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, F, h, w) -> (B, F, h, w)."""
        mixed: Tensor = self.pointwise(self.depthwise(maps))
        return F.leaky_relu(self.norm(mixed), SLOPE, inplace=True)


class SqueezeExcite(nn.Module):
    """Scale every channel by a factor in 0..1 that all channels' means decide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(1, width // REDUCTION)
        self.squeeze = nn.Conv2d(width, hidden, 1)
        self.excite = nn.Conv2d(hidden, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, F, h, w) -> (B, F, h, w)."""
        means = maps.mean(dim=(-2, -1), keepdim=True)
        factors: Tensor = self.excite(F.relu(self.squeeze(means))).sigmoid()
        return maps * factors

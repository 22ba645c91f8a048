"""The ConvNeXt of DINOv3, for prediction only; its layer scale is part of the layer before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.architecture import ConvNeXtSettings
from dinoseg.backbones.packing import Linear


class ConvNeXt(nn.Module):
    """Stages of strides 4, 8, 16, ...; each begins with a convolution that halves the grid (the first: 4).

    Args:
        settings: the published architecture.
        depth: how many stages; all of them if not given.
    """

    def __init__(self, settings: ConvNeXtSettings, *, depth: int | None = None) -> None:
        super().__init__()
        count = len(settings.depths) if depth is None else depth
        self.stages = nn.ModuleList(Stage(settings, index) for index in range(count))

    def forward(self, image: Tensor, layers: Sequence[int]) -> tuple[list[Tensor], None]:
        """Maps of the tapped stages, without a norm.

        Args:
            image: (B, 3, H, W), no side below the stride of the last stage.
            layers: stages, ascending, counted from 0.

        Returns:
            (B, C_i, h_i, w_i) for each of them, sides rounded down where they are odd before halving; no
            class tokens.
        """
        maps = []
        features = image.contiguous(memory_format=torch.channels_last)
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in layers:
                maps.append(features)
        return maps, None


class Stage(nn.Module):
    """A coarser grid, then blocks on it. The stem norms after its convolution, later stages before theirs."""

    def __init__(self, settings: ConvNeXtSettings, index: int) -> None:
        super().__init__()
        self.is_stem = index == 0
        before = 3 if self.is_stem else settings.hidden_sizes[index - 1]
        width, eps = settings.hidden_sizes[index], settings.layer_norm_eps
        self.norm = nn.LayerNorm(width if self.is_stem else before, eps)
        step = 4 if self.is_stem else 2
        self.reduce = nn.Conv2d(before, width, step, step)
        self.blocks = nn.ModuleList(Block(settings, width) for _ in range(settings.depths[index]))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h/2, w/2)."""
        if self.is_stem:
            features = norm_channels(self.norm, self.reduce(features))
        else:
            features = self.reduce(norm_channels(self.norm, features))
        for block in self.blocks:
            features = block(features)
        return features


class Block(nn.Module):
    """A wide depthwise convolution, then an MLP at every place, added to what it was given."""

    def __init__(self, settings: ConvNeXtSettings, width: int) -> None:
        super().__init__()
        self.gelu = settings.hidden_act == "gelu"
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, settings.layer_norm_eps)
        self.widen = Linear(width, 4 * width, gelu=self.gelu)
        self.narrow = Linear(4 * width, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        places = self.depthwise(features).permute(0, 2, 3, 1)  # (B, C, h, w) -> (B, h, w, C)
        hidden = self.widen(self.norm(places))
        changed: Tensor = self.narrow(hidden if self.gelu else F.silu(hidden))
        return features + changed.permute(0, 3, 1, 2)  # (B, h, w, C) -> (B, C, h, w)


def norm_channels(norm: nn.Module, features: Tensor) -> Tensor:
    """Norm the channels of (B, C, h, w) at every place."""
    normed: Tensor = norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return normed

"""The baseline: one 1x1 convolution on the concatenated maps, as in a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.decoder import Decoder


class Linear(Decoder):
    """One 1x1 convolution on all maps together; what the features hold without a decoder.

    The convolution is applied to each map at its own grid and the K channels are resized
    and summed, which equals concatenating resized maps first.

    Args:
        channels: widths C_i of the maps.
        outputs: K, channels of the logits.
    """

    levels: ClassVar[int | None] = None

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.classify = nn.Conv2d(sum(channels), outputs, 1)

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        size = (int(features.levels[0].shape[-2]), int(features.levels[0].shape[-1]))
        weights = torch.split(self.classify.weight, list(self.channels), dim=1)
        parts = [
            resize(F.conv2d(level, weight), size)
            for level, weight in zip(features.levels, weights, strict=True)
        ]
        bias = cast(Tensor, self.classify.bias)
        return resize(torch.stack(parts).sum(dim=0) + bias.view(1, -1, 1, 1), features.padded)

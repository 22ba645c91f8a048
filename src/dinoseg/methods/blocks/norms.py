"""Normalisation that takes every batch and size: torch's own refuses one value per channel or group.

Such a batch is a single image with a map of one cell: 32 px at stride 32, or the last image of an epoch.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation; in training, one value per channel is normalised by the running statistics.

    It has no deviation of its own, and teaches the running statistics nothing.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        if self.training and maps.numel() == maps.shape[1]:
            known = (self.running_mean, self.running_var)
            return F.batch_norm(maps, *known, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(maps)


class GroupNorm(nn.GroupNorm):
    """Group normalisation; groups of one value become their bias, as they do in a batch of several."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        if maps.shape[1:].numel() == self.num_groups:
            centred = maps - maps  # not zeros: what is before takes part, with a gradient of 0
            return centred * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return super().forward(maps)

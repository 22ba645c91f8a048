"""Normalisation that takes every batch and size: torch's own refuses one value per channel or group.

Such a batch is a single image with a map of one cell: 32 px at stride 32, or the last image of an epoch.
"""

from __future__ import annotations

import torch
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


class InstanceNorm(nn.InstanceNorm2d):
    """Affine instance normalisation; a map of one cell becomes its bias.

    An image of 32 px or less has one cell at stride 32, and its size must not be an error.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        if maps.shape[-2] * maps.shape[-1] == 1:
            return torch.zeros_like(maps) * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        if maps.device.type != "cpu" or _is_recorded():
            return super().forward(maps)
        # The same per image as the batch norm of a batch of one, which leaves channels last where they
        # are: torch's instance norm takes 20 times as long there, and its group norm of one channel a
        # group adds up squares without taking the mean off first.
        images = [
            F.batch_norm(image, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for image in torch.split(maps, 1)
        ]
        return images[0] if len(images) == 1 else torch.cat(images)


def _is_recorded() -> bool:
    """Whether a graph is being made, which should hold for any number of images."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    return tracing or torch.compiler.is_compiling()

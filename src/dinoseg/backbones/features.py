"""`Features`: what crosses the seam between a frozen backbone and a decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.neighbours import find_margin, list_places


@dataclass(frozen=True)
class Features:
    """Feature maps of one batch of images, from shallow to deep.

    Attributes:
        levels: maps (B, C_i, h_i, w_i), float32.
        strides: pixels of the padded image per cell of each level; equal for a ViT,
            4-8-16-32 for a ConvNeXt.
        size: height and width of the image that went in.
        padded: height and width after padding at the bottom and right to a multiple of
            the backbone's stride. `levels[i]` has padded // strides[i] cells a side: a ViT's
            maps cover exactly this area, and so does a ConvNeXt's first. Its deeper ones leave
            out the last rows and columns where these fill no whole cell, as the published
            network does; convolutions of the levels above have looked at them.
        cls: class tokens (B, C) of the same layers, where the backbone has them.
        around: of slices, for methods that read their neighbours: maps (B, 2r, C_i, h_i, w_i) of the r
            steps before, then of the r behind; zeros where the volume ends. A step is a slice, or the
            distance that the model was trained with, where it lies between two slices their mean.
    """

    levels: tuple[Tensor, ...]
    strides: tuple[int, ...]
    size: tuple[int, int]
    padded: tuple[int, int]
    cls: tuple[Tensor, ...] | None = None
    around: tuple[Tensor, ...] | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        """Width C_i of each level."""
        return tuple(int(level.shape[1]) for level in self.levels)

    def map(self, function: Callable[[Tensor], Tensor]) -> Features:
        """Apply `function` to every level (and class token, and neighbour), keeping the geometry."""
        cls = None if self.cls is None else tuple(function(token) for token in self.cls)
        around = None if self.around is None else tuple(function(maps) for maps in self.around)
        levels = tuple(function(level) for level in self.levels)
        return replace(self, levels=levels, cls=cls, around=around)

    def with_neighbours(self, reach: int, stride: float = 1.0) -> Features:
        """The maps of B consecutive slices, each with those of its neighbours among them.

        Args:
            reach: how many steps on either side.
            stride: slices to a step.
        """
        margin = find_margin(reach, stride)

        def collect(level: Tensor) -> Tensor:
            padded = F.pad(level, (0, 0) * (level.ndim - 1) + (margin, margin))  # (B + 2 margin, C, h, w)
            shifted = [padded[margin + offset :][: len(level)] for offset in range(-margin, margin + 1)]
            found = [
                torch.stack([shifted[margin + offset] * weight for offset, weight in place]).sum(dim=0)
                for place in list_places(reach, stride)
            ]
            return torch.stack(found, dim=1)

        return replace(self, around=tuple(collect(level) for level in self.levels))

"""Adapter of Dino U-Net: a convolutional pyramid of the image that reads the frozen maps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.norms import BatchNorm
from dinoseg.methods.blocks.strides import PYRAMID, to_equal_strides
from dinoseg.methods.dino_unet.deformable import DeformableAttention

Grid = tuple[int, int]
EPS = 1e-6  # of the layer norms
EXTRA_EXTRACTORS = 2  # more of them in the last interaction


class Adapter(nn.Module):
    """Four maps of strides 4, 8, 16, 32: details from the image, meaning from the backbone.

    Args:
        width: C of the frozen maps and of the results.
        spm_width: width of the spatial prior's stem.
        heads: of the deformable attention.
        drop_path: probability of dropping a feed-forward branch for an image, in training.
    """

    def __init__(self, width: int, *, spm_width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.spm = SpatialPrior(spm_width, width)
        self.level_embed = nn.Parameter(torch.randn(3, width))
        self.interactions = nn.ModuleList(
            Interaction(width, heads, drop_path, extractors=1 + (EXTRA_EXTRACTORS if last else 0))
            for last in (False, False, False, True)
        )
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.norms = nn.ModuleList(BatchNorm(width) for _ in PYRAMID)

    def forward(self, features: Features, image: Tensor) -> list[Tensor]:
        """Maps (B, C, H/s, W/s) for s in 4, 8, 16, 32.

        Args:
            features: four maps of width C.
            image: (B, 3, H, W); H and W are multiples of 32 and no less than `features.padded`.
        """
        finest, *pyramid = self.spm(image)
        grids = [_grid(level) for level in pyramid]
        queries = torch.cat(
            [flatten(level) + embed for level, embed in zip(pyramid, self.level_embed, strict=True)], dim=1
        )
        centres = cell_centres(grids, PYRAMID[1:], features.padded).to(queries)
        for interaction, level in zip(self.interactions, to_equal_strides(features).levels, strict=True):
            queries = interaction(queries, centres, grids, level)
        pyramid = unflatten(queries, grids)
        finest = finest + self.up(pyramid[0])
        frozen = [level.contiguous(memory_format=torch.channels_last) for level in features.levels]
        return [
            norm(level + reach(maps, stride, target, _grid(level)))
            for norm, level, maps, stride, target in zip(
                self.norms, [finest, *pyramid], frozen, features.strides, PYRAMID, strict=True
            )
        ]


class SpatialPrior(nn.Module):
    """SPM: the image at strides 4, 8, 16, 32, all of width C."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv_norm(3, width, stride=2),
            *_conv_norm(width, width),
            *_conv_norm(width, width),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        widths = (width, 2 * width, 4 * width, 4 * width)
        self.down = nn.ModuleList(
            nn.Sequential(*_conv_norm(before, after, stride=2))
            for before, after in itertools.pairwise(widths)
        )
        self.project = nn.ModuleList(nn.Conv2d(each, channels, 1) for each in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps (B, C, H/s, W/s)."""
        levels: list[Tensor] = [self.stem(image)]
        for down in self.down:
            levels.append(down(levels[-1]))
        return [project(level) for project, level in zip(self.project, levels, strict=True)]


class Interaction(nn.Module):
    """The queries read one frozen map, once or (in the last block) three times."""

    def __init__(self, width: int, heads: int, drop_path: float, *, extractors: int) -> None:
        super().__init__()
        self.extractors = nn.ModuleList(Extractor(width, heads, drop_path) for _ in range(extractors))

    def forward(self, queries: Tensor, centres: Tensor, grids: Sequence[Grid], level: Tensor) -> Tensor:
        """Queries (B, Q, C) that have read `level` (B, C, h, w), which stays as it is."""
        tokens, grid = flatten(level), _grid(level)
        for extractor in self.extractors:
            queries = extractor(queries, centres, grids, tokens, grid)
        return queries


class Extractor(nn.Module):
    """q += DeformAttn(LN(q), LN(tokens)); q += DropPath(ConvFFN(LN(q)))."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=EPS)
        self.feature_norm = nn.LayerNorm(width, eps=EPS)
        self.attention = DeformableAttention(width, heads)
        self.ffn_norm = nn.LayerNorm(width, eps=EPS)
        self.ffn = ConvFFN(width)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, queries: Tensor, centres: Tensor, grids: Sequence[Grid], tokens: Tensor, grid: Grid
    ) -> Tensor:
        """Queries (B, Q, C) after reading tokens (B, h*w, C) of a map of size `grid`."""
        read = self.attention(self.query_norm(queries), centres, self.feature_norm(tokens), grid)
        queries = queries + read
        return queries + cast(Tensor, self.drop_path(self.ffn(self.ffn_norm(queries), grids)))


class ConvFFN(nn.Module):
    """Feed-forward layer with a depthwise 3x3 convolution on each of the query grids."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, width // 4)
        self.depthwise = nn.Conv2d(width // 4, width // 4, 3, padding=1, groups=width // 4)
        self.expand = nn.Linear(width // 4, width)

    def forward(self, queries: Tensor, grids: Sequence[Grid]) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        maps = unflatten(self.reduce(queries), grids)
        hidden = torch.cat([flatten(self.depthwise(each)) for each in maps], dim=1)
        expanded: Tensor = self.expand(F.gelu(hidden))
        return expanded


class DropPath(nn.Module):
    """Drop a whole branch for some images of a batch, in training only; the rest is scaled up.

    Draws from torch's seeded generator of the tensor's device.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """(B, Q, C) -> (B, Q, C)."""
        if not self.training or self.probability == 0:
            return branch
        keep = 1 - self.probability
        return branch * (branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep) / keep)


def cell_centres(grids: Sequence[Grid], strides: Sequence[int], padded: Grid) -> Tensor:
    """Centres (Q, 2) of all cells, x before y; 0..1 spans the `padded` area that the frozen maps cover.

    Cells beyond that area have centres above 1.
    """
    centres = []
    for (height, width), stride in zip(grids, strides, strict=True):
        rows = (torch.arange(height) + 0.5) * stride / padded[0]
        columns = (torch.arange(width) + 0.5) * stride / padded[1]
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append(torch.stack([x.flatten(), y.flatten()], dim=-1))
    return torch.cat(centres)


def reach(level: Tensor, stride: int, target: int, grid: Grid) -> Tensor:
    """Bilinear resize of a map from `stride` to `target` pixels per cell, onto `grid`.

    The top left corner stays where it is and the last cells are repeated where the grid
    reaches further than the map, as in an image that is padded at the bottom and right.
    """
    # cells of the map that the grid needs, rounded up
    rows, columns = (-(-cells * target // stride) for cells in grid)
    bottom, right = max(0, rows - level.shape[-2]), max(0, columns - level.shape[-1])
    if bottom or right:
        level = F.pad(level, (0, right, 0, bottom), mode="replicate")
    if stride != target:
        level = F.interpolate(level, scale_factor=stride / target, mode="bilinear", align_corners=False)
    return level[..., : grid[0], : grid[1]]


def flatten(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h*w, C)."""
    return maps.flatten(2).transpose(1, 2)


def unflatten(queries: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """(B, Q, C) -> maps (B, C, h, w), one per grid, views with the channels last in memory."""
    parts = torch.split(queries, [height * width for height, width in grids], dim=1)
    # (B, h*w, C) -> (B, h, w, C) -> (B, C, h, w), with the channels last in memory as before
    return [
        torch.unflatten(part, 1, grid).permute(0, 3, 1, 2) for part, grid in zip(parts, grids, strict=True)
    ]


def _conv_norm(before: int, after: int, *, stride: int = 1) -> tuple[nn.Module, nn.Module, nn.Module]:
    conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return conv, BatchNorm(after), nn.ReLU(inplace=True)


def _grid(maps: Tensor) -> Grid:
    return (int(maps.shape[-2]), int(maps.shape[-1]))

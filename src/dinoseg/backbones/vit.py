"""The ViT of DINOv2 and DINOv3, for prediction only.

Fewer and larger products than the published form: queries, keys and values are one layer, and so are the
two halves of a gated MLP; LayerScale is part of the layer before it. `published` makes these weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.architecture import DINOv3ViTSettings, ViTSettings
from dinoseg.backbones.packing import Linear, attend

Turn = tuple[Tensor, Tensor]
GRIDS_KEPT = 8  # images of a folder have few sizes


class ViT(nn.Module):
    """Blocks of attention and MLP over a class token, registers and one token per patch.

    Args:
        settings: the published architecture.
        depth: how many blocks; all of them if not given.
    """

    def __init__(self, settings: ViTSettings, *, depth: int | None = None) -> None:
        super().__init__()
        width, eps = settings.hidden_size, settings.layer_norm_eps
        self.patch_size = settings.patch
        self.special = 1 + settings.registers
        self.patch = nn.Conv2d(3, width, self.patch_size, self.patch_size)
        self.prefix = nn.Parameter(torch.empty(1, self.special, width))  # class token, registers
        self.positions = Positions(settings) if settings.learned_positions else None
        self.rotation = Rotation(settings) if isinstance(settings, DINOv3ViTSettings) else None
        self.blocks = nn.ModuleList(
            Block(settings) for _ in range(settings.num_hidden_layers if depth is None else depth)
        )
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, image: Tensor, layers: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps and class tokens after the final norm, of the tapped blocks.

        Args:
            image: (B, 3, H, W), sides multiples of the patch.
            layers: blocks, ascending, counted from 0.

        Returns:
            (B, C, h, w) and (B, C) for each of them.
        """
        patches = self.patch(image)  # (B, 3, H, W) -> (B, C, h, w)
        grid = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N, C)
        if self.positions is not None:
            tokens = tokens + self.positions(grid)
        rotation = None if self.rotation is None else self.rotation(grid, image)
        tokens = torch.cat(
            [self.prefix.expand(tokens.shape[0], -1, -1), tokens], dim=1
        )  # (B, special + N, C)
        maps, classes = [], []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, rotation)
            if index in layers:
                tapped = self.norm(tokens)
                # (B, special + N, C) -> (B, C, N) -> (B, C, h, w)
                maps.append(tapped[:, self.special :].transpose(1, 2).unflatten(2, grid))
                classes.append(tapped[:, 0])
        return maps, classes


class Block(nn.Module):
    """Attention, then MLP, each on normed tokens and added to what it was given."""

    def __init__(self, settings: ViTSettings) -> None:
        super().__init__()
        width, eps = settings.hidden_size, settings.layer_norm_eps
        self.norm1 = nn.LayerNorm(width, eps)
        self.attention = Attention(width, settings.num_attention_heads)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = MLP(settings)

    def forward(self, tokens: Tensor, rotation: Turn | None) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        tokens = tokens + self.attention(self.norm1(tokens), rotation)
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class Attention(nn.Module):
    """Every token asks all tokens, `heads` times in parallel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.project = Linear(width, width)

    def forward(self, tokens: Tensor, rotation: Turn | None) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        # (B, N, 3C) -> (B, N, 3, heads, d)
        split = torch.unflatten(self.qkv(tokens), -1, (3, self.heads, -1))
        asking = split[:, :, :2] if rotation is None else rotate(split[:, :, :2], rotation)
        query, key = asking.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        value = split[:, :, 2].transpose(1, 2)  # (B, N, heads, d) -> (B, heads, N, d)
        attended = attend(query, key, value)
        projected: Tensor = self.project(attended.transpose(1, 2).flatten(2))  # (B, heads, N, d) -> (B, N, C)
        return projected


class MLP(nn.Module):
    """Wider, bent, and back; in a gated one half of the hidden units is bent and multiplies the other."""

    def __init__(self, settings: ViTSettings) -> None:
        super().__init__()
        self.gated = settings.gated
        self.bend = F.silu if settings.activation == "silu" else F.gelu
        # GELU of all hidden units, the commonest, is part of the layer.
        self.bends_all = not self.gated and settings.activation == "gelu"
        units = settings.hidden * (2 if self.gated else 1)
        self.widen = Linear(settings.hidden_size, units, gelu=self.bends_all)
        self.narrow = Linear(settings.hidden, settings.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        hidden = self.widen(tokens)
        if self.gated:
            gate, hidden = hidden.chunk(2, dim=-1)
            hidden = self.bend(gate) * hidden
        elif not self.bends_all:
            hidden = self.bend(hidden)
        narrowed: Tensor = self.narrow(hidden)
        return narrowed


class Positions(nn.Module):
    """Learned positions of DINOv2, resized to the grid of the image (bicubic).

    Where the grid is coarser than the learned one, DINOv2 with registers smooths and DINOv2 does not.
    """

    def __init__(self, settings: ViTSettings) -> None:
        super().__init__()
        self.antialias = settings.antialias
        self.table = nn.Parameter(torch.empty(1, settings.hidden_size, settings.grid, settings.grid))

    def forward(self, grid: torch.Size) -> Tensor:
        """(1, N, C) for a grid of N = h * w cells."""
        table: Tensor = self.table
        if table.shape[-2:] != grid:
            table = F.interpolate(
                table.float(), size=tuple(grid), mode="bicubic", antialias=self.antialias
            ).to(table.dtype)
        return table.flatten(2).transpose(1, 2)  # (1, C, h, w) -> (1, N, C)


class Rotation(nn.Module):
    """Angles of DINOv3's rotary positions: half of a head's pairs turn with the row, half with the column."""

    def __init__(self, settings: DINOv3ViTSettings) -> None:
        super().__init__()
        self.special = 1 + settings.registers
        self.pairs = settings.hidden_size // settings.num_attention_heads // 2
        self.theta = settings.rope_theta
        self._known: dict[tuple[object, ...], Turn] = {}

    def forward(self, grid: torch.Size, image: Tensor) -> Turn:
        """Cosines and sines (special + N, 1, 1, pairs) in the type of `image`; special tokens do not turn.

        Those of the last grids are remembered.
        """
        if torch.compiler.is_compiling():  # what is remembered would be no numbers
            return self._compute(grid, image)
        key = (*grid, image.dtype, image.device)
        found = self._known.get(key)
        if found is None:
            found = self._compute(grid, image)
            if len(self._known) >= GRIDS_KEPT:
                self._known.clear()
            self._known[key] = found
        return found

    def _compute(self, grid: torch.Size, image: Tensor) -> Turn:
        rows, columns = ((torch.arange(side, device=image.device) + 0.5) / side * 2 - 1 for side in grid)
        centres = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)  # (N, 2)
        steps = torch.arange(self.pairs // 2, device=image.device) * (2 / self.pairs)
        angles = 2 * math.pi * centres[:, :, None] / self.theta**steps  # (N, 2, pairs / 2)
        angles = F.pad(angles.flatten(1), (0, 0, self.special, 0))[:, None, None]
        return angles.cos().to(image.dtype), angles.sin().to(image.dtype)


def rotate(heads: Tensor, rotation: Turn) -> Tensor:
    """Turn the pairs (i, i + d/2) of (B, N, 2, heads, d) by their angles; what is given is used up."""
    cos, sin = rotation
    half = heads.shape[-1] // 2
    first, second = heads[..., :half], heads[..., half:]
    if torch.compiler.is_compiling():  # recorded for another program, which changes nothing in place
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    turned = first * sin
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).add_(turned)
    return heads

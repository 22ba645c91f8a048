"""Exact rewrites of linear layers: same weights, same outputs and gradients to rounding, less work.

The plain forms live in the tests, as oracles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3_after_resize(maps: Tensor, weight: Tensor, size: tuple[int, int]) -> Tensor:
    """3x3 convolution (zero padding 1, no bias) of `maps` resized to `size`, without the large map.

    Bilinear resizing acts on the grid and a convolution tap on the channels, so they
    commute: each tap becomes a 1x1 convolution of the small map, and the tap's shift
    (zero padding included) goes into the resizing matrix of its axis.

    Args:
        maps: (B, C, h, w).
        weight: (D, C, 3, 3).
        size: (H, W) of the enlarged grid; half-pixel centres (align_corners=False).

    Returns:
        (B, D, H, W), with the channels last in memory.
    """
    batch, channels, height, width = maps.shape
    out_channels = weight.shape[0]
    rows = shifted_resize(height, size[0]).to(maps)  # (H, ky*h)
    columns = shifted_resize(width, size[1]).to(maps)  # (W, kx*w)
    taps = weight.permute(1, 2, 3, 0).reshape(channels, 9 * out_channels)
    # Channels stay last from here on, so that each product reads and writes its maps in place.
    small = torch.matmul(maps.permute(0, 2, 3, 1), taps)  # (B, h, w, ky*kx*D)
    small = small.view(batch, height, width, 3, 3, out_channels)
    small = small.permute(0, 3, 1, 4, 2, 5).reshape(batch * 3 * height, 3 * width, out_channels)
    wide = torch.bmm(columns.expand(batch * 3 * height, -1, -1), small)  # (B*ky*h, W, D)
    wide = wide.view(batch, 3 * height, size[1] * out_channels)
    tall = torch.bmm(rows.expand(batch, -1, -1), wide)  # (B, H, W*D)
    return tall.view(batch, *size, out_channels).permute(0, 3, 1, 2)


def shifted_resize(size: int, target: int) -> Tensor:
    """Matrix (target, 3 * size): bilinear resizing of one axis under the three taps of a 3-wide kernel.

    Column block t maps the input to the resized signal shifted by t - 1 cells, zero
    outside; so `matrix @ concat(tap 0, tap 1, tap 2)` is resize-then-convolve.
    """
    return torch.from_numpy(_shifted_resize(size, target))


@lru_cache(maxsize=64)
def _shifted_resize(size: int, target: int) -> NDArray[np.float32]:
    # An array, not a tensor: a tensor made in inference mode or while tracing must not be kept.
    centres = np.maximum((np.arange(target) + 0.5) * size / target - 0.5, 0)
    lower = np.floor(centres).astype(np.int64)
    upper = np.minimum(lower + 1, size - 1)
    share = centres - lower
    padded = np.zeros((target + 2, size))  # one zero row above and below
    rows = np.arange(1, target + 1)
    np.add.at(padded, (rows, lower), 1 - share)
    np.add.at(padded, (rows, upper), share)
    return np.concatenate([padded[tap : tap + target] for tap in range(3)], axis=1).astype(np.float32)


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, h, w) to a `size` no smaller, half-pixel centres, as two matrix products."""
    if maps.shape[-2:] == size:
        return maps
    height, width = int(maps.shape[-2]), int(maps.shape[-1])
    # the middle tap of three is the one without a shift
    rows = shifted_resize(height, size[0])[:, height : 2 * height].to(maps)
    columns = shifted_resize(width, size[1])[:, width : 2 * width].to(maps)
    return torch.matmul(rows, torch.matmul(maps, columns.t()))


def enlarge_corner_aligned(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, K, h, w) to `size` with aligned corners, as two matrix products.

    For a few channels this is several times faster on a CPU than torch's own resize, most of
    all backward.
    """
    rows = torch.from_numpy(_corner_aligned(maps.shape[-2], size[0])).to(maps)
    columns = torch.from_numpy(_corner_aligned(maps.shape[-1], size[1])).to(maps)
    return torch.matmul(rows, torch.matmul(maps, columns.t()))


@lru_cache(maxsize=64)
def _corner_aligned(size: int, target: int) -> NDArray[np.float32]:
    centres = np.arange(target) * ((size - 1) / (target - 1) if target > 1 else 0.0)
    lower = np.minimum(np.floor(centres).astype(np.int64), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    matrix = np.zeros((target, size))
    rows = np.arange(target)
    np.add.at(matrix, (rows, lower), 1 - (centres - lower))
    np.add.at(matrix, (rows, upper), centres - lower)
    return matrix.astype(np.float32)


def conv3x3_after_doubling(
    parts: Sequence[Tensor], doublings: Sequence[nn.ConvTranspose2d], weight: Tensor, bias: Tensor | None
) -> Tensor:
    """3x3 convolution (zero padding 1) of maps that 2x2 transposed convolutions of stride 2 enlarge first.

    Nothing lies between the two, so they are one transposed convolution with a kernel of 4x4:
    the fine maps are neither made nor concatenated, and half of the products are saved.

    Args:
        parts: maps (B, C_i, h, w).
        doublings: one for each part, of widths C_i -> M_i.
        weight: (K, M_1 + M_2 + ..., 3, 3).
        bias: (K,), or none.

    Returns:
        (B, K, 2h, 2w).
    """
    # One more channel that is 1 carries the biases, so that they too end where the zero padding begins.
    ones = parts[0].new_ones(1, 1, 1, 1).expand(parts[0].shape[0], 1, *parts[0].shape[2:])
    biases = torch.cat([cast(Tensor, each.bias) for each in doublings])
    outer = weight.flip(2, 3).transpose(0, 1)  # (M, K, 3, 3)
    inner = [each.weight for each in doublings]  # (C_i, M_i, 2, 2)
    # Both kernels slide over each other: (C, M, 2, 2) and (M, K, 3, 3) give (C, K, 4, 4).
    kernels = [
        F.conv_transpose2d(kernel, part)
        for kernel, part in zip(inner, torch.split(outer, [each.shape[1] for each in inner]), strict=True)
    ]
    kernels.append(F.conv_transpose2d(biases.view(1, -1, 1, 1).expand(-1, -1, 2, 2), outer))
    return F.conv_transpose2d(torch.cat([*parts, ones], dim=1), torch.cat(kernels), bias, stride=2, padding=1)


def compose_1x1_3x3(outer: Tensor, inner: Tensor) -> Tensor:
    """Weight of a 3x3 convolution followed by a 1x1: (K, M) and (M, C, 3, 3) give (K, C, 3, 3)."""
    return torch.mm(outer, inner.flatten(1)).view(-1, *inner.shape[1:])


def conv3x3_after_1x1(maps: Tensor, outer: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution (zero padding 1) of a biased 1x1 convolution of the maps, as one small product.

    The two weights are composed tap by tap, so the maps are never widened to M channels.
    Each tap's result is then shifted and added (`fold`). The bias joins before the shifts:
    what is shifted in from outside has none, just as the zero padding has none.

    Args:
        maps: (B, C, h, w).
        outer: (K, M, 3, 3), of the 3x3 convolution.
        weight: (M, C, 1, 1), of the 1x1 convolution.
        bias: (M,).

    Returns:
        (B, K, h, w).
    """
    # A shift by a tap moves the result the other way than the kernel looks, hence the flip.
    taps = outer.flatten(2).flip(2).transpose(1, 2).flatten(0, 1)  # (K, M, 3, 3) -> (K*9, M)
    composed = torch.mm(taps, weight.flatten(1))  # (K*9, C)
    offset = torch.mv(taps, bias).view(1, -1, 1)
    batch, _, height, width = maps.shape
    columns = torch.baddbmm(offset, composed.expand(batch, -1, -1), maps.flatten(2))  # (B, K*9, h*w)
    return F.fold(columns, (height, width), kernel_size=3, padding=1)

"""Turning cases into tensors: resizing and normalising, images one way and labels another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dinoseg.data.case import Image, LabelMap


def to_rgb(image: Image) -> Tensor:
    """The image as (3, H, W), float32; grey is repeated."""
    pixels = torch.from_numpy(np.ascontiguousarray(image.array))
    return pixels.expand(3, -1, -1) if pixels.shape[0] == 1 else pixels[:3]


def resize_image(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (C, H, W), averaging over the covered area when shrinking."""
    if pixels.shape[-2:] == size:
        return pixels
    resized = F.interpolate(
        pixels.unsqueeze(0), size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0]


def resize_label(label: LabelMap, size: tuple[int, int]) -> LabelMap:
    """Look up the nearest class id for every cell of the new grid (H, W)."""
    if label.size == size:
        return label
    rows = _nearest(label.size[0], size[0])
    columns = _nearest(label.size[1], size[1])
    return LabelMap(np.ascontiguousarray(label.array[..., rows[:, None], columns[None, :]]))


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(pixels - mean) / std over the channel axis of (..., 3, H, W)."""
    shape = (-1, 1, 1)
    offset = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device).view(shape)
    scale = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).view(shape)
    return (pixels - offset) / scale


def _nearest(size: int, target: int) -> NDArray[np.int64]:
    # The centre of each new cell, in old cells: the same convention as half-pixel bilinear resizing.
    centres = (np.arange(target) + 0.5) * size / target
    return np.minimum(centres.astype(np.int64), size - 1)

"""Drawn vessels, as in DRIVE: thin branching lines of 1 to 5 px, with features that cannot resolve them."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.features import Features

SIDE = 64  # px
WIDEST = 5.0  # px, at the root


def draw_vessels(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 64, 64), normalised, and labels (count, 64, 64) of 0 and 1."""
    random = np.random.default_rng(seed)
    pairs = [_draw_pair(random) for _ in range(count)]
    return torch.stack([image for image, _ in pairs]), torch.stack([label for _, label in pairs])


def look_coarsely(image: Tensor, *, strides: tuple[int, ...], channels: tuple[int, ...]) -> Features:
    """What a frozen backbone gives: random projections of each cell's pixels, with a bend."""
    generator = torch.Generator().manual_seed(17)
    height, width = (-(-side // max(strides)) * max(strides) for side in image.shape[-2:])
    padded = F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2]))
    levels = [
        F.conv2d(padded, torch.randn(number, 3, stride, stride, generator=generator) / stride, stride=stride)
        for stride, number in zip(strides, channels, strict=True)
    ]
    size = (int(image.shape[-2]), int(image.shape[-1]))
    return Features(tuple(F.gelu(level) for level in levels), strides, size, (height, width))


def _draw_pair(random: np.random.Generator) -> tuple[Tensor, Tensor]:
    mask = PillowImage.new("L", (SIDE, SIDE))
    for _ in range(2):
        root = random.uniform(0.2, 0.8, 2) * SIDE
        _grow(ImageDraw.Draw(mask), random, root, random.uniform(0, 2 * math.pi), WIDEST)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.5)), np.float32) / 255
    clouds = PillowImage.fromarray(random.normal(0, 0.4, (4, 4)).astype(np.float32))
    ground = np.asarray(clouds.resize((SIDE, SIDE), PillowImage.Resampling.BICUBIC))
    noise = random.normal(0, 0.1, (3, SIDE, SIDE)).astype(np.float32)
    image = (ground - soft)[None] + noise
    return torch.from_numpy(image), torch.from_numpy((np.asarray(mask) > 0).astype(np.int64))


def _grow(
    draw: ImageDraw.ImageDraw, random: np.random.Generator, place: np.ndarray, angle: float, width: float
) -> None:
    """A bending line that thins out, with branches."""
    while width >= 1 and (place >= 0).all() and (place < SIDE).all():
        angle += random.normal(0, 0.2)
        following = place + 3 * np.array([math.cos(angle), math.sin(angle)])
        draw.line([*place, *following], fill=255, width=round(width))
        if random.random() < 0.1:
            turn = random.choice([-1, 1]) * random.uniform(0.4, 1)
            _grow(draw, random, following, angle + turn, 0.6 * width)
        place, width = following, width - 0.2

"""The one adapter between backbones and methods: equal strides or a pyramid, whichever a method needs.

A ViT gives maps of equal stride, a ConvNeXt strides 4-8-16-32. Both functions leave
features that already have the wanted form untouched, bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.resizing import resize

PYRAMID = (4, 8, 16, 32)


def to_equal_strides(features: Features) -> Features:
    """Bring every level to the third level's grid (stride 16 of a ConvNeXt).

    Finer maps are averaged over the cells they cover, coarser ones enlarged bilinearly.
    """
    if len(set(features.strides)) == 1:
        return features
    target = features.levels[-2]
    size = (int(target.shape[-2]), int(target.shape[-1]))
    levels = tuple(
        F.adaptive_avg_pool2d(level, size) if level.shape[-1] > size[1] else resize(level, size)
        for level in features.levels
    )
    return replace(features, levels=levels, strides=(features.strides[-2],) * len(levels))


def to_pyramid(features: Features) -> Features:
    """Bring four maps of equal stride to strides 4, 8, 16, 32 (bilinear).

    The padded area need not be a multiple of 32: the coarser grids are rounded up.
    """
    if len(set(features.strides)) > 1:
        return features
    height, width = features.padded
    sizes = [(-(-height // stride), -(-width // stride)) for stride in PYRAMID]
    levels = tuple(resize(level, size) for level, size in zip(features.levels, sizes, strict=True))
    return replace(features, levels=levels, strides=PYRAMID)

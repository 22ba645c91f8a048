"""Plain formulations of the decoders: slow, literal, the oracles of the rewritten ones.

They run on the parameters of the real decoders, so that outputs and gradients compare one to one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.decoders import SegDINOv1, SegDINOv2


def plain_v1(decoder: SegDINOv1, features: Features) -> Tensor:
    maps = [
        mix(project(level))
        for project, mix, level in zip(decoder.project, decoder.mix, features.levels, strict=True)
    ]
    if decoder.enlarge is not None:
        maps[0] = decoder.enlarge(maps[0])
    size = maps[0].shape[-2:]
    maps[1:] = [F.interpolate(m, size=size, mode="bilinear", align_corners=True) for m in maps[1:]]
    logits = decoder.classify(torch.cat(maps, dim=1))
    full = F.interpolate(logits, size=features.padded, mode="bilinear", align_corners=True)
    return full[..., : features.size[0], : features.size[1]]


def plain_v2(decoder: SegDINOv2, features: Features) -> Tensor:
    scales = []
    for index, (level, scale) in enumerate(zip(features.levels, (8, 4, 2, 1), strict=True)):
        projected = decoder.tpa.project[index](level)
        size = (projected.shape[-2] * scale, projected.shape[-1] * scale)
        resized = F.interpolate(projected, size=size, mode="bilinear", align_corners=False)
        scales.append(decoder.sad.intra[index](decoder.tpa.mix[index](resized)))
    fused = decoder.sad.inter[3](scales[3])
    for index in (2, 1, 0):
        up = F.interpolate(fused, size=scales[index].shape[-2:], mode="bilinear", align_corners=False)
        fused = decoder.sad.inter[index](up + scales[index])
    logits = decoder.classify(fused)
    full = F.interpolate(logits, size=features.padded, mode="bilinear", align_corners=False)
    return full[..., : features.size[0], : features.size[1]]

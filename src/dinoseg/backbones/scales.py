"""`ScaledBackbone`: one backbone that looks at an image in several sizes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinoseg.backbones.backbone import Backbone, Precision
from dinoseg.backbones.features import Features
from dinoseg.errors import UsageError


class ScaledBackbone(nn.Module):
    """Features of several input sizes side by side, on the grid of the first.

    A network whose cells are of 16 pixels sees details in a large image and the surroundings in a small one.
    Each level holds the channels of all sizes, those of the image as it is first.

    What is not said here is as in the backbone.

    Attributes:
        backbone: the network that is asked once for each size.
        scales: sizes relative to the image; the first is 1.
        channels: width of each level, of all sizes together.
        digest: of the backbone's digest and the scales.
        identity: of the backbone's identity and the scales.
    """

    def __init__(self, backbone: Backbone, scales: Sequence[float]) -> None:
        """Wrap a backbone.

        Args:
            backbone: frozen.
            scales: different sizes relative to the image, each above 0; the first is 1.

        Raises:
            UsageError: the scales are not accepted.
        """
        super().__init__()
        self.scales = _check_scales(tuple(float(scale) for scale in scales))
        self.backbone = backbone
        self.name, self.layers = backbone.name, backbone.layers
        self.strides, self.stride = backbone.strides, backbone.stride
        self.mean, self.std = backbone.mean, backbone.std
        self.precision: Precision = backbone.precision
        self.weights_sha256 = backbone.weights_sha256
        self.license, self.source = backbone.license, backbone.source
        self.channels = tuple(len(self.scales) * width for width in backbone.channels)
        self.digest = _combine(backbone.digest, self.scales)
        self.identity = _combine(backbone.identity, self.scales)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Features:
        """Features of (B, 1 | 3 | 4, H, W), normalised, of any H and W from 1 up.

        Returns:
            Maps of the image at the first scale, each level with the channels of all scales.
        """
        first = self.backbone(image)
        others = [self._see(image, first, scale) for scale in self.scales[1:]]
        levels = tuple(
            torch.cat([level, *(_fit(other.levels[index], level) for other in others)], dim=1)
            for index, level in enumerate(first.levels)
        )
        return replace(first, levels=levels, cls=_join_classes([first, *others]))

    def _see(self, image: Tensor, first: Features, scale: float) -> Features:
        """Features of the padded image in another size: whole cells, so that maps cover the same area."""
        height, width = first.padded
        bottom, right = height - image.shape[-2], width - image.shape[-1]
        padded = F.pad(image, (0, right, 0, bottom), mode="replicate")
        size = [max(1, round(side * scale / self.stride)) * self.stride for side in (height, width)]
        return self.backbone(
            F.interpolate(padded, size=size, mode="bilinear", align_corners=False, antialias=True)
        )


def _fit(level: Tensor, target: Tensor) -> Tensor:
    """(B, C, h, w) resized to the grid of `target`."""
    if level.shape[-2:] == target.shape[-2:]:
        return level
    shrinks = level.shape[-2] > target.shape[-2]
    return F.interpolate(
        level, size=target.shape[-2:], mode="bilinear", align_corners=False, antialias=shrinks
    )


def _join_classes(found: Sequence[Features]) -> tuple[Tensor, ...] | None:
    tokens = [features.cls for features in found if features.cls is not None]
    return tuple(torch.cat(level, dim=1) for level in zip(*tokens, strict=True)) if tokens else None


def _check_scales(scales: tuple[float, ...]) -> tuple[float, ...]:
    if not scales or scales[0] != 1 or len(set(scales)) < len(scales) or min(scales) <= 0:
        raise UsageError(
            f"scales {list(scales)} are not accepted; give 1.0 first, then different ones above 0, "
            "for example [1.0, 0.5]"
        )
    return scales


def _combine(digest: str, scales: tuple[float, ...]) -> str:
    content = json.dumps({"backbone": digest, "scales": scales}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()

"""SegDINO, second version: token pyramid adaptation (TPA), then scale-aware decoding (SAD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.norms import BatchNorm, GroupNorm
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.blocks.rewrites import conv3x3_after_resize
from dinoseg.methods.blocks.strides import to_equal_strides
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.shapes import Found, Sizes

SCALES = (8, 4, 2, 1)  # enlargement of each layer's map, shallow to deep: strides 2, 4, 8, 16


class SegDINOv2(Decoder):
    """TPA + SAD.

    Args:
        channels: widths C_i of the four maps.
        outputs: K, channels of the logits.
        width: D; 128, 256 and 512 are published.
        norm: "group" (GroupNorm with min(32, D) groups) or "batch".

    Source:
        arXiv 2606.17972, sections on TPA and SAD.
    """

    released: ClassVar[Mapping[str, str]] = {
        **{f"tpa.project.{i}": f"decoder.token_projections.{i}" for i in range(4)},
        **{f"tpa.mix.{i}": f"decoder.tpa_branch_{i + 1}.conv" for i in range(4)},
        **{f"sad.intra.{i}": f"decoder.sad_intra_{i + 1}" for i in range(4)},
        **{f"sad.inter.{i}": f"decoder.sad_inter_{i + 1}" for i in range(4)},
        "classify": "decoder.out_conv",
    }

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        *,
        width: int = 256,
        norm: Literal["group", "batch"] = "group",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.tpa = TokenPyramidAdaptation(channels, width)
        self.sad = ScaleAwareDecoding(width, norm)
        self.classify = nn.Conv2d(width, outputs, 1)

    @classmethod
    def infer(cls, sizes: Sizes) -> Found:
        """Read widths and options from the shapes of a checkpoint's tensors, under our names."""
        norm = "batch" if "sad.intra.0.norm.running_mean" in sizes else "group"
        return Found(
            options={"width": sizes("classify.weight", 1), "norm": norm},
            outputs=sizes("classify.weight"),
            channels=tuple(sizes(f"tpa.project.{i}.weight", 1) for i in range(len(SCALES))),
            classifiers="classify.",
        )

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        return resize(self.head(features), features.padded)

    def head(self, features: Features) -> Tensor:
        """Logits before the last resize, (B, K, 8h, 8w)."""
        levels = to_equal_strides(features).levels
        if levels[0].device.type != "cpu" or self.norm == "batch" or torch.compiler.is_compiling():
            return self._head(levels)
        # Image by image, which is exact as GroupNorm never looks at two images: a batch's finest maps
        # exceed 32 MiB, which glibc hands back to the system when freed. Faulting them in anew at
        # every use took half of a training step.
        images = zip(*(torch.split(level, 1) for level in levels), strict=True)
        return torch.cat([self._head(image) for image in images])

    def _head(self, levels: Sequence[Tensor]) -> Tensor:
        # (B, D, H, W) with the channels last in memory: a product over the last axis keeps them
        # there on the way back too, where torch's convolution would not.
        fused = self.sad(self.tpa(levels)).permute(0, 2, 3, 1)
        logits = F.linear(fused, self.classify.weight.flatten(1), self.classify.bias)
        return logits.permute(0, 3, 1, 2)


class TokenPyramidAdaptation(nn.Module):
    """Four maps of stride 16 and width C_i become strides 2, 4, 8, 16 and width D."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1, bias=False) for c in channels)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, D, s*h, s*w) for s in 8, 4, 2, 1."""
        return [self._adapt(index, level) for index, level in enumerate(levels)]

    def _adapt(self, index: int, level: Tensor) -> Tensor:
        scale, mix = SCALES[index], cast(nn.Conv2d, self.mix[index])
        projected: Tensor = self.project[index](level)
        if scale == 1:
            adapted: Tensor = mix(projected)
            return adapted.contiguous(memory_format=torch.channels_last)
        height, width = projected.shape[-2:]
        return conv3x3_after_resize(projected, mix.weight, (height * scale, width * scale))


class ScaleAwareDecoding(nn.Module):
    """One block on every scale, then one after each sum from coarse to fine."""

    def __init__(self, width: int, norm: Literal["group", "batch"]) -> None:
        super().__init__()
        self.intra = nn.ModuleList(ScaleBlock(width, norm) for _ in SCALES)
        self.inter = nn.ModuleList(ScaleBlock(width, norm) for _ in SCALES)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Fuse four maps (B, D, ., .) from fine to coarse into one of the finest size."""
        scales = [block(level) for block, level in zip(self.intra, pyramid, strict=True)]
        fused: Tensor = self.inter[-1](scales[-1])
        for block, scale in zip(reversed(self.inter[:-1]), reversed(scales[:-1]), strict=True):
            size = (int(scale.shape[-2]), int(scale.shape[-1]))
            fused = block(resize(fused, size) + scale)
        return fused


class ScaleBlock(nn.Module):
    """x + gamma * GELU(norm(pointwise(depthwise(x)))); gamma starts at 0, so the block starts as identity."""

    def __init__(self, width: int, norm: Literal["group", "batch"]) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm: nn.Module = GroupNorm(min(32, width), width) if norm == "group" else BatchNorm(width)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, h, w)."""
        mixed = self.pointwise(self.depthwise(maps))
        return torch.addcmul(maps, self.gamma, F.gelu(self.norm(mixed)))

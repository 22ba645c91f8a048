"""DINO-AugSeg: CG-Fuse at three scales. Its other half, WT-Aug, is in `wt_aug`, for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.blocks.strides import to_pyramid
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.dino_augseg.cg_fuse import CGFuse, ConvNorm
from dinoseg.methods.shapes import Found, Sizes

POOLS = (4, 2, 2)  # cells per key at f1, f2, f3


def _fuse_names(level: int) -> dict[str, str]:
    """Our prefix -> the released program's, which counts from 2 (f1) to 4 (f3)."""
    new, old = f"cg_fuse.{level}", f"decoder.{{}}{level + 2}"
    attention = old.format("att")
    return {
        f"{new}.up": old.format("up"),
        f"{new}.attention.norm_query": f"{attention}.norm_q",
        f"{new}.attention.norm_key": f"{attention}.norm_kv",
        f"{new}.attention.query": f"{attention}.q_proj",
        f"{new}.attention.key": f"{attention}.k_proj",
        f"{new}.attention.value": f"{attention}.v_proj",
        f"{new}.attention.project": f"{attention}.out_proj",
        **{f"{new}.mix.{i}": f"{old.format('conv')}.{i}.net" for i in range(2)},
    }


class DinoAugSeg(Decoder):
    """f4 -> CG-Fuse with f3, f2, f1 -> one more doubling -> logits.

    The stages of a ConvNeXt are used as they are. A ViT's four maps, all of width C, become
    a pyramid of widths C/4, C/2, C, C by 1x1 convolutions before they are resized.

    Args:
        channels: widths C_i of the four maps.
        outputs: K, channels of the logits.
        final_width: channels at stride 2.
        heads: of the attention; a head needs an even number of channels.

    Raises:
        UsageError: the heads do not fit a width.

    Source:
        arXiv 2601.08078, section on CG-Fuse. The released program makes the attention matrix;
        keys beyond a multiple of the pooling size are dropped there and averaged here.
    """

    released: ClassVar[Mapping[str, str]] = {
        **_fuse_names(0),
        **_fuse_names(1),
        **_fuse_names(2),
        "up": "decoder.up1",
        **{f"mix.{i}": f"decoder.conv1.{i}.net" for i in range(2)},
        "classify": "out_conv",
    }
    released_backbone: ClassVar[str] = "encoder."
    # constants of the wavelet transform
    released_unused: ClassVar[Sequence[str]] = (r"decoder\.wavelet_mask\.i?dwt\.[gh][01]_(row|col)",)

    def __init__(
        self, channels: Sequence[int], outputs: int, *, final_width: int = 64, heads: int = 4
    ) -> None:
        super().__init__()
        widths = _pyramid_widths(channels)
        self.align = nn.ModuleList(
            nn.Identity() if before == after else nn.Conv2d(before, after, 1)
            for before, after in zip(channels, widths, strict=True)
        )
        self.cg_fuse = nn.ModuleList(
            CGFuse(deeper, width, heads=heads, pool=pool)
            for width, deeper, pool in zip(widths[:-1], widths[1:], POOLS, strict=True)
        )
        self.up = nn.ConvTranspose2d(widths[0], final_width, 2, 2)
        self.mix = nn.Sequential(ConvNorm(final_width, final_width), ConvNorm(final_width, final_width))
        self.classify = nn.Conv2d(final_width, outputs, 1)

    @classmethod
    def infer(cls, sizes: Sizes) -> Found:
        """Read widths from the tensors; heads cut the rows of square matrices, which shows in no shape."""
        widths = tuple(sizes(f"cg_fuse.{i}.attention.norm_query.weight") for i in range(len(POOLS)))
        return Found(
            options={"final_width": sizes("up.weight", 1)},
            outputs=sizes("classify.weight"),
            channels=(*widths, sizes(f"cg_fuse.{len(POOLS) - 1}.up.weight")),
            classifiers="classify.",
            hidden=("heads",),
        )

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        # The channels stay last in memory all the way: the attention has them there anyway.
        aligned = tuple(
            align(level.contiguous(memory_format=torch.channels_last))
            for align, level in zip(self.align, features.levels, strict=True)
        )
        levels = to_pyramid(replace(features, levels=aligned)).levels
        fused = levels[-1]
        for fuse, level in zip(reversed(self.cg_fuse), reversed(levels[:-1]), strict=True):
            fused = fuse(fused, level)
        first, second = self.mix
        mixed = second(cast(ConvNorm, first).after_doubling(fused, self.up))
        return resize(self.classify(mixed), features.padded)


def _pyramid_widths(channels: Sequence[int]) -> tuple[int, ...]:
    """The widths themselves where they differ; C/4, C/2, C, C for four equal ones."""
    if len(set(channels)) > 1:
        return tuple(channels)
    width = channels[0]
    return (width // 4, width // 2, width, width)

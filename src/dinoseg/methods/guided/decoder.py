"""Guided: a linear probe of frozen features, sharpened by what the image itself shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.norms import InstanceNorm
from dinoseg.methods.blocks.rewrites import compose_1x1_3x3, conv3x3_after_1x1, enlarge
from dinoseg.methods.blocks.strides import to_equal_strides
from dinoseg.methods.decoder import Decoder

ENLARGE = 4  # cells per side of the probe's answer in each cell of the features
SLOPE = 0.01  # of LeakyReLU
START = 0.01  # deviation of the image's first weights: what it adds is next to nothing


class Guided(Decoder):
    """Probe + answer of the context + gamma · image branch.

    A linear probe answers on the grid of the features, the shallowest level 4x4 cells for each. A few blocks
    on the same grid look further and are not linear; their own answer starts at zero. The image branch
    carries what they found down to stride 2, where edges and thin lines are. Its last layer starts next to
    zero: training starts as the probe, and the rest adds what it lacks.

    Args:
        channels: widths C_i of the maps, of any number.
        outputs: K, channels of the logits.
        width: channels of the context, and of the probe's factors.
        blocks: residual blocks of the context.
        drop: share of the context's channels that are dropped in training.
        reach: of volumes, how many slices on either side are read.
        image_widths: channels of the image branch at strides 2, 4 and 8.
        image_share: share of a training batch that the image branch sees; the rest is judged without it,
            which saves time, but thin lines are learned worse. In prediction it sees every image.

    Source:
        ours; docs/guided.md has what was tried.
    """

    levels: ClassVar[int | None] = None
    needs_image: ClassVar[bool] = True

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        *,
        width: int = 128,
        blocks: int = 2,
        drop: float = 0.3,
        reach: int = 1,
        image_widths: Sequence[int] = (8, 16, 32),
        image_share: float = 1.0,
    ) -> None:
        super().__init__()
        self.depth = Depth(channels, reach)
        self.probe = Probe(channels, outputs, width)
        self.context = Context(sum(channels), width, blocks, drop)
        self.answer = Answer(width, outputs)
        self.image = ImageBranch(width, image_widths)
        self.gamma = nn.Parameter(torch.randn(outputs, image_widths[0], 1, 1) * START)
        self.image_share = image_share

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        levels = to_equal_strides(self.depth(features)).levels
        context = self.context(torch.cat(levels, dim=1))  # (B, C_1 + C_2 + ..., h, w) -> (B, D, h, w)
        logits = self.probe(levels) + self.answer(context)  # (B, K, 4h, 4w)
        pixels = _pad(cast(Tensor, image), features.padded)
        return enlarge(self._sharpen(logits, pixels, context), features.padded)

    def _sharpen(self, logits: Tensor, image: Tensor, context: Tensor) -> Tensor:
        """(B, K, 4h, 4w) to (B, K, H / 2, W / 2) with the image branch, in training of some of a batch."""
        if not self.training or self.image_share == 1:
            added = F.conv2d(self.image(image, context), self.gamma)
            return enlarge(logits, _size(added)) + added
        # Batches have no order: the first are as good as any.
        seen = math.ceil(self.image_share * len(image))
        added = F.conv2d(self.image(image[:seen], context[:seen]), self.gamma)
        logits = enlarge(logits, _size(added))
        return torch.cat([logits[:seen] + added, logits[seen:]])


class Depth(nn.Module):
    """Adds what the slices around show, channel by channel; nothing at the start, and nothing to an image."""

    def __init__(self, channels: Sequence[int], reach: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.zeros(2 * reach, width) for width in channels if reach)

    def forward(self, features: Features) -> Features:
        """Levels (B, C_i, h_i, w_i) of each slice and of those around it, as one."""
        if not self.weights:
            return features
        if features.around is None:  # an image: a gradient for every weight nevertheless, of zero
            added = [0.0 * weight.sum() for weight in self.weights]
        else:
            pairs = zip(features.around, self.weights, strict=True)
            # (B, 2r, C, h, w) -> (B, C, h, w)
            added = [(maps * weight[..., None, None]).sum(dim=1) for maps, weight in pairs]
        levels = tuple(level + more for level, more in zip(features.levels, added, strict=True))
        return replace(features, levels=levels, around=None)


class Probe(nn.Module):
    """Linear, in factors: of each level a 1x1 and a 3x3 convolution to D channels, and a classifier.

    The product of the factors is all that is applied; descent on them prefers few directions, where one
    matrix would fit noise. Only the shallowest level tells the 4x4 cells of a token apart.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in channels)
        answers = [outputs * ENLARGE**2, *[outputs] * (len(channels) - 1)]
        self.classify = nn.ModuleList(nn.Conv2d(width, each, 1, bias=False) for each in answers)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (B, C_i, h, w) -> (B, K, 4h, 4w)."""
        first, *rest = [self._classify(index, level) for index, level in enumerate(levels)]
        logits = F.pixel_shuffle(first, ENLARGE) + self.bias
        return logits + enlarge(torch.stack(rest).sum(dim=0), _size(logits)) if rest else logits

    def _classify(self, index: int, level: Tensor) -> Tensor:
        """The three layers of one level as one 3x3 convolution."""
        narrow, mix, classify = (
            cast(nn.Conv2d, layers[index]) for layers in (self.narrow, self.mix, self.classify)
        )
        outer = compose_1x1_3x3(classify.weight.flatten(1), mix.weight)
        return conv3x3_after_1x1(level, outer, narrow.weight, cast(Tensor, narrow.bias))


class Answer(nn.Module):
    """What the context says by itself, 4x4 cells for each token; starts at zero."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, outputs * ENLARGE**2, 3, padding=1)
        nn.init.zeros_(self.convolution.weight)
        nn.init.zeros_(cast(Tensor, self.convolution.bias))

    def forward(self, context: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, K, 4h, 4w)."""
        return F.pixel_shuffle(self.convolution(F.gelu(context)), ENLARGE)


class Context(nn.Module):
    """Narrow, then residual blocks that look 5 cells wide; whole channels are dropped in training."""

    def __init__(self, channels: int, width: int, blocks: int, drop: float) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, width, 1)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(ContextBlock(width) for _ in range(blocks))
        self.drop = nn.Dropout2d(drop)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D, h, w)."""
        maps = _normalise(self.narrow(tokens), self.norm)
        for block in self.blocks:
            maps = block(maps)
        dropped: Tensor = self.drop(maps)
        return dropped


class ContextBlock(nn.Module):
    """x + gamma · pointwise(GELU(pointwise(LN(depthwise5x5(x))))); gamma starts small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)
        self.gamma = nn.Parameter(torch.full((width, 1, 1), 0.1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, h, w)."""
        mixed = _normalise(self.depthwise(maps), self.norm)
        return torch.addcmul(maps, self.gamma, self.narrow(F.gelu(self.widen(mixed))))


class ImageBranch(nn.Module):
    """The image at strides 2, 4 and 8; the context joins at 8 and is carried down to 2."""

    def __init__(self, context: int, widths: Sequence[int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = Norm3x3(3, fine, stride=2, kernel=5)
        self.middle = Norm3x3(fine, middle, stride=2)
        self.coarse = Norm3x3(middle, coarse, stride=2)
        self.join = nn.Conv2d(context, coarse, 1)
        self.mix_coarse = Norm3x3(2 * coarse, coarse)
        self.lower_coarse = nn.Conv2d(coarse, middle, 1)
        self.mix_middle = Norm3x3(2 * middle, middle)
        self.lower_middle = nn.Conv2d(middle, fine, 1)
        self.mix_fine = Norm3x3(2 * fine, fine)

    def forward(self, image: Tensor, context: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, D, h, w) -> (B, W_1, H / 2, W / 2)."""
        fine = self.stem(image)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        maps = self.mix_coarse(_beside(coarse, self.join(context)))
        maps = self.mix_middle(_beside(middle, self.lower_coarse(maps)))
        mixed: Tensor = self.mix_fine(_beside(fine, self.lower_middle(maps)))
        return mixed


class Norm3x3(nn.Sequential):
    """Convolution, instance norm, LeakyReLU: what a camera's light and colours do to a map is taken off."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            InstanceNorm(outputs),
            nn.LeakyReLU(SLOPE, inplace=True),
        )


def _beside(maps: Tensor, coarser: Tensor) -> Tensor:
    return torch.cat([maps, enlarge(coarser, _size(maps))], dim=1)


def _normalise(maps: Tensor, norm: nn.Module) -> Tensor:
    """Layer norm over the channels of (B, C, h, w)."""
    normalised: Tensor = norm(maps.permute(0, 2, 3, 1))
    return normalised.permute(0, 3, 1, 2)


def _pad(image: Tensor, size: tuple[int, int]) -> Tensor:
    bottom, right = size[0] - image.shape[-2], size[1] - image.shape[-1]
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def _size(maps: Tensor) -> tuple[int, int]:
    return int(maps.shape[-2]), int(maps.shape[-1])

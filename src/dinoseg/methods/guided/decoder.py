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

FIRST_WIDTH, LAST_WIDTH = 0.75, 5  # of the first factors, relative to that of the second ones
ENLARGE = 4  # cells per side of the probe's answer in each cell of the features
SLOPE = 0.01  # of LeakyReLU
START = 0.01  # deviation of the image's first weights: what it adds is next to nothing


class Guided(Decoder):
    """Probe + gamma · image branch.

    A linear probe answers on the grid of the features, the shallowest level 4x4 cells for each. The image
    branch carries the features down to stride 2, where edges and thin lines are. Its last layer starts next
    to zero: training starts as the probe, and the image adds what it lacks.

    Args:
        channels: widths C_i of the maps, of any number.
        outputs: K, channels of the logits.
        width: channels of the probe's factors.
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
        reach: int = 1,
        image_widths: Sequence[int] = (8, 16, 32),
        image_share: float = 1.0,
    ) -> None:
        super().__init__()
        self.depth = Depth(channels, reach)
        self.probe = Probe(channels, outputs, width)
        self.image = ImageBranch(sum(channels), image_widths)
        self.gamma = nn.Parameter(torch.randn(outputs, image_widths[0], 1, 1) * START)
        self.image_share = image_share

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        levels = to_equal_strides(self.depth(features)).levels
        tokens = torch.cat(levels, dim=1)  # (B, C_1 + C_2 + ..., h, w)
        pixels = _pad(cast(Tensor, image), features.padded)
        return enlarge(self._sharpen(self.probe(levels), pixels, tokens), features.padded)

    def _sharpen(self, logits: Tensor, image: Tensor, tokens: Tensor) -> Tensor:
        """(B, K, 4h, 4w) to (B, K, H / 2, W / 2) with the image branch, in training of some of a batch."""
        if not self.training or self.image_share == 1:
            added = F.conv2d(self.image(image, tokens), self.gamma)
            return enlarge(logits, _size(added)) + added
        # Batches have no order: the first are as good as any.
        seen = math.ceil(self.image_share * len(image))
        added = F.conv2d(self.image(image[:seen], tokens[:seen]), self.gamma)
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
    """Linear, in factors: of each level a 1x1 and a 3x3 convolution, and a classifier of all levels.

    The product of the factors is all that is applied; descent on them prefers few directions, where one
    matrix would fit noise. The deeper a level, the wider its first factor, and the faster it learns. Only
    the shallowest level tells the 4x4 cells of a token apart.
    """

    def __init__(self, channels: Sequence[int], outputs: int, width: int) -> None:
        super().__init__()
        widths = [int(width * min(FIRST_WIDTH * 2**index, LAST_WIDTH)) for index in range(len(channels))]
        self.narrow = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.mix = nn.ModuleList(nn.Conv2d(each, width, 3, padding=1, bias=False) for each in widths)
        self.enlarge = nn.ConvTranspose2d(width, width, ENLARGE, ENLARGE, bias=False)
        self.classify = nn.Conv2d(width * len(channels), outputs, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels (B, C_i, h, w) -> (B, K, 4h, 4w)."""
        shallow, *deeper = self.classify.weight.flatten(1).chunk(len(levels), dim=1)  # (K, D) each
        classifiers = [self._of_cells(shallow), *deeper]
        first, *rest = [
            self._classify(index, level, classifier)
            for index, (level, classifier) in enumerate(zip(levels, classifiers, strict=True))
        ]
        logits = F.pixel_shuffle(first, ENLARGE) + cast(Tensor, self.classify.bias).view(-1, 1, 1)
        return logits + enlarge(torch.stack(rest).sum(dim=0), _size(logits)) if rest else logits

    def _of_cells(self, classifier: Tensor) -> Tensor:
        """The classifier after the transposed convolution as one matrix (K*16, D), for pixel shuffle."""
        weight = self.enlarge.weight.flatten(2)  # (D, D, 4*4)
        composed = torch.bmm(classifier.expand(weight.shape[0], -1, -1), weight)  # (D, K, 16)
        return composed.permute(1, 2, 0).flatten(0, 1)

    def _classify(self, index: int, level: Tensor, classifier: Tensor) -> Tensor:
        """The layers of one level as one 3x3 convolution."""
        narrow, mix = cast(nn.Conv2d, self.narrow[index]), cast(nn.Conv2d, self.mix[index])
        outer = compose_1x1_3x3(classifier, mix.weight)
        return conv3x3_after_1x1(level, outer, narrow.weight, cast(Tensor, narrow.bias))


class ImageBranch(nn.Module):
    """The image at strides 2, 4 and 8; the features join at 8 and are carried down to 2."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = Norm3x3(3, fine, stride=2, kernel=5)
        self.middle = Norm3x3(fine, middle, stride=2)
        self.coarse = Norm3x3(middle, coarse, stride=2)
        self.join = nn.Conv2d(channels, coarse, 1)
        self.mix_coarse = Norm3x3(2 * coarse, coarse)
        self.lower_coarse = nn.Conv2d(coarse, middle, 1)
        self.mix_middle = Norm3x3(2 * middle, middle)
        self.lower_middle = nn.Conv2d(middle, fine, 1)
        self.mix_fine = Norm3x3(2 * fine, fine)

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, C, h, w) -> (B, W_1, H / 2, W / 2)."""
        fine = self.stem(image)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        maps = self.mix_coarse(_beside(coarse, self.join(tokens)))
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


def _pad(image: Tensor, size: tuple[int, int]) -> Tensor:
    bottom, right = size[0] - image.shape[-2], size[1] - image.shape[-1]
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def _size(maps: Tensor) -> tuple[int, int]:
    return int(maps.shape[-2]), int(maps.shape[-1])

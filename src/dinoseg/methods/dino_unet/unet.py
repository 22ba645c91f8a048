"""U-Net decoder of Dino U-Net, and the enlargement of its skips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.methods.blocks.norms import InstanceNorm
from dinoseg.methods.blocks.rewrites import conv3x3_after_doubling

SLOPE = 0.01  # of LeakyReLU
DOUBLINGS = 2  # strides 4, 8, 16, 32 become 1, 2, 4, 8


class Enlarge(nn.Module):
    """One 2x2 transposed convolution, applied again with the same weights for every doubling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.twice = nn.ConvTranspose2d(width, width, 2, 2)

    def forward(self, maps: Tensor, doublings: int = DOUBLINGS) -> Tensor:
        """(B, F, h, w) -> (B, F, 4h, 4w), or less with fewer doublings."""
        for _ in range(doublings):
            maps = self.twice(maps)
        return maps


class UNetDecoder(nn.Module):
    """From the coarsest skip up: enlarge, concatenate the next finer skip, two convolutions.

    The last doubling of a skip, the one of the coarser maps and the first convolution are linear and
    follow each other: they are applied as one (`conv3x3_after_doubling`).

    Args:
        widths: channels of the skips, from fine to coarse; each half the size of the one before.
        outputs: K, channels of the logits.
        deep_supervision: logits of every stage, not only of the finest.
    """

    def __init__(self, widths: Sequence[int], outputs: int, *, deep_supervision: bool) -> None:
        super().__init__()
        coarse, fine = list(reversed(widths))[:-1], list(reversed(widths))[1:]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 2, 2) for before, after in zip(coarse, fine, strict=True)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNorm(2 * width, width), ConvNorm(width, width)) for width in fine
        )
        # by stage; a classifier that nobody trains would only look like a part of the model
        self.classify = nn.ModuleDict(
            {
                str(stage): nn.Conv2d(width, outputs, 1)
                for stage, width in enumerate(fine)
                if deep_supervision or stage == len(fine) - 1
            }
        )

    def forward(
        self, halves: Sequence[Tensor], enlarge: Sequence[nn.ConvTranspose2d], coarsest: Tensor
    ) -> list[Tensor]:
        """Logits, fine to coarse, the first (B, K, H, W).

        Args:
            halves: the skips before their last doubling, (B, F_s, H/2^(s+1), W/2^(s+1)), fine to coarse.
            enlarge: their last doublings.
            coarsest: (B, F, H/8, W/8).
        """
        maps, logits = coarsest, []
        for stage, (half, last) in enumerate(zip(reversed(halves), reversed(enlarge), strict=True)):
            first, second = cast(nn.Sequential, self.stages[stage])
            doublings = [cast(nn.ConvTranspose2d, self.up[stage]), last]
            maps = second(cast(ConvNorm, first).after_doubling([maps, half], doublings))
            if str(stage) in self.classify:
                logits.append(self.classify[str(stage)](maps))
        return logits[::-1]


class ConvNorm(nn.Module):
    """3x3 convolution, instance norm, LeakyReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.norm = InstanceNorm(after)
        nn.init.kaiming_normal_(self.conv.weight, a=SLOPE)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, F, h, w)."""
        return self._finish(self.conv(maps))

    def after_doubling(self, parts: Sequence[Tensor], doublings: Sequence[nn.ConvTranspose2d]) -> Tensor:
        """Maps (B, C_i, h, w) -> (B, F, 2h, 2w): of what the transposed convolutions make of the parts."""
        return self._finish(conv3x3_after_doubling(parts, doublings, self.conv.weight, self.conv.bias))

    def _finish(self, maps: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(maps), SLOPE, inplace=True)

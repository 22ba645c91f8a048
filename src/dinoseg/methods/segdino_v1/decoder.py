"""SegDINO, first version: four token maps, two convolutions each, one classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.blocks.rewrites import compose_1x1_3x3, conv3x3_after_1x1, enlarge_corner_aligned
from dinoseg.methods.blocks.strides import to_equal_strides
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.shapes import Found, Sizes

LEVELS = 4
ENLARGE = 4  # cells per side that the first layer's map is enlarged by


class SegDINOv1(Decoder):
    """The light decoder of SegDINO.

    Per layer a 1x1 and a 3x3 convolution; the first map is enlarged x4 by a transposed
    convolution and the others are resized to it; all are concatenated and classified.
    Nothing in it is non-linear, so the weights are composed and one small convolution
    per layer is applied: the same function and the same gradients at a thirtieth of the work.

    Args:
        channels: widths C_i of the four maps.
        outputs: K, channels of the logits.
        features: width after the 3x3 convolutions.
        widths: width after each layer's 1x1 convolution.
        upsample: the x4 step of the released program; the paper's own head has none.

    Source:
        arXiv 2509.00833, section 3; layers counted as in the released program.
    """

    released: ClassVar[Mapping[str, str]] = {
        **{f"project.{i}": f"head.projects.{i}" for i in range(LEVELS)},
        **{f"mix.{i}": f"head.scratch.layer{i + 1}_rn" for i in range(LEVELS)},
        "enlarge": "head.proj",
        "classify": "head.scratch.output_conv",
    }

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        *,
        features: int = 128,
        widths: Sequence[int] = (96, 192, 384, 768),
        upsample: bool = True,
    ) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.mix = nn.ModuleList(nn.Conv2d(w, features, 3, padding=1, bias=False) for w in widths)
        self.enlarge = (
            nn.ConvTranspose2d(features, features, ENLARGE, ENLARGE, bias=False) if upsample else None
        )
        self.classify = nn.Conv2d(features * len(widths), outputs, 1)

    @classmethod
    def infer(cls, sizes: Sizes) -> Found:
        """Read widths and options from the shapes of a checkpoint's tensors, under our names."""
        options = {
            "features": sizes("mix.0.weight"),
            "widths": tuple(sizes(f"project.{i}.weight") for i in range(LEVELS)),
            "upsample": "enlarge.weight" in sizes,
        }
        plain = "no head.proj.weight: read as the paper's own head, which does not enlarge"
        return Found(
            options=options,
            outputs=sizes("classify.weight"),
            channels=tuple(sizes(f"project.{i}.weight", 1) for i in range(LEVELS)),
            classifiers="classify.",
            notes=() if options["upsample"] else (plain,),
        )

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        return enlarge_corner_aligned(self.head(features), features.padded)

    def head(self, features: Features) -> Tensor:
        """Logits before the last resize: (B, K, 4h, 4w), or (B, K, h, w) without the x4 step."""
        levels = to_equal_strides(features).levels
        classifiers = self.classify.weight.flatten(1).chunk(len(levels), dim=1)  # (K, features) each
        rest = torch.stack(
            [self._collapsed(index, levels[index], classifiers[index]) for index in range(1, len(levels))]
        ).sum(dim=0)
        first = classifiers[0]
        if self.enlarge is not None:
            first = self._enlarging_classifier(first)
        shallow = self._collapsed(0, levels[0], first)
        if self.enlarge is not None:
            shallow = F.pixel_shuffle(shallow, ENLARGE)  # (B, K*16, h, w) -> (B, K, 4h, 4w)
        size = (int(shallow.shape[-2]), int(shallow.shape[-1]))
        bias = cast(Tensor, self.classify.bias).view(1, -1, 1, 1)
        return shallow + resize(rest, size, align_corners=True) + bias

    def _enlarging_classifier(self, classifier: Tensor) -> Tensor:
        """Classifier after the transposed convolution as one matrix (K*16, features), for pixel shuffle."""
        weight = cast(nn.ConvTranspose2d, self.enlarge).weight.flatten(2)  # (M, features, 4*4)
        # One product for each input channel reads the weight as it lies; einsum would copy it first.
        composed = torch.bmm(classifier.expand(weight.shape[0], -1, -1), weight)  # (M, K, 16)
        return composed.permute(1, 2, 0).flatten(0, 1)

    def _collapsed(self, index: int, level: Tensor, classifier: Tensor) -> Tensor:
        """1x1, 3x3 and classifier of one layer as one 3x3 convolution."""
        project, mix = cast(nn.Conv2d, self.project[index]), cast(nn.Conv2d, self.mix[index])
        outer = compose_1x1_3x3(classifier, mix.weight)
        return conv3x3_after_1x1(level, outer, project.weight, cast(Tensor, project.bias))

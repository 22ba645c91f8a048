"""Dino U-Net: an adapter on the image and the frozen maps, FAPM, a U-Net decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.errors import UsageError
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.dino_unet.adapter import EXTRA_EXTRACTORS, Adapter
from dinoseg.methods.dino_unet.deformable import POINTS
from dinoseg.methods.dino_unet.fapm import FAPM
from dinoseg.methods.dino_unet.unet import DOUBLINGS, Enlarge, UNetDecoder
from dinoseg.methods.shapes import Found, Sizes

COARSEST = 32  # pixels per cell of the coarsest map; the image is padded to a multiple
LEVELS = 4
FINEST = 2  # stage of the U-Net that makes the finest logits


def _released_names() -> dict[str, str]:
    """Our prefix -> the released program's."""
    old, new = "encoder.dinov3_adapter", "adapter"
    names = {f"{new}.level_embed": f"{old}.level_embed", f"{new}.up": f"{old}.up"}
    names |= {f"{new}.spm.stem": f"{old}.spm.stem"}
    names |= {f"{new}.spm.down.{i}": f"{old}.spm.conv{i + 2}" for i in range(LEVELS - 1)}
    names |= {f"{new}.spm.project.{i}": f"{old}.spm.fc{i + 1}" for i in range(LEVELS)}
    names |= {f"{new}.norms.{i}": f"{old}.norm{i + 1}" for i in range(LEVELS)}
    for i in range(LEVELS):
        names |= _extractor_names(f"{new}.interactions.{i}.extractors.0", f"{old}.interactions.{i}.extractor")
    for i in range(EXTRA_EXTRACTORS):
        last = LEVELS - 1
        extra = f"{old}.interactions.{last}.extra_extractors.{i}"
        names |= _extractor_names(f"{new}.interactions.{last}.extractors.{i + 1}", extra)
    names["fapm.shared"] = "encoder.fapm.shared_basis"
    for i in range(LEVELS):
        names |= _projection_names(i) | {f"enlarge.{i}.twice": f"encoder.ups.{i}.up2"}
    for i in range(LEVELS - 1):
        names |= {f"unet.up.{i}": f"decoder.transpconvs.{i}", f"unet.classify.{i}": f"decoder.seg_layers.{i}"}
        names |= {f"unet.stages.{i}.{j}": f"decoder.stages.{i}.convs.{j}" for j in range(2)}
    return names


def _extractor_names(new: str, old: str) -> dict[str, str]:
    return {
        f"{new}.query_norm": f"{old}.query_norm",
        f"{new}.feature_norm": f"{old}.feat_norm",
        f"{new}.attention.offsets": f"{old}.attn.sampling_offsets",
        f"{new}.attention.weights": f"{old}.attn.attention_weights",
        f"{new}.attention.value": f"{old}.attn.value_proj",
        f"{new}.attention.project": f"{old}.attn.output_proj",
        f"{new}.ffn_norm": f"{old}.ffn_norm",
        f"{new}.ffn.reduce": f"{old}.ffn.fc1",
        f"{new}.ffn.depthwise": f"{old}.ffn.dwconv.dwconv",
        f"{new}.ffn.expand": f"{old}.ffn.fc2",
    }


def _projection_names(scale: int) -> dict[str, str]:
    new, old = f"fapm.scales.{scale}", "encoder.fapm"
    refine = f"{old}.refinement_blocks.{scale}"
    return {
        f"{new}.specific": f"{old}.specific_bases.{scale}",
        f"{new}.film": f"{old}.film_generators.{scale}",
        f"{new}.project": f"{refine}.0",
        f"{new}.norm": f"{refine}.1",
        f"{new}.separable.depthwise": f"{refine}.3.depthwise",
        f"{new}.separable.pointwise": f"{refine}.3.pointwise",
        f"{new}.separable.norm": f"{refine}.3.bn",
        f"{new}.mix": f"{refine}.4",
        f"{new}.se.squeeze": f"{refine}.5.fc.0",
        f"{new}.se.excite": f"{refine}.5.fc.2",
        f"{new}.shortcut": f"{old}.shortcut_projections.{scale}",
    }


class DinoUNet(Decoder):
    """Adapter -> FAPM -> enlargement -> U-Net.

    The image branch works at any size: the image is padded by repetition to a multiple of
    32, the frozen maps are read where they are. Maps of different widths (ConvNeXt) are
    brought to the third one's by 1x1 convolutions, which the paper's ViTs do not need.

    Args:
        channels: widths C_i of the four maps.
        outputs: K, channels of the logits.
        features_per_stage: widths of the U-Net's stages, from fine to coarse.
        fapm_rank: channels between the two projections of FAPM.
        spm_width: width of the spatial prior's stem.
        heads: of the deformable attention; divides C / 2.
        drop_path: probability of dropping a feed-forward branch of the adapter, in training.
        deep_supervision: train the coarser stages' logits too, see `decode_all`.

    Raises:
        UsageError: the heads do not fit the width.

    Source:
        arXiv 2508.20909, figure 2. The released program needs a compiled operator, and sizes
        that are multiples of 32.
    """

    needs_image: ClassVar[bool] = True
    released: ClassVar[Mapping[str, str]] = _released_names()
    released_backbone: ClassVar[str] = "encoder.dinov3_adapter.backbone."
    # its decoder holds the encoder, and its blocks hold their layers a second time, in a list
    released_twins: ClassVar[Mapping[str, str]] = {
        r"decoder\.(encoder\..+)": r"\1",
        r"(decoder\.stages\.\d\.convs\.\d)\.all_modules\.0\.(\w+)": r"\1.conv.\2",
        r"(decoder\.stages\.\d\.convs\.\d)\.all_modules\.1\.(\w+)": r"\1.norm.\2",
    }

    def __init__(
        self,
        channels: Sequence[int],
        outputs: int,
        *,
        features_per_stage: Sequence[int] = (32, 64, 128, 256),
        fapm_rank: int = 256,
        spm_width: int = 64,
        heads: int = 16,
        drop_path: float = 0.3,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        width = channels[2]
        self.align = nn.ModuleList(
            nn.Identity() if each == width else nn.Conv2d(each, width, 1) for each in channels
        )
        self.adapter = Adapter(width, spm_width=spm_width, heads=heads, drop_path=drop_path)
        self.fapm = FAPM(width, features_per_stage, rank=fapm_rank)
        self.enlarge = nn.ModuleList(Enlarge(each) for each in features_per_stage)
        self.unet = UNetDecoder(features_per_stage, outputs, deep_supervision=deep_supervision)
        self.deep_supervision = deep_supervision

    @classmethod
    def infer(cls, sizes: Sizes) -> Found:
        """Read widths and options from the shapes of a checkpoint's tensors, under our names."""
        heads = sizes("adapter.interactions.0.extractors.0.attention.weights.weight") // POINTS
        coarser = range(FINEST)
        options = {
            "features_per_stage": tuple(sizes(f"fapm.scales.{i}.project.weight") for i in range(LEVELS)),
            "fapm_rank": sizes("fapm.shared.weight"),
            "spm_width": sizes("adapter.spm.stem.0.weight"),
            "heads": heads,
            "deep_supervision": any(f"unet.classify.{stage}.weight" in sizes for stage in coarser),
        }
        outputs = sizes(f"unet.classify.{FINEST}.weight")
        return Found(options, outputs, (sizes("adapter.level_embed", 1),) * LEVELS, "unet.classify.")

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        height, width = features.padded
        return self._logits(features, image)[0][..., :height, :width]

    def decode_all(self, features: Features, image: Tensor | None) -> list[Tensor]:
        """Logits of every stage, for deep supervision; only the first without it.

        Returns:
            (B, K, H, W), then (B, K, H/2, W/2) and (B, K, H/4, W/4), rounded up; cell (i, j)
            of the n-th covers the pixels from (i, j) * 2**n on.
        """
        height, width = features.size
        logits = self._logits(features, image)
        return [each[..., : -(-height // 2**n), : -(-width // 2**n)] for n, each in enumerate(logits)]

    def project(self, features: Features, image: Tensor | None) -> list[Tensor]:
        """What the U-Net starts from, yet to be enlarged: maps (B, F_s, ., .) of strides 4, 8, 16, 32."""
        projected: list[Tensor] = self.fapm(self.adapt(features, image))
        return projected

    def _logits(self, features: Features, image: Tensor | None) -> list[Tensor]:
        *levels, coarsest = self.project(features, image)
        *enlarge, last = [cast(Enlarge, each) for each in self.enlarge]
        halves = [each(level, DOUBLINGS - 1) for each, level in zip(enlarge, levels, strict=True)]
        logits: list[Tensor] = self.unet(halves, [each.twice for each in enlarge], last(coarsest))
        return logits

    def adapt(self, features: Features, image: Tensor | None) -> list[Tensor]:
        """The adapter's maps (B, C, ., .) of strides 4, 8, 16, 32."""
        levels = tuple(align(level) for align, level in zip(self.align, features.levels, strict=True))
        adapted: list[Tensor] = self.adapter(replace(features, levels=levels), _pad(image, features))
        return adapted


def _pad(image: Tensor | None, features: Features) -> Tensor:
    """The image, its last row and column repeated up to the next multiple of 32 beyond the features' area."""
    if image is None or tuple(image.shape[-2:]) != features.size:
        given = "no image" if image is None else f"an image of {tuple(image.shape[-2:])} px"
        raise UsageError(
            f"dino-unet needs the image that the features came from, {features.size} px; given {given}"
        )
    bottom, right = (
        -(-padded // COARSEST) * COARSEST - size
        for padded, size in zip(features.padded, features.size, strict=True)
    )
    padded = F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image
    # Everything after it keeps the channels last: the queries of the adapter have them there anyway.
    return padded.contiguous(memory_format=torch.channels_last)

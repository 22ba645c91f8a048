"""Decoders: `Decoder(features, image) -> logits`, one file per published method."""

from __future__ import annotations

from dinoseg.decoders.base import Decoder
from dinoseg.decoders.dino_augseg import DinoAugSeg
from dinoseg.decoders.dino_unet import DinoUNet
from dinoseg.decoders.linear import Linear
from dinoseg.decoders.segdino_v1 import SegDINOv1
from dinoseg.decoders.segdino_v2 import SegDINOv2
from dinoseg.decoders.wt_aug import wt_aug

__all__ = ["Decoder", "DinoAugSeg", "DinoUNet", "Linear", "SegDINOv1", "SegDINOv2", "wt_aug"]

"""Decoders: `Decoder(features, image) -> logits`, one file per published method."""

from __future__ import annotations

from dinoseg.decoders.base import Decoder
from dinoseg.decoders.linear import Linear
from dinoseg.decoders.segdino_v1 import SegDINOv1
from dinoseg.decoders.segdino_v2 import SegDINOv2

__all__ = ["Decoder", "Linear", "SegDINOv1", "SegDINOv2"]

"""Small models whose answer is known: every pixel is judged by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dinoseg.backbones import create_backbone
from dinoseg.backbones.features import Features
from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.methods import decoder_settings
from dinoseg.methods.decoder import Decoder
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings

BINARY = {0: "background", 1: "lesion"}
THREE = {0: "background", 1: "lesion", 2: "instrument"}


class Glass(nn.Module):
    """A backbone that passes pixels on as they are and counts the images it saw."""

    name, digest, license, source = "glass", "d" * 64, "none", "test"
    identity, precision = digest, "float32"
    channels, strides, stride = (3,), (1,), 1
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, pixels: Tensor) -> Features:
        self.batches.append(len(pixels))
        size = (pixels.shape[-2], pixels.shape[-1])
        return Features((pixels,), (1,), size, size)


class Threshold(Decoder):
    """Class k where the mean of the channels is in the k-th equal part of 0..1."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.scale = nn.Parameter(torch.tensor(50.0))

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        grey = features.levels[0].mean(dim=1, keepdim=True)
        if self.outputs == 1:
            return (grey - 0.5) * self.scale
        centres = (torch.arange(self.outputs) + 0.5) / self.outputs
        return -((grey - centres.view(1, -1, 1, 1)) ** 2) * self.scale


class Slope(Threshold):
    """Reads the pixels themselves and leans to the left: not the same after a flip."""

    needs_image = True

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        ramp = torch.linspace(4, -4, image.shape[-1])
        return super().decode(features, image) + ramp


def make_glass(
    classes: dict[int, str] = BINARY, *, size: int = 32, decoder: type[Threshold] = Threshold, **volumes
) -> Segmenter:
    """`volumes`: intensity, context and plane of a model for volumes."""
    settings = ModelSettings(
        backbone=BackboneSettings(name="glass"),
        decoder=decoder_settings("linear"),
        preprocessing=PreprocessingSettings(size=size, **volumes),
        classes=classes,
    )
    return Segmenter(settings, Glass(), decoder(settings.outputs))


def make_vit(
    method: str = "linear",
    classes: dict[int, str] = THREE,
    *,
    size: int = 64,
    preprocessing: PreprocessingSettings | None = None,
    **options,
) -> Segmenter:
    """A real, untrained ViT with a decoder of fresh weights."""
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings(method, **options),
        preprocessing=preprocessing or PreprocessingSettings(size=size),
        classes=classes,
    )
    torch.manual_seed(0)
    return Segmenter(settings, create_backbone("untrained-vitt16"))

"""`Segmenter`: a frozen backbone, a decoder and the preprocessing between them; saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from dinoseg import __version__
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.features import Features
from dinoseg.config import PostprocessingSettings, to_yaml
from dinoseg.data.case import Image
from dinoseg.data.tensors.transforms import normalise, resize_image, to_rgb
from dinoseg.methods import METHODS, find_method
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.decoder import Decoder
from dinoseg.model.folder import FORMAT
from dinoseg.model.settings import ModelSettings
from dinoseg.outputs import atomic_path, write_json, write_text


class Segmenter(nn.Module):
    """A segmentation model: what is trained, saved, predicted with and exported.

    Attributes:
        settings: everything that defines the model besides its weights.
        backbone: frozen.
        decoder: the only part with trainable parameters.
        classes: id -> name, 0 is background.
        size: (S, S), what images are resized to.
        postprocessing: what predict and evaluate do to masks; None for nothing.
    """

    def __init__(self, settings: ModelSettings, backbone: Backbone, decoder: Decoder | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.decoder = decoder or create_decoder(settings.decoder, backbone.channels, settings.outputs)
        self.postprocessing: PostprocessingSettings | None = None

    @property
    def classes(self) -> dict[int, str]:
        """Class id -> name; 0 is background."""
        return self.settings.classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that images are resized to."""
        return (self.settings.preprocessing.size, self.settings.preprocessing.size)

    @property
    def device(self) -> torch.device:
        """Where the decoder's parameters are."""
        return next(self.decoder.parameters()).device

    def prepare(self, image: Image, size: tuple[int, int] | None = None) -> Tensor:
        """Pixels (3, *size) for the backbone: resized (default: the model's size) and normalised.

        Args:
            image: intensities in 0..1.
            size: (H, W) to resize to; the image's own size skips resizing.
        """
        return self.normalise(resize_image(to_rgb(image), size or self.size))

    def normalise(self, pixels: Tensor) -> Tensor:
        """(…, 3, H, W) in 0..1 to the mean and deviation that the backbone was trained with."""
        return normalise(pixels, self.backbone.mean, self.backbone.std)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) to logits (B, K, H, W) of the same size."""
        return self.decode(self.backbone(pixels), pixels)

    def decode(self, features: Features, pixels: Tensor | None = None) -> Tensor:
        """Logits (B, K, H, W) from features that are there already."""
        logits: Tensor = self.decoder(features, pixels if self.decoder.needs_image else None)
        return logits

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Class probabilities (B, classes, *size), background first, from logits of any size."""
        logits = resize(logits.float(), size)
        if logits.shape[1] > 1:
            return logits.softmax(dim=1)
        foreground = logits.sigmoid()
        return torch.cat([1 - foreground, foreground], dim=1)

    def mask(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Class ids (B, *size), uint8: the most probable class of every pixel of the native grid."""
        logits = resize(logits.float(), size)
        # Ten times as fast as argmax on a processor; of equal ones both take the first.
        ids = logits.max(dim=1).indices if logits.shape[1] > 1 else logits[:, 0] > 0
        return ids.to(torch.uint8)

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write decoder.safetensors, config.json and README.md; the backbone stays where it is.

        Raises:
            OutputError: a file exists (without `overwrite`) or cannot be written.
        """
        state = {key: value.detach().cpu().contiguous() for key, value in self.decoder.state_dict().items()}
        with atomic_path(folder / "decoder.safetensors", overwrite=overwrite) as temporary:
            # One entry: several have no order, and equal models should be equal files. Written as bytes,
            # because safetensors would hide that the disk is full.
            temporary.write_bytes(save(state, metadata={"format": "pt"}))
        write_json(folder / "config.json", self._describe(), overwrite=overwrite)
        write_text(folder / "README.md", self._model_card(), overwrite=overwrite)

    def _describe(self) -> dict[str, Any]:
        backbone, method = self.backbone, self.settings.decoder.method
        # who brings the method, for the error where it is missing
        origin = {} if method in METHODS.ours else {"method_package": METHODS.find_package(method)}
        return {
            "format": FORMAT,
            "dinoseg": __version__,
            "settings": self.settings.model_dump(mode="json"),
            **origin,
            "postprocessing": None if self.postprocessing is None else self.postprocessing.model_dump(),
            "backbone": {
                "name": backbone.name,
                "digest": backbone.identity,  # the same in either precision
                "precision": backbone.precision,
                "mean": list(backbone.mean),
                "std": list(backbone.std),
                "license": backbone.license,
                "source": backbone.source,
            },
        }

    def _model_card(self) -> str:
        method = find_method(self.settings.decoder.method)
        trainable = sum(parameter.numel() for parameter in self.decoder.parameters())
        names = ", ".join(f"{index} {name}" for index, name in self.classes.items())
        return (
            f"# {self.settings.decoder.method} on {self.backbone.name}\n\n"
            f"{method.title} ({method.source}), {trainable:,} trained parameters, made with dinoseg "
            f"{__version__}. Classes: {names}. Input: {self.size[0]}×{self.size[1]} px.\n\n"
            f"This folder holds the decoder only. The backbone is frozen and not included; its licence is "
            f"`{self.backbone.license}`. Not a medical device.\n\n"
            "```yaml\n" + to_yaml(self.settings) + "```\n"
        )

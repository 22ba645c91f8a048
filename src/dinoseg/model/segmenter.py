"""`Segmenter`: a frozen backbone, a decoder and the preprocessing between them; saving."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from dinoseg import __version__
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.features import Features
from dinoseg.config import ConfidenceSettings, PostprocessingSettings, to_yaml
from dinoseg.data.case import Image
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.data.tensors.transforms import prepare_pixels
from dinoseg.methods import METHODS, find_method
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.decoder import Decoder
from dinoseg.model.folder import FORMAT, TRAINING_CASES
from dinoseg.model.network import input_size, reach_of, stride_of
from dinoseg.model.settings import ModelSettings
from dinoseg.model.voting import Voting
from dinoseg.outputs import atomic_path, write_json, write_text


class Segmenter(Voting):
    """A segmentation model: what is trained, saved, predicted with and exported.

    Attributes:
        settings: everything that defines the model besides its weights.
        backbone: frozen.
        decoder: the only part with trainable parameters.
        classes: id -> name, 0 is background.
        size: (S, S), what images are resized to, or a window's where it was trained on windows.
        postprocessing: what predict and evaluate do to masks; None for nothing.
        seen: what the training cases show; None for models that nobody told.
        calibration: what its probabilities are worth; None where that was not fitted.
        trained_on: what the training cases are known again by; None for models that nobody told.
        run: the run folder that it was loaded from, or written to; None for neither.
    """

    def __init__(self, settings: ModelSettings, backbone: Backbone, decoder: Decoder | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = backbone
        self.decoder = decoder or create_decoder(settings.decoder, backbone.channels, settings.outputs)
        self.postprocessing: PostprocessingSettings | None = None
        self.seen: Profile | None = None
        self.calibration: ConfidenceSettings | None = None
        self.trained_on: TrainingCases | None = None
        self.run: Path | None = None

    @property
    def classes(self) -> dict[int, str]:
        """Class id -> name; 0 is background."""
        return self.settings.classes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that images are resized to, or of the windows that are trained on."""
        return input_size(self.settings)

    @property
    def reach(self) -> int:
        """How many steps on either side the model reads; 0 for images."""
        return reach_of(self.settings)

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted of R, G and B in 0..1."""
        return tuple(self.backbone.mean)

    @property
    def std(self) -> tuple[float, ...]:
        """What R, G and B are then divided by."""
        return tuple(self.backbone.std)

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
        return torch.from_numpy(prepare_pixels(image, size or self.size, mean=self.mean, std=self.std))

    def normalise(self, pixels: Tensor) -> Tensor:
        """(…, 3, H, W) in 0..1 to the mean and deviation that the backbone was trained with."""
        offset, scale = (pixels.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return (pixels - offset) / scale

    def forward(self, pixels: Tensor, spacing: float | None = None) -> Tensor:
        """Normalised pixels (B, 3, H, W) to logits (B, K, H, W) of the same size.

        Where `reach` is above 0, the B images are slices that follow each other, `spacing` mm apart.
        """
        return self.decide(self.look(pixels), pixels, spacing)[0]

    def look(self, pixels: Tensor) -> Features:
        """What the backbone makes of normalised pixels."""
        features: Features = self.backbone(pixels)
        return features

    def decide(self, features: Features, pixels: Tensor, spacing: float | None = None) -> list[Tensor]:
        """Logits of the one decoder, which may read the slices around each among the B."""
        if self.reach:
            features = features.with_neighbours(self.reach, stride_of(self.settings, spacing))
        return [self.decode(features, pixels)]

    def decode(self, features: Features, pixels: Tensor | None = None) -> Tensor:
        """Logits (B, K, H, W) from features that are there already."""
        logits: Tensor = self.decoder(features, pixels if self.decoder.needs_image else None)
        return logits

    @torch.inference_mode()
    def logits(self, pixels: NDArray[np.float32], *, spacing: float | None = None) -> NDArray[np.float32]:
        """Logits of arrays, as `Network` asks for them; leaves the model in eval mode."""
        self.eval()
        with self.explaining(len(pixels)):
            given = torch.from_numpy(pixels).to(self.device)
            found: NDArray[np.float32] = self(given, spacing).float().cpu().numpy()
            return found

    def describe(self) -> dict[str, Any]:
        """What identifies the model: method, backbone, precision, size, digests of both halves' weights."""
        return {
            "method": self.settings.decoder.method,
            "backbone": self.backbone.name,
            "backbone_digest": self.backbone.digest,
            "precision": self.backbone.precision,
            "decoder_digest": self._digest_decoder(),
            "size": list(self.size),
        }

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write decoder.safetensors, config.json, README.md and, of a trained model, training_cases.json.

        The backbone stays where it is.

        Raises:
            OutputError: a file exists (without `overwrite`) or cannot be written.
        """
        folder = Path(folder)
        state = {key: value.detach().cpu().contiguous() for key, value in self.decoder.state_dict().items()}
        with atomic_path(folder / "decoder.safetensors", overwrite=overwrite) as temporary:
            # One entry: several have no order, and equal models should be equal files. Written as bytes,
            # because safetensors would hide that the disk is full.
            temporary.write_bytes(save(state, metadata={"format": "pt"}))
        write_json(folder / "config.json", self._describe_folder(), overwrite=overwrite)
        if self.trained_on is not None:
            write_json(folder / TRAINING_CASES, self.trained_on.describe(), overwrite=overwrite)
        write_text(folder / "README.md", self._model_card(), overwrite=overwrite)

    def _describe_folder(self) -> dict[str, Any]:
        backbone, method = self.backbone, self.settings.decoder.method
        # who brings the method, for the error where it is missing
        origin = {} if method in METHODS.ours else {"method_package": METHODS.find_package(method)}
        return {
            "format": FORMAT,
            "dinoseg": __version__,
            "settings": self.settings.model_dump(mode="json"),
            **origin,
            "postprocessing": None if self.postprocessing is None else self.postprocessing.model_dump(),
            "seen": None if self.seen is None else asdict(self.seen),
            "confidence": None if self.calibration is None else self.calibration.model_dump(),
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
            f"{__version__}. Classes: {names}. Input: {self._word_input()}.\n\n"
            f"This folder holds the decoder only. The backbone is frozen and not included; its licence is "
            f"`{self.backbone.license}`. Not a medical device.\n\n"
            "```yaml\n" + to_yaml(self.settings) + "```\n"
        )

    def _word_input(self) -> str:
        size, planes = f"{self.size[0]}×{self.size[1]} px", self.settings.preprocessing.planes
        if len(planes) > 1:
            return f"{', '.join(planes)} slices of {size}, whose answers are averaged"
        return size if self.settings.preprocessing.window is None else f"windows of {size}, not resized"

    def _digest_decoder(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.decoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(value.detach().cpu().numpy()).tobytes())
        return digest.hexdigest()

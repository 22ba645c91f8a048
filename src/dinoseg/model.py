"""`Segmenter`: a frozen backbone, a decoder and the preprocessing between them; METHODS; save and load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dinoseg import __version__
from dinoseg.backbones import create_backbone
from dinoseg.backbones.extractors import Backbone, Precision
from dinoseg.backbones.features import Features
from dinoseg.config import (
    DecoderSettings,
    ModelSettings,
    PostprocessingSettings,
    from_yaml,
    override,
    to_yaml,
)
from dinoseg.data.case import Image
from dinoseg.data.transforms import normalise, resize_image, to_rgb
from dinoseg.decoders import Decoder, DinoAugSeg, DinoUNet, Linear, SegDINOv1, SegDINOv2
from dinoseg.decoders.base import resize
from dinoseg.errors import ConfigError, RunError
from dinoseg.outputs import atomic_path, write_json, write_text
from dinoseg.progress import Progress, Silent

FORMAT = 1  # of the model folder


@dataclass(frozen=True)
class Method:
    """A published method: its decoder and where it comes from."""

    decoder: type[Decoder]
    title: str
    source: str


METHODS: Mapping[str, Method] = {
    "segdino-v1": Method(SegDINOv1, "SegDINO, first version: light linear decoder", "arXiv 2509.00833"),
    "segdino-v2": Method(SegDINOv2, "SegDINO, second version: TPA + SAD", "arXiv 2606.17972"),
    "dino-unet": Method(DinoUNet, "Dino U-Net: adapter + FAPM + U-Net", "arXiv 2508.20909"),
    "dino-augseg": Method(DinoAugSeg, "DINO-AugSeg: CG-Fuse", "arXiv 2601.08078"),
    "linear": Method(Linear, "baseline: one 1x1 convolution", "ours"),
}


def create_decoder(settings: DecoderSettings, channels: Sequence[int], outputs: int) -> Decoder:
    """The decoder of a method with fresh weights from the global torch seed."""
    decoder = METHODS[settings.method].decoder
    if decoder.levels is not None and len(channels) != decoder.levels:
        raise ConfigError(
            f"{settings.method} reads {decoder.levels} layers of the backbone, given {len(channels)}; "
            f"name {decoder.levels} with --set model.backbone.layers=[...]"
        )
    options = settings.model_dump(exclude={"method"})
    return decoder(channels, outputs, **options)


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
        backbone = self.backbone
        return {
            "format": FORMAT,
            "dinoseg": __version__,
            "settings": self.settings.model_dump(mode="json"),
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
        method = METHODS[self.settings.decoder.method]
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


def load(
    run: Path | str,
    *,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str = "cpu",
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> Segmenter:
    """Load the model of a run folder (or of a `model/` folder itself), ready to predict.

    Args:
        run: the run folder.
        backbone: another place of the same backbone, where the recorded one is gone.
        accept_license: accept the licence of the backbone's weights if they must be fetched.
        device: a torch device such as "cpu" or "cuda:0".
        precision: what the backbone computes in; what it was trained in if not given. The masks of
            the two hardly differ.
        progress: told where the weights come from.

    Raises:
        RunError: the folder is no run, is damaged, or its decoder was trained on another backbone.
        WeightsError: the backbone's weights are not there.
    """
    folder = _model_folder(Path(run))
    described = _read_description(folder / "config.json")
    settings = described.settings
    if precision is not None:
        settings = override(settings, {"backbone.precision": precision})
    frozen = create_backbone(
        str(backbone) if backbone else locate_backbone(settings.backbone.name, folder.parent),
        layers=settings.backbone.layers,
        accept_license=accept_license,
        precision=settings.backbone.precision,
        progress=progress or Silent(),
    )
    if frozen.identity != described.identity:
        raise RunError(
            f"{folder} was trained on a {settings.backbone.name} with digest {described.identity[:12]}, "
            f"given one with {frozen.identity[:12]}; name the original weights with --backbone"
        )
    if (list(frozen.mean), list(frozen.std)) != described.normalisation:
        raise RunError(
            f"{folder} was trained with mean and deviation {described.normalisation}, the backbone given has "
            f"{list(frozen.mean)}, {list(frozen.std)}; restore its preprocessor_config.json"
        )
    model = Segmenter(settings, frozen)
    load_decoder(model.decoder, folder / "decoder.safetensors")
    model.postprocessing = described.postprocessing
    return model.to(device).eval()


def store_postprocessing(run: Path | str, settings: PostprocessingSettings | None) -> None:
    """Keep the steps that were chosen for the masks of a run's model, in its config.json.

    Raises:
        RunError: the folder is no run, or its config.json is damaged.
        OutputError: config.json cannot be written.
    """
    path = _model_folder(Path(run)) / "config.json"
    _read_description(path)
    described = json.loads(path.read_text(encoding="utf-8"))
    described["postprocessing"] = None if settings is None else settings.model_dump()
    write_json(path, described, overwrite=True)


def locate_backbone(name: str, run: Path) -> str:
    """Path of a backbone that is recorded relative to its run folder (`./…`), else the name itself."""
    return str(run / name) if name.startswith("./") else name


def load_decoder(decoder: Decoder, path: Path) -> None:
    """Load all of a decoder's tensors, or raise `RunError` naming what does not fit."""
    try:
        state = load_file(path)
        decoder.load_state_dict(state)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}; train again or restore the file") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{path} does not fit the decoder of its config.json: {reason}") from error


def _model_folder(run: Path) -> Path:
    for folder in (run / "model", run):
        if (folder / "config.json").is_file() and (folder / "decoder.safetensors").is_file():
            return folder
    raise RunError(
        f"{run} holds no model (model/config.json); make one with `dinoseg train DATA --out {run}`"
    )


@dataclass(frozen=True)
class _Description:
    """What config.json of a model folder says: settings, and which backbone they belong to."""

    settings: ModelSettings
    identity: str
    normalisation: tuple[list[float], list[float]]
    postprocessing: PostprocessingSettings | None


def _read_description(path: Path) -> _Description:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        version = described["format"]
        if version != FORMAT:
            raise RunError(
                f"{path} has format {version}, this dinoseg reads {FORMAT}; "
                "upgrade with pip install -U dinoseg"
            )
        settings = from_yaml(ModelSettings, json.dumps(described["settings"], ensure_ascii=False))
        backbone = described["backbone"]
        # Models of older versions do not say: they computed in float32.
        settings = override(settings, {"backbone.precision": backbone.get("precision", "float32")})
        cleaning = described.get("postprocessing")
        return _Description(
            settings=settings,
            identity=str(backbone["digest"]),
            normalisation=(backbone["mean"], backbone["std"]),
            postprocessing=None if cleaning is None else _read_postprocessing(cleaning, settings),
        )
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error


def _read_postprocessing(described: Any, settings: ModelSettings) -> PostprocessingSettings:
    found = from_yaml(PostprocessingSettings, json.dumps(described))
    if foreign := sorted(set(found.classes) - set(settings.classes)):
        raise ConfigError(f"postprocessing of the classes {foreign}, which the model does not have")
    return found

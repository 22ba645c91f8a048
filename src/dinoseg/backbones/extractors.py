"""`Extractor`: the backbone that runs a network of ours on padded images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinoseg.backbones.backbone import PRECISIONS as PRECISIONS
from dinoseg.backbones.backbone import Backbone as Backbone
from dinoseg.backbones.backbone import Precision as Precision
from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.features import Features
from dinoseg.backbones.networks import build_network
from dinoseg.backbones.published import PublishedWeights
from dinoseg.errors import UsageError

Self = TypeVar("Self", bound="Extractor")

#: Part of a digest where the same weights gave other features before: a ConvNeXt's at sizes that are no
#: multiple of 32. Run folders know the identity, which stays as it was.
_GEOMETRY = {"dinov3_convnext": 2}


class Extractor(nn.Module):
    """A frozen network that turns normalised images into feature maps.

    Every tapped ViT block goes through the network's final LayerNorm; a ConvNeXt gives its raw stages.
    It is always in eval mode, has no trainable weight, and keeps no graph; what it returns can be the
    input of a decoder that learns.

    Attributes:
        name: catalog name, or name of the local folder.
        spec: what is known of it.
        layers: tapped blocks or stages, counted from 0.
        channels: width of each level.
        strides: pixels of the padded image per cell of each level.
        stride: the image is padded to a multiple of this, and to no less than `spec.smallest`.
        mean: mean to subtract from RGB in [0, 1] before `forward`.
        std: deviation to divide by.
        precision: `float32`, or `bfloat16` inside the network (features are float32 either way).
        digest: sha256 of weights, settings, layers and precision, whatever the name: equal
            digests give equal features.
        identity: the same without the precision: what a trained decoder belongs to.
        weights_sha256: sha256 of the weight file.
        license: licence of the weights.
        source: where the weights came from.
    """

    def __init__(
        self,
        weights: PublishedWeights,
        spec: BackboneSpec,
        *,
        layers: tuple[int, ...] | None = None,
        precision: Precision = "float32",
        source: str,
        weights_sha256: str | None = None,
    ) -> None:
        """Build the network as far as the deepest tap.

        Args:
            weights: of all blocks.
            spec: its description.
            layers: taps, ascending, counted from 0; those of `spec` if not given.
            precision: what the network computes in.
            source: where the weights came from.
            weights_sha256: sha256 of their file; that of the tensors if there is no file.

        Raises:
            UsageError: the layers or the precision are not accepted.
        """
        super().__init__()
        self.spec = spec
        self.name = spec.name
        self.layers = _check_layers(spec.layers if layers is None else tuple(layers), spec)
        self.channels = tuple(_level(spec, spec.channels, layer) for layer in self.layers)
        self.strides = tuple(_level(spec, spec.strides, layer) for layer in self.layers)
        self.stride = spec.stride
        self.mean = spec.mean
        self.std = spec.std
        self.precision = _check_precision(precision)
        self.license = spec.license
        self.source = source
        # Without the mask token, which no image reaches: timm's copies of the same weights leave it out.
        used = {key: value for key, value in weights.tensors.items() if not key.endswith("mask_token")}
        state, settings = hash_tensors(used), weights.settings.result_settings
        self.weights_sha256 = weights_sha256 or state
        self.identity = _combine(state, settings, self.layers, "float32")
        self.digest = _combine(state, settings, self.layers, precision, geometry=_GEOMETRY.get(spec.family))
        self._dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.network = build_network(weights, depth=self.layers[-1] + 1, dtype=self._dtype)
        self.eval()

    def train(self: Self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever the modules around it do."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Features:
        """Extract features of a batch of images.

        Args:
            image: (B, 1 | 3 | 4, H, W), normalised with `mean` and `std`, any H and W from 1 up.
                One channel is repeated, a fourth (alpha) is dropped.

        Returns:
            Float32 maps of the image padded at the bottom and right.

        Raises:
            UsageError: the image has another shape or holds integers.
        """
        padded = pad_to_multiple(_to_rgb(image), self.stride, smallest=self.spec.smallest)
        # Off must be said: a trainer around this may have switched autocast on.
        with torch.autocast(image.device.type, enabled=False):
            maps, classes = self.network(padded.to(self._dtype), self.layers)
        return Features(
            levels=tuple(level.float().contiguous() for level in maps),
            strides=self.strides,
            size=(int(image.shape[-2]), int(image.shape[-1])),
            padded=(int(padded.shape[-2]), int(padded.shape[-1])),
            cls=None if classes is None else tuple(token.float() for token in classes),
        )


def pad_to_multiple(image: Tensor, stride: int, *, smallest: int = 1) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) until both sides are multiples of `stride`.

    Args:
        image: the pixels.
        stride: what the sides must be multiples of.
        smallest: what no side may be below; a multiple of `stride`.
    """
    height, width = image.shape[-2:]
    bottom, right = (max(-(-side // stride) * stride, smallest) - side for side in (height, width))
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of names, shapes, types and contents, independent of their order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _to_rgb(image: Tensor) -> Tensor:
    if image.ndim != 4 or image.shape[1] not in (1, 3, 4) or 0 in image.shape:
        raise UsageError(
            f"image has shape {tuple(image.shape)}; accepted is (B, 1 | 3 | 4, H, W), none of them 0"
        )
    if not image.is_floating_point():
        raise UsageError(f"image holds {image.dtype}; normalise it with the backbone's mean and std first")
    # (B, 1, H, W) -> (B, 3, H, W), (B, 4, H, W) -> (B, 3, H, W)
    return (image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image[:, :3]).float()


def _check_layers(layers: tuple[int, ...], spec: BackboneSpec) -> tuple[int, ...]:
    ascending = list(layers) == sorted(set(layers))
    if not layers or not ascending or layers[0] < 0 or layers[-1] >= spec.depth:
        raise UsageError(
            f"layers {list(layers)} do not fit {spec.name}; give ascending numbers from 0 to "
            f"{spec.depth - 1}, for example {list(spec.layers)}"
        )
    return layers


def _check_precision(precision: Precision) -> Precision:
    if precision not in PRECISIONS:
        raise UsageError(f"precision '{precision}' is not known; accepted are {' and '.join(PRECISIONS)}")
    return precision


def _level(spec: BackboneSpec, values: tuple[int, ...], layer: int) -> int:
    """Value of one layer: a ConvNeXt's stages differ, a ViT's blocks are alike."""
    return values[layer] if spec.family == "dinov3_convnext" else values[0]


def _combine(
    state: str,
    settings: dict[str, Any],
    layers: tuple[int, ...],
    precision: str,
    *,
    geometry: int | None = None,
) -> str:
    content: dict[str, Any] = {
        "tensors": state,
        "settings": settings,
        "layers": list(layers),
        "precision": precision,
    }
    if geometry is not None:
        content["geometry"] = geometry
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

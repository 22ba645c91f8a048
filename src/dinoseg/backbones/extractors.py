"""`Backbone`: image -> Features, frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.features import Features
from dinoseg.backbones.modules import MODULE_TYPES
from dinoseg.errors import UsageError

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
Self = TypeVar("Self", bound="Backbone")

#: Settings that change the features without changing the shape of any weight.
_RESULT_SETTINGS = (
    "model_type",
    "patch_size",
    "num_attention_heads",
    "num_register_tokens",
    "hidden_act",
    "layer_norm_eps",
    "rope_theta",
)


class Backbone(nn.Module):
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
        stride: the image is padded to a multiple of this.
        mean: mean to subtract from RGB in [0, 1] before `forward`.
        std: deviation to divide by.
        precision: `float32`, or `bfloat16` inside the network (features are float32 either way).
        digest: sha256 of weights, settings, layers and precision, whatever the name: equal
            digests give equal features.
        identity: the digest of the same network in float32: equal identities differ in precision
            at most.
        weights_sha256: sha256 of the weight file.
        license: licence of the weights.
        source: where the weights came from.
    """

    def __init__(
        self,
        module: nn.Module,
        spec: BackboneSpec,
        *,
        layers: tuple[int, ...] | None = None,
        precision: Precision = "float32",
        source: str,
        weights_sha256: str | None = None,
    ) -> None:
        """Wrap a loaded transformers module.

        Args:
            module: all blocks, with all weights; those beyond the deepest tap are dropped.
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
        used = {key: value for key, value in module.state_dict().items() if not key.endswith("mask_token")}
        state = hash_tensors(used)
        self.weights_sha256 = weights_sha256 or state
        self.identity = _combine(state, _settings(module), self.layers, "float32")
        self.digest = _combine(state, _settings(module), self.layers, precision)
        self.module = _prepare(module, spec, deepest=self.layers[-1], precision=precision)
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
            Float32 maps that cover the image padded at the bottom and right.

        Raises:
            UsageError: the image has another shape or holds integers.
        """
        rgb = _to_rgb(image)
        padded = pad_to_multiple(rgb, self.stride)
        enabled = self.precision == "bfloat16"
        # Off must be said too: a trainer around this may have switched autocast on.
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=enabled):
            convnext = self.spec.family == "dinov3_convnext"
            levels, cls = self._run_convnext(padded) if convnext else self._run_vit(padded)
        return Features(
            levels=levels,
            strides=self.strides,
            size=(int(image.shape[-2]), int(image.shape[-1])),
            padded=(int(padded.shape[-2]), int(padded.shape[-1])),
            cls=cls,
        )

    def _run_convnext(self, image: Tensor) -> tuple[tuple[Tensor, ...], None]:
        encoder: Any = self.module.model
        stages = encoder(image, output_hidden_states=True).hidden_states[1:]
        return tuple(stages[layer].float().contiguous() for layer in self.layers), None

    def _run_vit(self, image: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        module: Any = self.module
        blocks = module(image, output_hidden_states=True).hidden_states[1:]
        norm = getattr(module, MODULE_TYPES[self.spec.family].norm)
        tokens = [norm(blocks[layer]).float() for layer in self.layers]
        special = 1 + getattr(module.config, "num_register_tokens", 0)
        rows = image.shape[-2] // self.stride
        # (B, 1 + registers + N, C) -> (B, N, C) -> (B, C, N) -> (B, C, h, w)
        levels = [each[:, special:].transpose(1, 2).unflatten(2, (rows, -1)).contiguous() for each in tokens]
        return tuple(levels), tuple(each[:, 0] for each in tokens)


def pad_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) until both sides are multiples of `stride`."""
    bottom, right = -image.shape[-2] % stride, -image.shape[-1] % stride
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


def _settings(module: nn.Module) -> dict[str, Any]:
    config: Any = module.config
    return {key: getattr(config, key) for key in _RESULT_SETTINGS if hasattr(config, key)}


def _combine(state: str, settings: dict[str, Any], layers: tuple[int, ...], precision: str) -> str:
    content = {"tensors": state, "settings": settings, "layers": list(layers), "precision": precision}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _prepare(module: nn.Module, spec: BackboneSpec, *, deepest: int, precision: Precision) -> nn.Module:
    """Freeze, drop the blocks nobody reads, and cast matrices once instead of at every step."""
    blocks = next(
        part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == spec.depth
    )
    del blocks[deepest + 1 :]
    if precision == "bfloat16":
        # Only linear layers: autocast would round exactly these, while the patch embedding's type
        # decides the type of the position angles.
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.to(torch.bfloat16)
    return module.eval().requires_grad_(False)

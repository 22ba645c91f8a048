"""The published form of a backbone's weights: which tensors there are, all of them or none.

The names are those of the modules of transformers 5. Digests are taken over them, so that a run folder
recognises its backbone whatever the key layout of the file is, and whatever `networks` does with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dinoseg.backbones.architecture import (
    ConvNeXtSettings,
    DINOv3ViTSettings,
    Settings,
    ViTSettings,
    read_settings,
)
from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.keys import check_periods, convert, name_some
from dinoseg.errors import WeightsError

Shapes = dict[str, tuple[int, ...]]
EMBEDDINGS = "embeddings."


@dataclass(frozen=True)
class PublishedWeights:
    """All weights of a backbone, complete and checked.

    Attributes:
        settings: of the network they belong to.
        tensors: float32, under the published names.
    """

    settings: Settings
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class ViTNames:
    """What the two generations of ViTs call the same parts."""

    patch: str
    blocks: str
    norm: str
    widen: str
    narrow: str


_DINOV3 = ViTNames("embeddings.patch_embeddings.", "model.layer.", "norm.", "up_proj.", "down_proj.")
_DINOV2 = ViTNames("embeddings.patch_embeddings.projection.", "encoder.layer.", "layernorm.", "fc1.", "fc2.")


def load_weights(spec: BackboneSpec, state: Mapping[str, Tensor], *, source: str) -> PublishedWeights:
    """Bring every tensor of a file, in whichever key layout, into the published form.

    Args:
        spec: the architecture.
        state: tensors as read from the file.
        source: the file, for messages.

    Raises:
        WeightsError: anything is missing, unexpected, of another shape or not finite.
    """
    settings = read_settings(spec)
    if isinstance(settings, DINOv3ViTSettings):
        head_width = settings.hidden_size // settings.num_attention_heads
        check_periods(state, theta=settings.rope_theta, head_width=head_width, source=source)
    tensors = convert(state, spec.family, settings, source=source)
    _refuse_incomplete(tensors, list_shapes(settings), source=source)
    return PublishedWeights(settings, tensors)


def _refuse_incomplete(tensors: Mapping[str, Tensor], shapes: Shapes, *, source: str) -> None:
    """Raise unless every tensor is there once, in its shape."""
    problems = []
    if missing := shapes.keys() - tensors.keys():
        problems.append(f"{len(missing)} of {len(shapes)} tensors are missing ({name_some(missing)})")
    if unexpected := tensors.keys() - shapes.keys():
        problems.append(f"{len(unexpected)} are unexpected ({name_some(unexpected)})")
    common = sorted(shapes.keys() & tensors.keys())
    if misshapen := [name for name in common if tuple(tensors[name].shape) != shapes[name]]:
        name = misshapen[0]
        problems.append(
            f"{len(misshapen)} have another shape "
            f"({name} is {tuple(tensors[name].shape)}, needed {shapes[name]})"
        )
    if problems:
        raise WeightsError(
            f"{source} was not loaded: {'; '.join(problems)}; it is damaged or of another model"
        )


def name_parts(settings: ViTSettings) -> ViTNames:
    """The published names of a ViT's parts."""
    names = _DINOV2 if settings.learned_positions else _DINOV3
    if not settings.gated:
        return names
    return ViTNames(names.patch, names.blocks, names.norm, "up_proj.", "down_proj.")


def list_shapes(settings: Settings) -> Shapes:
    """Name and shape of every published tensor."""
    return _list_convnext(settings) if isinstance(settings, ConvNeXtSettings) else _list_vit(settings)


def count_parameters(settings: Settings) -> int:
    """How many numbers the published tensors hold."""
    total = 0
    for shape in list_shapes(settings).values():
        size = 1
        for side in shape:
            size *= side
        total += size
    return total


def _list_vit(settings: ViTSettings) -> Shapes:
    names, width = name_parts(settings), settings.hidden_size
    shapes: Shapes = {f"{EMBEDDINGS}cls_token": (1, 1, width)}
    if settings.learned_positions:
        shapes[f"{EMBEDDINGS}position_embeddings"] = (1, 1 + settings.grid**2, width)
    if getattr(settings, "use_mask_token", True):
        shapes[f"{EMBEDDINGS}mask_token"] = (1, width) if settings.learned_positions else (1, 1, width)
    if hasattr(settings, "num_register_tokens"):
        shapes[f"{EMBEDDINGS}register_tokens"] = (1, settings.registers, width)
    shapes |= _list_layer(names.patch, (width, 3, settings.patch, settings.patch))
    for index in range(settings.num_hidden_layers):
        shapes |= _list_block(settings, names, f"{names.blocks}{index}.")
    return shapes | _list_layer(names.norm, (width,))


def _list_block(settings: ViTSettings, names: ViTNames, prefix: str) -> Shapes:
    width, hidden = settings.hidden_size, settings.hidden
    shapes: Shapes = {f"{prefix}layer_scale{part}.lambda1": (width,) for part in (1, 2)}
    for part in ("norm1.", "norm2."):
        shapes |= _list_layer(prefix + part, (width,))
    for letter, part in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "proj")):
        layer = f"{prefix}attention.{letter}_proj."
        shapes |= _list_layer(layer, (width, width), bias=settings.has_bias(part))
    bias = settings.has_bias("mlp")
    for part in ("gate_proj.", names.widen) if settings.gated else (names.widen,):
        shapes |= _list_layer(f"{prefix}mlp.{part}", (hidden, width), bias=bias)
    return shapes | _list_layer(f"{prefix}mlp.{names.narrow}", (width, hidden), bias=bias)


def _list_convnext(settings: ConvNeXtSettings) -> Shapes:
    shapes: Shapes = {}
    before = 3
    for index, (width, depth) in enumerate(zip(settings.hidden_sizes, settings.depths, strict=True)):
        stage = f"model.stages.{index}."
        norm, convolution = ("1.", "0.") if index == 0 else ("0.", "1.")
        step = 4 if index == 0 else 2
        shapes |= _list_layer(f"{stage}downsample_layers.{norm}", (width if index == 0 else before,))
        shapes |= _list_layer(f"{stage}downsample_layers.{convolution}", (width, before, step, step))
        for block in range(depth):
            layer = f"{stage}layers.{block}."
            shapes[f"{layer}gamma"] = (width,)
            shapes |= _list_layer(f"{layer}depthwise_conv.", (width, 1, 7, 7))
            shapes |= _list_layer(f"{layer}layer_norm.", (width,))
            shapes |= _list_layer(f"{layer}pointwise_conv1.", (4 * width, width))
            shapes |= _list_layer(f"{layer}pointwise_conv2.", (width, 4 * width))
        before = width
    return shapes | _list_layer("layer_norm.", (before,))


def _list_layer(prefix: str, weight: tuple[int, ...], *, bias: bool = True) -> Shapes:
    return {f"{prefix}weight": weight, **({f"{prefix}bias": weight[:1]} if bias else {})}

"""From published weights to our networks: layers that read the same are one, scales join the layer before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from dinoseg.backbones.architecture import ConvNeXtSettings, Settings, ViTSettings
from dinoseg.backbones.convnext import ConvNeXt
from dinoseg.backbones.published import EMBEDDINGS, PublishedWeights, name_parts
from dinoseg.backbones.vit import ViT

Network = ViT | ConvNeXt
Named = Iterator[tuple[str, Tensor]]
Tensors = Mapping[str, Tensor]


def build_network(weights: PublishedWeights, *, depth: int, dtype: torch.dtype) -> Network:
    """Our network with these weights, frozen and in eval mode.

    Args:
        weights: complete; they are copied, and stay as they are.
        depth: how many blocks or stages; what lies beyond is left out.
        dtype: of all weights.
    """
    network = build_empty(weights.settings, depth=depth)
    for name, tensor in arrange(weights, depth=depth):  # one at a time: the largest fill half of a memory
        owner, _, own = name.rpartition(".")
        # Set, not copied into memory made for all of them: that step of torch loads its symbolic algebra.
        value = tensor.detach().to(dtype=dtype, copy=True, memory_format=torch.contiguous_format)
        setattr(network.get_submodule(owner), own, nn.Parameter(value, requires_grad=False))
    return network.eval()


def build_empty(settings: Settings, *, depth: int | None = None) -> Network:
    """Our network without memory for its weights."""
    with torch.device("meta"):
        if isinstance(settings, ConvNeXtSettings):
            return ConvNeXt(settings, depth=depth)
        return ViT(settings, depth=depth)


def arrange(weights: PublishedWeights, *, depth: int) -> Named:
    """Name and value of every weight of our network, one after the other.

    Biases that are not published are zero.
    """
    if isinstance(weights.settings, ConvNeXtSettings):
        return _arrange_convnext(weights.tensors, weights.settings, depth)
    return _arrange_vit(weights.tensors, weights.settings, depth)


def _arrange_vit(tensors: Tensors, settings: ViTSettings, depth: int) -> Named:
    names = name_parts(settings)
    special = tensors[f"{EMBEDDINGS}cls_token"]  # (1, 1, C)
    if settings.learned_positions:
        positions = tensors[f"{EMBEDDINGS}position_embeddings"]  # (1, 1 + N, C)
        special = special + positions[:, :1]
        # (1, N, C) -> (1, C, N) -> (1, C, h, w)
        yield "positions.table", torch.unflatten(positions[:, 1:].transpose(1, 2), 2, (settings.grid, -1))
    if settings.registers:
        special = torch.cat([special, tensors[f"{EMBEDDINGS}register_tokens"]], dim=1)
    yield "prefix", special
    yield from _keep(tensors, names.patch, "patch.")
    yield from _keep(tensors, names.norm, "norm.")
    for index in range(depth):
        theirs, ours = f"{names.blocks}{index}.", f"blocks.{index}."
        for norm in ("norm1.", "norm2."):
            yield from _keep(tensors, theirs + norm, ours + norm)
        asking = [f"{theirs}attention.{letter}_proj." for letter in "qkv"]
        yield from _join(tensors, asking, f"{ours}attention.qkv.")
        attention, mlp = f"{theirs}attention.o_proj.", f"{theirs}mlp.{names.narrow}"
        first, second = (tensors[f"{theirs}layer_scale{part}.lambda1"] for part in (1, 2))
        yield from _scale(tensors, attention, first, f"{ours}attention.project.")
        hidden = ["gate_proj.", names.widen] if settings.gated else [names.widen]
        yield from _join(tensors, [f"{theirs}mlp.{part}" for part in hidden], f"{ours}mlp.widen.")
        yield from _scale(tensors, mlp, second, f"{ours}mlp.narrow.")


def _arrange_convnext(tensors: Tensors, settings: ConvNeXtSettings, depth: int) -> Named:
    for index in range(depth):
        theirs, ours = f"model.stages.{index}.", f"stages.{index}."
        norm, convolution = ("1.", "0.") if index == 0 else ("0.", "1.")
        yield from _keep(tensors, f"{theirs}downsample_layers.{norm}", f"{ours}norm.")
        yield from _keep(tensors, f"{theirs}downsample_layers.{convolution}", f"{ours}reduce.")
        for block in range(settings.depths[index]):
            layer, target = f"{theirs}layers.{block}.", f"{ours}blocks.{block}."
            yield from _keep(tensors, f"{layer}depthwise_conv.", f"{target}depthwise.")
            yield from _keep(tensors, f"{layer}layer_norm.", f"{target}norm.")
            yield from _keep(tensors, f"{layer}pointwise_conv1.", f"{target}widen.")
            gamma = tensors[f"{layer}gamma"]
            yield from _scale(tensors, f"{layer}pointwise_conv2.", gamma, f"{target}narrow.")


def _keep(tensors: Tensors, theirs: str, ours: str) -> Named:
    yield f"{ours}weight", tensors[f"{theirs}weight"]
    yield f"{ours}bias", tensors[f"{theirs}bias"]


def _join(tensors: Tensors, theirs: Sequence[str], ours: str) -> Named:
    """Layers that read the same input as one, their outputs one after the other."""
    yield f"{ours}weight", torch.cat([tensors[f"{layer}weight"] for layer in theirs])
    yield f"{ours}bias", torch.cat([_bias(tensors, layer) for layer in theirs])


def _scale(tensors: Tensors, theirs: str, scale: Tensor, ours: str) -> Named:
    """A layer whose outputs (C,) are multiplied by `scale` afterwards."""
    yield f"{ours}weight", tensors[f"{theirs}weight"] * scale[:, None]
    yield f"{ours}bias", _bias(tensors, theirs) * scale


def _bias(tensors: Tensors, layer: str) -> Tensor:
    weight = tensors[f"{layer}weight"]
    return tensors.get(f"{layer}bias", weight.new_zeros(len(weight)))

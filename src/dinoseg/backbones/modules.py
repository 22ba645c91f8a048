"""The modules that run a backbone: transformers' own, built offline and loaded completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from dinoseg.backbones.catalog import BackboneSpec, Family
from dinoseg.backbones.keys import check_periods, convert
from dinoseg.errors import WeightsError


@dataclass(frozen=True)
class ModuleType:
    """One kind of module: its configuration, its class, and what differs between the kinds.

    Attributes:
        config: configuration class.
        model: module class.
        attention: whether it has attention, which then runs as scaled_dot_product_attention.
        norm: name of the final LayerNorm that every tapped ViT block goes through.
    """

    config: type[Any]
    model: type[Any]
    attention: bool
    norm: str


MODULE_TYPES: Mapping[Family, ModuleType] = {
    "dinov3_vit": ModuleType(transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel, True, "norm"),
    "dinov3_convnext": ModuleType(
        transformers.DINOv3ConvNextConfig, transformers.DINOv3ConvNextModel, False, "layer_norm"
    ),
    "dinov2": ModuleType(transformers.Dinov2Config, transformers.Dinov2Model, True, "layernorm"),
    "dinov2_registers": ModuleType(
        transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel, True, "layernorm"
    ),
}


def build_config(spec: BackboneSpec) -> Any:
    """Return the transformers configuration of `spec`.

    Raises:
        WeightsError: a setting (of a local folder) is not accepted.
    """
    try:
        return MODULE_TYPES[spec.family].config(**spec.config)
    except Exception as error:  # transformers' strict settings raise types of their own
        reason = " ".join(str(error).split())
        raise WeightsError(f"{spec.name}: its config.json is not accepted ({reason:.160})") from error


def build_empty(spec: BackboneSpec) -> Any:
    """Return the module without memory for its weights: for names, shapes and counts."""
    with torch.device("meta"):
        return MODULE_TYPES[spec.family].model(build_config(spec))


def list_expected(spec: BackboneSpec) -> dict[str, torch.Size]:
    """Return name, in the published key layout, and shape of every tensor the module needs."""
    # transformers wraps blocks and stages in `model.`; published files don't.
    state = build_empty(spec).state_dict()
    return {name.removeprefix("model."): tensor.shape for name, tensor in state.items()}


def load_module(spec: BackboneSpec, state: Mapping[str, Tensor], *, source: str) -> nn.Module:
    """Build the module of `spec` and load every tensor of `state`, in whichever key layout.

    Args:
        spec: the architecture.
        state: tensors as read from a file.
        source: the file, for messages.

    Raises:
        WeightsError: anything is missing, unexpected, of another shape or not finite.
    """
    config = build_config(spec)
    if spec.family == "dinov3_vit":
        head_width = config.hidden_size // config.num_attention_heads
        check_periods(state, theta=config.rope_theta, head_width=head_width, source=source)
    published = convert(state, list_expected(spec), spec.family, source=source)
    kind = MODULE_TYPES[spec.family]
    attention = {"attn_implementation": "sdpa"} if kind.attention else {}
    with _quiet(), torch.random.fork_rng(devices=[]):
        module, report = kind.model.from_pretrained(
            None,
            config=config,
            state_dict=published,
            dtype=torch.float32,
            output_loading_info=True,
            **attention,
        )
    left = {key: value for key, value in report.items() if value}
    if left:
        raise WeightsError(f"{source} was not loaded: transformers reports {left}")
    return _freeze(module)


def _freeze(module: Any) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise WeightsError(f"transformers built a {type(module).__name__}, not a torch module")
    return module.eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars off; put the switch back afterwards."""
    bars: Any = transformers_logging
    was_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            bars.enable_progress_bar()

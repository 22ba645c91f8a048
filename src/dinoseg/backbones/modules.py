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
from dinoseg.backbones.keys import check_periods, convert, name_some
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
    published = convert(state, spec, source=source)
    kind = MODULE_TYPES[spec.family]
    attention = {"attn_implementation": "sdpa"} if kind.attention else {}
    # Weights that are missing would be drawn at random: not from the caller's random state.
    with _quiet(), torch.random.fork_rng(devices=[]):
        module, report = kind.model.from_pretrained(
            None,
            config=config,
            state_dict=published,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **attention,
        )
    _refuse_incomplete(report, total=len(module.state_dict()), source=source)
    frozen: nn.Module = module.eval().requires_grad_(False)
    return frozen


def _refuse_incomplete(report: Mapping[str, Any], *, total: int, source: str) -> None:
    """Raise unless transformers' loader says that every tensor found its place."""
    problems = []
    if missing := report["missing_keys"]:
        problems.append(f"{len(missing)} of {total} tensors are missing ({name_some(missing)})")
    if unexpected := report["unexpected_keys"]:
        problems.append(f"{len(unexpected)} are unexpected ({name_some(unexpected)})")
    if mismatched := report["mismatched_keys"]:
        name, given, needed = sorted(mismatched)[0]
        problems.append(
            f"{len(mismatched)} have another shape ({name} is {tuple(given)}, needed {tuple(needed)})"
        )
    problems += [
        str(message) for key in ("error_msgs", "conversion_errors") for message in report.get(key, ())
    ]
    if problems:
        raise WeightsError(
            f"{source} was not loaded: {'; '.join(problems)}; it is damaged or of another model"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and reports off (`load_module` says what is wrong); then as it was."""
    log: Any = transformers_logging
    bars, verbosity = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity(log.CRITICAL)
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()

"""The oracle of our networks: the modules of transformers, and the folders that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.utils import logging

from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.published import PublishedWeights, load_weights

ORACLES = {
    "dinov3_vit": (transformers.DINOv3ViTConfig, transformers.DINOv3ViTModel),
    "dinov3_convnext": (transformers.DINOv3ConvNextConfig, transformers.DINOv3ConvNextModel),
    "dinov2": (transformers.Dinov2Config, transformers.Dinov2Model),
    "dinov2_registers": (transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel),
}


def build_oracle(spec: BackboneSpec, *, seed: int = 0) -> Any:
    """The module of `spec` with random weights, every branch of which counts."""
    config, model = ORACLES[spec.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = model(config(**spec.config))
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
    return module.eval().requires_grad_(False)


def take_weights(oracle: Any, spec: BackboneSpec) -> PublishedWeights:
    """The oracle's weights."""
    return load_weights(spec, oracle.state_dict(), source="oracle")


def save_pretrained(folder: Path, oracle: Any, **options: Any) -> None:
    """A folder as transformers writes it."""
    logging.disable_progress_bar()
    oracle.save_pretrained(folder, **options)


def run_oracle(oracle: Any, spec: BackboneSpec, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Maps (B, C, h, w) and class tokens (B, C) of the spec's layers; a ViT's after the final norm."""
    if spec.family == "dinov3_convnext":
        stages = oracle.model(image, output_hidden_states=True).hidden_states[1:]
        return [stages[layer] for layer in spec.layers], []
    norm = oracle.norm if spec.family == "dinov3_vit" else oracle.layernorm
    blocks = oracle(image, output_hidden_states=True).hidden_states[1:]
    tokens = [norm(blocks[layer]) for layer in spec.layers]
    special = 1 + getattr(oracle.config, "num_register_tokens", 0)
    rows = image.shape[-2] // spec.patch
    # (B, special + N, C) -> (B, N, C) -> (B, C, N) -> (B, C, h, w)
    maps = [each[:, special:].transpose(1, 2).unflatten(2, (rows, -1)) for each in tokens]
    return maps, [each[:, 0] for each in tokens]

"""Small backbones for tests: those of tests/parity in every key layout, and random ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from dinoseg.backbones.architecture import read_settings
from dinoseg.backbones.catalog import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.folders import write_folder
from dinoseg.backbones.published import PublishedWeights, list_shapes

PARITY = Path(__file__).parents[1] / "parity"
VITS = ("dinov3_vit_mlp", "dinov3_vit_swiglu", "timm_vit_mlp", "timm_vit_swiglu")
CONVNEXTS = ("dinov3_convnext", "timm_convnext")
CASES = VITS + CONVNEXTS
FAMILIES = ("dinov3_vit", "dinov3_convnext", "dinov2", "dinov2_registers")


@dataclass(frozen=True)
class ParityCase:
    """What a released program computed: `state` under its key names, `pixels` in, `outputs` out."""

    spec: BackboneSpec
    state: dict[str, Tensor]
    pixels: Tensor
    outputs: list[Tensor]


def read_parity(name: str) -> ParityCase:
    with safe_open(PARITY / f"{name}.safetensors", "pt") as file:
        meta = {key: json.loads(value) for key, value in file.metadata().items()}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    state = {key.removeprefix("state."): value for key, value in tensors.items() if key.startswith("state.")}
    outputs = [tensors[key] for key in sorted(tensors) if key.startswith("output.")]
    spec = convnext_spec(meta["dims"], meta["depths"]) if "dims" in meta else _vit_spec(meta, state)
    return ParityCase(spec, state, tensors["input.pixels"], outputs)


def _vit_spec(meta: dict[str, Any], state: dict[str, Tensor]) -> BackboneSpec:
    gated = [name for name in ("mlp.w1", "mlp.fc1_g") if f"blocks.0.{name}.weight" in state]
    first = gated[0] if gated else "mlp.fc1"
    return vit_spec(
        hidden_size=meta["embed_dim"],
        intermediate_size=len(state[f"blocks.0.{first}.weight"]),
        num_hidden_layers=meta["depth"],
        num_attention_heads=meta["num_heads"],
        use_gated_mlp=bool(gated),
        hidden_act="silu" if gated else "gelu",
        query_bias=meta.get("qkv_bias", True),
        value_bias=meta.get("qkv_bias", True),
    )


def vit_spec(name: str = "tiny-vit", **changes: Any) -> BackboneSpec:
    config = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "num_register_tokens": 4,
        "layer_norm_eps": 1e-5,
        **changes,
    }
    return _spec(
        name, "dinov3_vit", config, (config["hidden_size"],) * 4, (changes.get("patch_size", 16),) * 4
    )


def convnext_spec(
    dims: Sequence[int] = (8, 16, 24, 32), depths: Sequence[int] = (1, 1, 2, 1), **changes: Any
) -> BackboneSpec:
    config = {"hidden_sizes": list(dims), "depths": list(depths), **changes}
    strides = tuple(4 * 2**stage for stage in range(len(dims)))
    spec = _spec("tiny-convnext", "dinov3_convnext", config, tuple(dims), strides)
    layers = tuple(range(len(dims)))
    return replace(spec, stride=4, smallest=strides[-1], layers=layers, depth=len(dims))


def dinov2_spec(family: Any = "dinov2", **changes: Any) -> BackboneSpec:
    config = {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        **changes,
    }
    return _spec("tiny-dinov2", family, config, (32,) * 4, (14,) * 4)


def _spec(name: str, family: Any, config: dict[str, Any], channels: Any, strides: Any) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        family=family,
        patch=strides[0],
        stride=strides[-1],
        channels=channels,
        strides=strides,
        layers=(0, 1, 2, 3),
        depth=4,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        parameters=0,
        license="none",
        config=config,
    )


def tiny_spec(family: str) -> BackboneSpec:
    """One small backbone of each family."""
    if family == "dinov3_vit":
        return vit_spec()
    return convnext_spec() if family == "dinov3_convnext" else dinov2_spec(family)


def random_weights(spec: BackboneSpec, *, seed: int = 0) -> PublishedWeights:
    """Random weights, every one of which counts."""
    settings = read_settings(spec)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in list_shapes(settings).items():
        fan_in = max(1, math.prod(shape[1:]))
        noise = torch.randn(shape, generator=generator)
        centred = name.endswith("bias") or len(shape) > 1
        tensors[name] = noise * fan_in**-0.5 if centred else 1 + 0.1 * noise  # norms and scales are about 1
    return PublishedWeights(settings, tensors)


def make_extractor(spec: BackboneSpec, *, seed: int = 0, **options: Any) -> Extractor:
    """A backbone with random weights."""
    return Extractor(random_weights(spec, seed=seed), spec, **{"source": "test", **options})


def save_folder(folder: Path, spec: BackboneSpec, *, seed: int = 0) -> Path:
    """Save random weights as a Hugging Face folder, mean = std = 0.5."""
    write_folder(folder, random_weights(spec, seed=seed))
    processor = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


class Notes:
    """A Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0
        self.total = 0

    def track(self, items: Any, *, total: int, label: str) -> Any:
        self.total = total
        for item in items:
            self.steps += 1
            yield item

    def note(self, message: str) -> None:
        self.notes.append(message)


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

"""Small backbones for tests: those of tests/parity in every key layout, and folders with random weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from dinoseg.backbones.catalog import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec
from dinoseg.backbones.modules import MODULE_TYPES, build_config

PARITY = Path(__file__).parents[1] / "parity"
VITS = ("dinov3_vit_mlp", "dinov3_vit_swiglu", "timm_vit_mlp", "timm_vit_swiglu")
CONVNEXTS = ("dinov3_convnext", "timm_convnext")
CASES = VITS + CONVNEXTS


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
    return _spec(name, "dinov3_vit", config, (config["hidden_size"],) * 4, (16,) * 4)


def convnext_spec(dims: list[int], depths: list[int]) -> BackboneSpec:
    config = {"hidden_sizes": dims, "depths": depths}
    return _spec("tiny-convnext", "dinov3_convnext", config, tuple(dims), (4, 8, 16, 32))


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


def build_module(spec: BackboneSpec, *, seed: int = 0) -> Any:
    """The transformers module of `spec` with random weights, every branch of which counts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = MODULE_TYPES[spec.family].model(build_config(spec))
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)
    return module.eval()


def save_folder(folder: Path, spec: BackboneSpec, *, seed: int = 0) -> Path:
    """Save a random module as a Hugging Face folder, mean = std = 0.5."""
    build_module(spec, seed=seed).save_pretrained(folder)
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

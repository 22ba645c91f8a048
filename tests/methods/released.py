"""The released programs' tensors, under their own names, and the tiny backbones they were made with."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.features import Features
from dinoseg.backbones.published import load_weights
from dinoseg.methods.decoder import Decoder
from tests.backbones.tiny import convnext_spec, vit_spec

FOLDER = Path(__file__).parents[1] / "parity"


@dataclass(frozen=True)
class Released:
    settings: dict[str, Any]
    state: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


def read(name: str) -> Released:
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        settings = {key: json.loads(value) for key, value in file.metadata().items()}
    return Released(settings, *(_strip(tensors, f"{kind}.") for kind in ("state", "input", "output")))


def features_of(case: Released, prefix: str) -> Features:
    """Features of the case's pixels from its own backbone, whose names begin with `prefix`."""
    state = _strip(case.state, prefix)
    if "dims" in case.settings:
        spec = convnext_spec(case.settings["dims"], [1, 1, 2, 1])
    else:
        spec = vit_spec(intermediate_size=len(state["blocks.0.mlp.fc1.weight"]))
    weights = load_weights(spec, state, source="fixture")
    return Extractor(weights, spec, source="fixture")(case.inputs["pixels"])


def load(decoder: Decoder, case: Released, backbone: str) -> None:
    """Load all of the released decoder; every tensor of it must be used."""
    state = {name: value for name, value in case.state.items() if not name.startswith(backbone)}
    unused = "|".join([*decoder.released_unused, *decoder.released_twins]) or "(?!)"
    theirs = {ours: _released_name(decoder, ours) for ours in decoder.state_dict()}
    assert set(theirs.values()) == {name for name in state if not re.fullmatch(unused, name)}
    assert len(set(theirs.values())) == len(theirs)
    decoder.load_state_dict({ours: state[name] for ours, name in theirs.items()})
    decoder.eval()


def _released_name(decoder: Decoder, name: str) -> str:
    prefixes = [p for p in decoder.released if name == p or name.startswith(f"{p}.")]
    assert len(prefixes) == 1, (name, prefixes)
    return decoder.released[prefixes[0]] + name[len(prefixes[0]) :]


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float(torch.max(torch.abs(a.detach() - b)))

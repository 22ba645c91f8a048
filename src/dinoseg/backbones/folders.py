"""Local Hugging Face folders as backbones: what their config.json says, as a `BackboneSpec`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dinoseg.backbones.catalog import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneSpec,
    Family,
    Triple,
    published_layers,
)
from dinoseg.backbones.modules import build_config, build_empty
from dinoseg.errors import WeightsError
from dinoseg.progress import Progress

FAMILIES: Mapping[str, Family] = {
    "dinov3_vit": "dinov3_vit",
    "dinov3_convnext": "dinov3_convnext",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2_registers",
}

#: Written by save_pretrained, but no setting of the network.
_BOOKKEEPING = (
    "_name_or_path",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "out_features",
    "out_indices",
    "stage_names",
    "torch_dtype",
    "transformers_version",
)


def read_spec(folder: Path, *, progress: Progress) -> BackboneSpec:
    """Describe the backbone in a Hugging Face folder.

    Args:
        folder: holds config.json, the weights, and usually preprocessor_config.json.
        progress: told when mean and std are assumed, and when a licence may apply.

    Raises:
        WeightsError: a file is missing or damaged, or the type is not one of the four accepted.
    """
    content = _read_json(folder / "config.json")
    model_type = content.pop("model_type", None)
    if model_type not in FAMILIES:
        raise WeightsError(
            f"{folder}/config.json is of type '{model_type}'; accepted are {', '.join(FAMILIES)}"
        )
    settings = {key: value for key, value in content.items() if key not in _BOOKKEEPING}
    mean, std = _read_normalisation(folder, progress)
    draft = BackboneSpec(
        name=folder.resolve().name,
        family=FAMILIES[model_type],
        patch=0,
        stride=0,
        channels=(),
        strides=(),
        layers=(),
        depth=0,
        mean=mean,
        std=std,
        parameters=0,
        license=_read_license(folder, model_type, progress),
        config=settings,
    )
    return _complete(draft)


def _complete(draft: BackboneSpec) -> BackboneSpec:
    """Fill in what follows from the configuration."""
    config = build_config(draft)
    if config.num_channels != 3:
        raise WeightsError(
            f"{draft.name} takes {config.num_channels} channels; accepted are RGB backbones (3)"
        )
    parameters = sum(weight.numel() for weight in build_empty(draft).parameters())
    if draft.family == "dinov3_convnext":
        channels = tuple(config.hidden_sizes)
        stages = tuple(range(len(channels)))
        strides = tuple(4 * 2**stage for stage in stages)
        shape = {
            "patch": 4,
            "stride": strides[-1],
            "channels": channels,
            "strides": strides,
            "layers": stages,
        }
        return replace(draft, depth=len(stages), parameters=parameters, **shape)
    patch = _square(config.patch_size, draft.name)
    layers = published_layers(config.num_hidden_layers)
    return replace(
        draft,
        patch=patch,
        stride=patch,
        channels=(config.hidden_size,) * len(layers),
        strides=(patch,) * len(layers),
        layers=layers,
        depth=config.num_hidden_layers,
        parameters=parameters,
    )


def _square(patch: Any, name: str) -> int:
    sides = {patch} if isinstance(patch, int) else set(patch)
    if len(sides) != 1:
        raise WeightsError(f"{name} has patches of {list(patch)} pixels; accepted are square ones")
    return int(sides.pop())


def _read_normalisation(folder: Path, progress: Progress) -> tuple[Triple, Triple]:
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        progress.note(f"{folder} has no preprocessor_config.json: ImageNet's mean and std are assumed")
        return IMAGENET_MEAN, IMAGENET_STD
    content = _read_json(path)
    return _read_triple(content, "image_mean", path), _read_triple(content, "image_std", path)


def _read_triple(content: Mapping[str, Any], key: str, path: Path) -> Triple:
    try:
        first, second, third = (float(value) for value in content[key])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} has no {key} of three numbers; write for example [0.5, 0.5, 0.5]"
        ) from error
    if key == "image_std" and min(first, second, third) <= 0:
        raise WeightsError(f"{path}: image_std must be above 0, not {[first, second, third]}")
    return first, second, third


def _read_license(folder: Path, model_type: str, progress: Progress) -> str:
    """Return the `license:` field of the folder's README.md, as the hub writes it."""
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.is_file() else []
    head = lines[1 : lines.index("---", 1)] if lines[:1] == ["---"] and "---" in lines[1:] else []
    fields = dict(line.split(":", 1) for line in head if ":" in line)
    stated = fields.get("license_name", fields.get("license", "")).strip()
    if not stated and model_type.startswith("dinov3"):
        progress.note(f"{folder} states no licence; if its weights are Meta's, the DINOv3 License applies")
    return stated or "unstated"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path} does not exist; a backbone folder is one saved by save_pretrained"
        ) from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no settings")
    return content

"""Local Hugging Face folders as backbones: reading what their config.json says, and writing one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save

from dinoseg.backbones.architecture import FAMILIES, ConvNeXtSettings, read_settings
from dinoseg.backbones.catalog import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneSpec,
    Triple,
    published_layers,
)
from dinoseg.backbones.published import PublishedWeights, count_parameters
from dinoseg.errors import WeightsError
from dinoseg.outputs import atomic_path, write_json
from dinoseg.progress import Progress

_TYPES = {settings.model_type: family for family, settings in FAMILIES.items()}


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
    if model_type not in _TYPES:
        raise WeightsError(
            f"{folder}/config.json is of type '{model_type}'; accepted are {', '.join(_TYPES)}"
        )
    mean, std = _read_normalisation(folder, progress)
    draft = BackboneSpec(
        name=folder.resolve().name,
        family=_TYPES[model_type],
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
        config=content,
    )
    return _complete(draft)


def write_folder(folder: Path, weights: PublishedWeights) -> None:
    """Write config.json and model.safetensors as the hub has them; `read_spec` and transformers read both.

    Raises:
        OutputError: a file cannot be written.
    """
    settings = weights.settings
    content = {"model_type": settings.model_type, "dtype": "float32", **settings.model_dump(mode="json")}
    write_json(folder / "config.json", content, overwrite=True)
    # Files on the hub name the blocks of DINOv3 without the module around them.
    state = {name.removeprefix("model."): tensor.contiguous() for name, tensor in weights.tensors.items()}
    with atomic_path(folder / "model.safetensors", overwrite=True) as temporary:
        temporary.write_bytes(save(state, metadata={"format": "pt"}))


def _complete(draft: BackboneSpec) -> BackboneSpec:
    """Fill in what follows from the settings."""
    settings = read_settings(draft)
    parameters = count_parameters(settings)
    if isinstance(settings, ConvNeXtSettings):
        stages = tuple(range(len(settings.depths)))
        strides = tuple(4 * 2**stage for stage in stages)
        return replace(
            draft,
            patch=strides[0],
            stride=strides[0],
            smallest=strides[-1],
            channels=tuple(settings.hidden_sizes),
            strides=strides,
            layers=stages,
            depth=len(stages),
            parameters=parameters,
        )
    layers = published_layers(settings.num_hidden_layers)
    return replace(
        draft,
        patch=settings.patch,
        stride=settings.patch,
        channels=(settings.hidden_size,) * len(layers),
        strides=(settings.patch,) * len(layers),
        layers=layers,
        depth=settings.num_hidden_layers,
        parameters=parameters,
    )


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

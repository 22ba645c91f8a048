"""A bundle: a whole model as graphs that need no torch, and `pipeline.json`, which says how to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from dinoseg.backbones.hub import hash_file
from dinoseg.config import ConfidenceSettings, PostprocessingSettings, Settings, from_yaml
from dinoseg.errors import ConfigError, RunError
from dinoseg.model.folder import require_method
from dinoseg.model.settings import ModelSettings
from dinoseg.outputs import digest_json

FORMAT = 1
OPSET = 20  # the newest that is understood here
PIPELINE = "pipeline.json"
LICENSE = "LICENSE-backbone.txt"
CARD = "README.md"
BACKBONE = "backbone.onnx"
DECODER = "decoder.onnx"
BundlePrecision = Literal["float32", "float16", "int8"]


class BundledBackbone(Settings):
    """The frozen half: what it is, and under which licence it is passed on."""

    name: str
    digest: str = Field(description="identity of weights, settings and layers, as a run folder has it")
    license: str
    source: str
    file: str = BACKBONE
    levels: int = Field(ge=1, description="maps that it gives")
    mean: tuple[float, ...]
    std: tuple[float, ...]


class BundledDecoder(Settings):
    """A trained half."""

    file: str = DECODER
    digest: str = Field(description="sha256 of its weights, as `predict` records it")
    needs_image: bool = Field(description="whether it looks at the image")
    reach: int = Field(ge=0, description="steps on either side whose maps it reads")
    slice_spacing: float | None = Field(
        None, gt=0, description="mm of a step; null: from slice to slice, whatever lies between"
    )


class Comparison(Settings):
    """What the bundle and torch said about the same images, when it was exported."""

    cases: str
    images: int = Field(ge=1)
    logits: float = Field(ge=0, description="largest difference of a logit")
    dice: float = Field(ge=0, le=1, description="smallest Dice of a class, of all masks together")


class Pipeline(Settings):
    """Everything between a file and its mask but the graphs themselves."""

    format: int
    dinoseg: str
    versions: dict[str, str]
    opset: int
    precision: BundlePrecision
    size: int = Field(ge=1, description="side of the images that the graphs take, px")
    method: str = Field(description="of the model, or that it is an ensemble, and of what")
    decoder_digest: str = Field(description="of all decoders")
    settings: ModelSettings
    backbone: BundledBackbone
    decoders: tuple[BundledDecoder, ...] = Field(
        min_length=1, description="of several, the class probabilities are averaged"
    )
    postprocessing: PostprocessingSettings | None
    calibration: ConfidenceSettings | None = Field(description="what the probabilities are worth")
    seen: dict[str, Any] | None
    steps: dict[str, Any] = Field(
        description="how images become input, and logits masks, in words and numbers"
    )
    files: dict[str, str] = Field(description="name -> sha256 of every other file of the bundle")
    comparison: Comparison | None = None


def is_bundle(path: Path | str) -> bool:
    """Whether a folder is one that `dinoseg export` wrote."""
    return (Path(path) / PIPELINE).is_file()


def read_pipeline(folder: Path) -> Pipeline:
    """The pipeline.json of a bundle, unchanged since it was written, with all its files unchanged as well.

    Raises:
        RunError: it is no bundle, is damaged, incomplete, or of a newer dinoseg or opset.
    """
    path = folder / PIPELINE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _require_version(content, path)
        require_method(content, path)
        if content.pop("digest") != digest_pipeline(content):
            raise RunError(f"{path} was changed since it was exported; export the run again")
        pipeline = from_yaml(Pipeline, json.dumps(content, ensure_ascii=False))
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{path} is damaged ({error}); export the run again") from error
    _require_files(folder, pipeline)
    return pipeline


def digest_pipeline(content: Mapping[str, Any]) -> str:
    """Sha256 of a pipeline without its digest, however it is laid out."""
    return digest_json(content)


def _require_version(content: Any, path: Path) -> None:
    if content["format"] != FORMAT:
        raise RunError(
            f"{path} has format {content['format']}, this dinoseg reads {FORMAT}; "
            "upgrade with pip install -U dinoseg"
        )
    if content["opset"] > OPSET:
        raise RunError(
            f"{path} has graphs of opset {content['opset']}, this dinoseg knows those up to {OPSET}; "
            "upgrade with pip install -U dinoseg"
        )


def _require_files(folder: Path, pipeline: Pipeline) -> None:
    named = {LICENSE, CARD, pipeline.backbone.file, *(decoder.file for decoder in pipeline.decoders)}
    if unlisted := named - set(pipeline.files):
        raise RunError(f"{folder / PIPELINE} has no digest of {min(unlisted)}; export the run again")
    for name, expected in pipeline.files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise RunError(f"{folder} is incomplete: {name} is missing; copy the whole bundle again")
        if hash_file(path) != expected:
            raise RunError(f"{path} is damaged (its sha256 is not that of {PIPELINE}); copy the bundle again")

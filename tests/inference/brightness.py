"""A `Network` in NumPy alone, and a program that applies it in every way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinoseg.config import (
    BackboneSettings,
    Inference,
    PostprocessingSettings,
    PreprocessingSettings,
    RangeIntensity,
)
from dinoseg.evaluation import evaluate
from dinoseg.inference import predict, predict_cases, predict_files
from dinoseg.methods import decoder_settings
from dinoseg.model.network import Array
from dinoseg.model.settings import ModelSettings


@dataclass
class Brightness:
    """Class 1 is what is bright: the logit is a line through the mean of the channels."""

    settings: ModelSettings
    postprocessing: PostprocessingSettings | None = None
    mean: Sequence[float] = (0.5, 0.5, 0.5)
    std: Sequence[float] = (0.25, 0.25, 0.25)
    run: Path | None = None
    batches: list[int] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return {
            "method": "brightness",
            "backbone": "none",
            "backbone_digest": "0" * 64,
            "precision": "float32",
            "decoder_digest": "1" * 64,
            "size": [32, 32],
        }

    def logits(self, pixels: Array) -> Array:
        self.batches.append(len(pixels))
        return 12 * pixels.mean(axis=1, keepdims=True)


def make_brightness(**preprocessing: Any) -> Brightness:
    return Brightness(
        ModelSettings(
            backbone=BackboneSettings(name="none"),
            decoder=decoder_settings("linear"),
            preprocessing=PreprocessingSettings(size=32, **preprocessing),
            classes={0: "background", 1: "lesion"},
        )
    )


def main(images: Path, volumes: Path, out: Path) -> None:
    """Predict and score images and volumes in several ways; writes below `out`."""
    model = make_brightness()
    single = predict(model, sorted((images / "images").iterdir())[0], probabilities=True)
    single.save(out / "single.png")
    predict(model, images / "images", window=24, overlap=0.5, flips=True)
    windows = Inference(window=24, flips=True)
    predict_files(model, [images / "images"], out / "masks", how=windows)
    assert list(predict_cases(model, [])) == []
    found = evaluate(model, images, split="all", how=windows, out=out / "report")
    solid = make_brightness(intensity=RangeIntensity(minimum=0, maximum=1000))
    planes = Inference(planes=("axial", "coronal"))
    predict_files(solid, [volumes / "imagesTr"], out / "volumes", how=planes)
    deep = evaluate(solid, volumes, split="all", how=planes)
    scores = [each.headline.metric("dice").interval.mean for each in (found, deep)]
    (out / "scores.json").write_text(json.dumps(scores), encoding="utf-8")

"""bfloat16 in the frozen backbone: asked for, recorded, and of no consequence for the masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dinoseg import evaluate, load, predict, train
from dinoseg.backbones.extractors import PRECISIONS
from dinoseg.cli.options import PrecisionName
from dinoseg.config import BackboneSettings
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.errors import ConfigError, OutputError, RunError, UsageError
from dinoseg.inference import predict_files

SETTINGS = {
    "train.epochs": 12,
    "train.views": 2,
    "train.min_bank": 1,
    "train.min_epoch_samples": 48,
    "model.preprocessing.size": 128,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data"), kind="dermoscopy", count=24, size=(96, 128))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on features in float32."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {**SETTINGS, "cache.folder": str(folder / "features")}
    train(data, method="segdino-v1", backbone="untrained-vitt16", out=folder / "run", changes=changes)
    return folder / "run"


def pictures(data: Path) -> list[Path]:
    return sorted((data / "images").iterdir())


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def test_masks_agree(run: Path, data: Path) -> None:
    some = pictures(data)[:12]
    exact = np.stack([item.mask for item in predict(run, some)]) > 0
    fast = np.stack([item.mask for item in predict(load(run, precision="bfloat16"), some)]) > 0
    truth = np.stack([item.mask for item in predict(load(run, precision="float32"), some)]) > 0
    assert 0.02 < exact.mean() < 0.6  # a model that found something, not everything
    assert dice(exact, fast) >= 0.998
    assert np.array_equal(exact, truth)


def test_scores_agree_and_the_report_says_which(run: Path, data: Path, tmp_path: Path) -> None:
    exact = evaluate(run, data, split="test")
    fast = evaluate(load(run, precision="bfloat16"), data, split="test", out=tmp_path)
    first, second = (found.headline.metric("dice").interval.mean for found in (exact, fast))
    assert first > 0.5
    assert second == pytest.approx(first, abs=0.002)
    stored = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert stored["facts"]["Backbone"].endswith(", bfloat16)")


def test_a_model_loads_in_the_precision_it_was_trained_in_or_another(run: Path) -> None:
    exact, fast = load(run), load(run, precision="bfloat16")
    assert [model.backbone.precision for model in (exact, fast)] == ["float32", "bfloat16"]
    assert [model.settings.backbone.precision for model in (exact, fast)] == ["float32", "bfloat16"]
    assert exact.backbone.identity == fast.backbone.identity == exact.backbone.digest
    assert exact.backbone.digest != fast.backbone.digest


def test_training_in_bfloat16_is_recorded(data: Path, tmp_path: Path) -> None:
    small = {"train.epochs": 1, "train.views": 1, "model.preprocessing.size": 32}
    changes = {**SETTINGS, **small, "cache.folder": str(tmp_path / "features")}
    model = train(
        data,
        method="linear",
        backbone="untrained-vitt16",
        out=tmp_path / "run",
        changes={**changes, "model.backbone.precision": "bfloat16"},
    )
    assert model.backbone.precision == "bfloat16"
    assert load(tmp_path / "run").backbone.precision == "bfloat16"
    assert load(tmp_path / "run", precision="float32").backbone.precision == "float32"
    environment = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))
    assert environment["backbone"]["digest"] == model.backbone.digest != model.backbone.identity


def test_models_of_older_versions_computed_in_float32(run: Path, tmp_path: Path) -> None:
    for name in ("config.json", "decoder.safetensors"):
        (tmp_path / name).write_bytes((run / "model" / name).read_bytes())
    described = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    del described["backbone"]["precision"], described["settings"]["backbone"]["precision"]
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    assert load(tmp_path).backbone.precision == "float32"
    described["backbone"]["precision"] = "float16"
    (tmp_path / "config.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(RunError, match=r"config.json is damaged .*backbone.precision"):
        load(tmp_path)


def test_masks_of_two_precisions_do_not_mix(run: Path, data: Path, tmp_path: Path) -> None:
    report = predict_files(run, pictures(data)[:1], tmp_path)
    assert report.model["precision"] == "float32"
    with pytest.raises(OutputError, match=r"made with another .*precision"):
        predict_files(load(run, precision="bfloat16"), pictures(data)[:2], tmp_path, resume=True)


def test_other_precisions_are_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"backbone.precision.*float16"):
        load(run, precision="float16")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^precision belongs to load\(\)"):
        predict(run, np.zeros((8, 8)), precision="float32")


def test_the_option_names_what_there_is() -> None:
    assert get_args(PrecisionName) == PRECISIONS
    assert get_args(BackboneSettings.model_fields["precision"].annotation) == PRECISIONS

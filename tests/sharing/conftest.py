"""A small trained run, and a hub on this machine that the environment names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from dinoseg.backbones import create_backbone
from dinoseg.model.segmenter import Segmenter
from tests.cli.conftest import run as run
from tests.sharing.model_hub import TOKEN, ModelHub, run_model_hub
from tests.test_model import make_settings


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    with run_model_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield served


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A model as training leaves it, with splits and a report, and things that are nobody else's business."""
    run = tmp_path / "runs" / "polyps"
    Segmenter(make_settings("untrained-vitt16"), create_backbone("untrained-vitt16")).save(run / "model")
    (run / "splits.json").write_text(
        json.dumps({"train": ["frau-müller-1", "b"], "val": ["c"], "test": ["d"]}), encoding="utf-8"
    )
    (run / "model" / ".hidden").write_text("not ours")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").write_text("large")
    row = {
        "class_name": "lesion",
        "unit": "px",
        "cases": 1,
        "missed": 0,
        "with_target": 1,
        "metrics": [
            {"metric": "dice", "interval": {"mean": 0.81234, "low": 0.7, "high": 0.9}},
            {"metric": "hd95", "interval": {"mean": 4.0, "low": None, "high": None}},
        ],
    }
    facts = {"Data": "/home/alice/frau-müller/kvasir", "Split": "test (1 cases)"}
    summary = {"protocol": "native", "facts": facts, "classes": [row]}
    (run / "report" / "test").mkdir(parents=True)
    (run / "report" / "test" / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.radial_gradient("L").resize((60, 40)).convert("RGB").save(path)
    return path

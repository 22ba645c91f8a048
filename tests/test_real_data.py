"""What must hold on real images: slow, and only where the real data is at hand (`make test-all`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.evaluation import Evaluation, evaluate
from dinoseg.training import train
from tests.training.folders import read_rows

pytestmark = pytest.mark.slow


def score(evaluation: Evaluation, metric: str) -> float:
    return evaluation.headline.metric(metric).interval.mean


def test_the_published_recipe_reaches_what_the_released_head_reached(shared: Path, tmp_path: Path) -> None:
    """SegDINO v1 on frozen ViT-Tiny features of Kvasir-SEG, 20 epochs.

    The released head reached 0.76 to 0.77 on another split, its epoch chosen on the scored images.
    The validation split is chosen and scored in the same way here; test is only looked at once.
    """
    data, run = shared / "data" / "kvasir-seg", tmp_path / "run"
    backbone = str(shared / "weights" / "vit-tiny-in1k")
    train(
        data,
        method="segdino-v1",
        backbone=backbone,
        out=run,
        preset="paper",
        changes={"train.epochs": 20, "cache.folder": str(tmp_path / "features")},
    )
    rows = read_rows(run)
    assert max(float(row["val_dice"]) for row in rows) >= 0.76
    evaluation = evaluate(run, data, split="test", out=tmp_path / "report")
    assert evaluation.headline.cases == 120
    assert score(evaluation, "dice") >= 0.69
    assert abs(score(evaluate(run, data, protocol="paper"), "dice") - score(evaluation, "dice")) < 0.01
    assert "missed" in (tmp_path / "report" / "summary.csv").read_text(encoding="utf-8")


def test_five_shots_of_kvasir_learn_something(shared: Path, tmp_path: Path) -> None:
    """Five labelled frames, our recipe, a tenth of its epochs: well above an all-foreground mask (0.24)."""
    data, run = shared / "data" / "kvasir-seg", tmp_path / "run"
    train(
        data,
        method="segdino-v1",
        backbone=str(shared / "weights" / "vit-tiny-in1k"),
        out=run,
        shots=5,
        changes={
            "train.epochs": 5,
            "train.validate_every": 5,
            "train.min_bank": 50,
            "cache.folder": str(tmp_path / "features"),
        },
    )
    assert score(evaluate(run, data, split="test"), "dice") > 0.35

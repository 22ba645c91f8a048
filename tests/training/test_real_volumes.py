"""Training on real volumes: slow, and only where the real data is at hand (`make test-all`)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.splits.splits import check_splits, make_splits
from dinoseg.evaluation import evaluate
from dinoseg.training import train
from tests.data.samples import shared_data
from tests.training.folders import read_rows

pytestmark = pytest.mark.slow


def test_acdc_in_seven_shots(tmp_path: Path) -> None:
    """DINO-AugSeg's protocol: the first seven lines of its list; Dice of whole volumes, three structures.

    A quarter of a minute of training on features of a small ViT: far from the published numbers, and far
    above what a model that learned nothing reaches.
    """
    data, run = shared_data("acdc"), tmp_path / "run"
    changes = {
        "train.epochs": 6,
        "train.views": 1,
        "train.min_bank": 0,
        "cache.folder": str(tmp_path / "features"),
    }
    train(
        data,
        method="segdino-v1",
        backbone=str(data.parent.parent / "weights" / "vit-tiny-in1k"),
        out=run,
        shots=7,
        shots_from="first",
        changes=changes,
    )
    splits = json.loads((run / "splits.json").read_text())
    listed = (data / "splits/shots.txt").read_text().split()
    assert splits["train"] == listed[:7]
    assert len(splits["test"]) == 24
    assert max(float(row["val_dice"]) for row in read_rows(run)) >= 0.5
    evaluation = evaluate(run, data, split="test")
    assert Counter(score.class_name for score in evaluation.scores) == {f"class_{n}": 24 for n in (1, 2, 3)}
    assert evaluation.unit == "px"
    assert evaluation.headline.metric("dice").interval.mean >= 0.4
    # Training counts as evaluation does; the remembered features are rounded to bfloat16.
    again = evaluate(run, data, split="val").headline.metric("dice").interval.mean
    assert again == pytest.approx(float(read_rows(run)[-1]["val_dice"]), abs=0.01)


def test_hippocampus_is_read_checked_and_split() -> None:
    data = shared_data("Dataset004_Hippocampus")
    dataset = open_dataset(data)
    assert len(dataset.cases) == 100
    assert dataset.classes == {0: "background", 1: "anterior", 2: "posterior"}
    assert dataset.channel_names == ("MRI",)
    splits = make_splits(dataset, seed=0)
    check_splits(dataset, splits)
    assert [len(ids) for _, ids in splits.items()] == [70, 10, 20]
    case = read_volume_case(dataset.cases[0], dataset.labels)
    assert case.label is not None
    assert case.image.geometry.shape == case.label.geometry.shape
    report = check_dataset(data)
    assert report.exit_code == 0
    assert report.volumes is not None
    assert report.volumes.finest == report.volumes.coarsest == (1.0, 1.0, 1.0)
    assert [summary.cases for summary in report.classes.values()] == [100, 100]
    assert 0.05 < report.volumes.foreground_share < 0.055

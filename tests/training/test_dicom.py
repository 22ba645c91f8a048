"""Training and evaluation on a folder of DICOM series with labels, like on any other volumes."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import make_splits, save_splits
from dinoseg.evaluation import evaluate
from dinoseg.training import train
from tests.data.dicom.case_folders import add_case
from tests.training.folders import SMALL


def test_train_and_evaluate_on_dicom(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for seed, name in enumerate("abcdef"):
        add_case(data, name, seed=seed, kind=("SEG", "RTSTRUCT")[seed % 2])
    dataset = open_dataset(data)
    save_splits(data / "splits.json", make_splits(dataset, seed=0))
    changes = {**SMALL, "train.epochs": 1, "cache.folder": str(tmp_path / "cache")}
    train(data, method="linear", backbone="untrained-vitt16", out=tmp_path / "run", changes=changes)
    scored = evaluate(tmp_path / "run", data, split="test")
    assert scored.failures == ()
    assert scored.unit == "mm"
    assert {score.case for score in scored.scores} == set(make_splits(dataset, seed=0).test)

"""A validation split that shows no class cannot choose an epoch; of equal epochs the later one is kept."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dinoseg.config import TrainSettings
from dinoseg.data import open_dataset
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.splits.splits import resolve_splits
from dinoseg.training.learning.callbacks import Checkpoint
from dinoseg.training.learning.history import History
from dinoseg.training.learning.learning_curve import draw_learning_curve
from dinoseg.training.learning.module import DecoderTraining
from tests.backbones.tiny import Notes
from tests.inference.models import BINARY, make_glass
from tests.training.folders import make_data, read_decoder, read_rows, train_small
from tests.training.test_module import ids, logits_of

pytestmark = pytest.mark.usefixtures("quick")


def blank(data: Path, cases: tuple[str, ...]) -> None:
    for path in (data / "masks").iterdir():
        if path.stem in cases:
            Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)


def find_val(data: Path) -> tuple[str, ...]:
    return resolve_splits(open_dataset(data)).val


def test_the_last_epoch_is_kept_and_said(tmp_path: Path) -> None:
    data, notes = make_data(tmp_path / "data"), Notes()
    val = find_val(data)
    blank(data, val)
    train_small(data, tmp_path / "run", tmp_path / "cache", progress=notes)
    assert any(
        line.startswith(f"none of the {len(val)} validation cases shows a class") and "last epoch" in line
        for line in notes.notes
    )
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 1  # of two
    kept = read_decoder(tmp_path / "run")
    assert all(torch.equal(best["state_dict"][f"decoder.{name}"], value) for name, value in kept.items())
    assert [math.isnan(float(row["val_dice"])) for row in read_rows(tmp_path / "run")] == [True, True]
    assert not any(math.isnan(float(row["val_loss"])) for row in read_rows(tmp_path / "run"))


def test_a_few_empty_cases_are_told_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    data, notes = make_data(tmp_path / "data"), Notes()
    val = find_val(data)
    blank(data, val[:1])
    empty = open_dataset(data).empty.intersection(val)  # some of the drawn ones are
    assert 0 < len(empty) < len(val)
    train_small(data, tmp_path / "run", tmp_path / "cache", progress=notes)
    assert any(
        line.startswith(
            f"{len(empty)} of the {len(val)} validation cases show no class: in the validation Dice"
        )
        for line in notes.notes
    )
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize(("current", "kept"), [(0.5, False), (0.75, True), (0.8, True)])
def test_of_equal_epochs_the_later_one_is_kept(tmp_path: Path, current: float, kept: bool) -> None:
    checkpoint = Checkpoint(dirpath=tmp_path, filename="best", monitor="val_dice", mode="max")
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision: decision)
    )
    assert checkpoint.check_monitor_top_k(trainer, torch.tensor(0.1))  # nothing is kept yet
    checkpoint.best_k_models = {"best": torch.tensor(0.75)}
    checkpoint.kth_best_model_path = "best"
    assert checkpoint.check_monitor_top_k(trainer, torch.tensor(current)) is kept


def _validate(labels: list[torch.Tensor]) -> dict[str, float]:
    """What is logged of cases that a model leaves empty."""
    bank: Any = SimpleNamespace(
        native_label=lambda position: labels[position], ignores=True, subject=lambda position: position
    )
    module = DecoderTraining(make_glass(BINARY), TrainSettings(), bank, bank)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **keywords: logged.update({name: float(value)})  # type: ignore[method-assign, assignment, misc]
    for case in range(len(labels)):
        module._overlaps[case] = module._native_overlap(logits_of(ids([0, 1]), 1), case)
    module.on_validation_epoch_end()
    return logged


def test_what_nobody_decided_counts_in_no_validation_score() -> None:
    nobody = ids([IGNORE_ID, IGNORE_ID])
    assert _validate([ids([1, 0]), ids([0, 1]), nobody]) == {"val_dice": pytest.approx(0.5)}
    assert _validate([ids([0, 0]), nobody]) == {}


def test_a_run_without_a_validation_dice_is_told_by_its_losses(tmp_path: Path) -> None:
    rows = [
        {"epoch": number, "train_loss": 1 / number, "val_loss": 0.5, "val_dice": math.nan}
        for number in (1.0, 2.0)
    ]
    draw_learning_curve(rows, tmp_path / "curve.png", title="run")
    assert np.asarray(Image.open(tmp_path / "curve.png")).std() > 0
    notes = Notes()
    history = History(tmp_path / "metrics.csv", notes)
    trainer: Any = SimpleNamespace(
        callback_metrics={"train_loss": torch.tensor(0.5), "val_loss": torch.tensor(0.25)},
        current_epoch=0,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.25}])],
        is_global_zero=True,
        max_epochs=4,
    )
    history.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    history.on_validation_end(trainer, None)  # type: ignore[arg-type]
    history.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert "validation loss 0.2500" in notes.notes[0]
    assert "Dice" not in notes.notes[0]

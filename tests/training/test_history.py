"""The table and the picture of a run."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from dinoseg.training.learning.history import COLUMNS, History
from dinoseg.training.learning.learning_curve import draw_learning_curve
from tests.backbones.tiny import Notes


def make_trainer(epoch: int, **metrics: float) -> Any:
    return SimpleNamespace(
        callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
        current_epoch=epoch,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.25}])],
        is_global_zero=True,
        max_epochs=4,
        estimated_stepping_batches=12,
        global_step=3 * epoch,
    )


def end_epoch(history: History, epoch: int, *, validated: bool = True, **metrics: float) -> None:
    trainer: Any = make_trainer(epoch, **metrics)
    history.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    if validated:
        history.on_validation_end(trainer, None)  # type: ignore[arg-type]
    history.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_per_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", Notes())
    end_epoch(history, 0, train_loss=0.5, val_loss=0.75, val_dice=0.25)
    end_epoch(history, 1, train_loss=0.125, ignored=3.0)
    first, second = read(tmp_path / "metrics.csv")
    assert tuple(first) == COLUMNS
    assert [first[name] for name in COLUMNS[:5]] == ["1", "0.5", "0.75", "0.25", "0.25"]
    assert [second[name] for name in COLUMNS[:4]] == ["2", "0.125", "nan", "nan"]
    assert 0 <= float(second["seconds"]) < 5


def test_scores_of_an_earlier_epoch_are_not_repeated(tmp_path: Path) -> None:
    """Lightning's table still shows the last validation after an epoch without one."""
    notes = Notes()
    history = History(tmp_path / "metrics.csv", notes)
    end_epoch(history, 0, train_loss=0.5, val_loss=0.75, val_dice=0.25)
    end_epoch(history, 1, validated=False, train_loss=0.25, val_loss=0.75, val_dice=0.25)
    assert [row["val_dice"] for row in read(tmp_path / "metrics.csv")] == ["0.25", "nan"]
    assert [row["train_loss"] for row in read(tmp_path / "metrics.csv")] == ["0.5", "0.25"]
    assert "validation" not in notes.notes[1]


def test_a_line_per_epoch_tells_the_best(tmp_path: Path) -> None:
    notes = Notes()
    history = History(tmp_path / "metrics.csv", notes)
    end_epoch(history, 0, train_loss=0.5, val_loss=0.75, val_dice=0.5)
    end_epoch(history, 1, train_loss=0.25, val_loss=0.75, val_dice=0.25)
    end_epoch(history, 2, train_loss=0.125)
    assert notes.notes[0].startswith("epoch 1/4  loss 0.5000  validation Dice 0.5000 (best 0.5000)")
    assert notes.notes[1].startswith("epoch 2/4  loss 0.2500  validation Dice 0.2500 (best 0.5000)")
    assert notes.notes[2].startswith("epoch 3/4  loss 0.1250  0.0 s")


def test_the_table_continues_from_a_checkpoint(tmp_path: Path) -> None:
    whole = History(tmp_path / "whole.csv", Notes())
    end_epoch(whole, 0, train_loss=0.5)
    state = whole.state_dict()
    resumed = History(tmp_path / "resumed.csv", Notes())
    resumed.load_state_dict(state)
    for history in (whole, resumed):
        end_epoch(history, 1, train_loss=0.25)
    assert [row["epoch"] for row in resumed.rows] == [1, 2]
    assert [row["train_loss"] for row in read(tmp_path / "resumed.csv")] == ["0.5", "0.25"]
    assert len(read(tmp_path / "whole.csv")) == 2


def test_the_bar_counts_the_steps_that_are_left_and_is_closed(tmp_path: Path) -> None:
    notes = Notes()
    history = History(tmp_path / "metrics.csv", notes)
    history.on_train_start(make_trainer(1), None)  # type: ignore[arg-type]
    for _ in range(4):
        history.on_train_batch_end()
    assert (notes.total, notes.steps) == (9, 4)
    history.on_train_end(make_trainer(1), None)  # type: ignore[arg-type]
    assert notes.steps == 9


def rows(dice: list[float]) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1.5 / epoch + 0 * value, "val_dice": value}
        for epoch, value in enumerate(dice, start=1)
    ]


def pixels(path: Path) -> np.ndarray:
    with PillowImage.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def test_the_picture_shows_the_curves(tmp_path: Path) -> None:
    path = tmp_path / "report" / "curve.png"
    draw_learning_curve(rows([0.2, 0.6, 0.5]), path, title="method on backbone")
    drawn = pixels(path)
    height, width = drawn.shape[:2]
    assert (height, width) == (432, 1080)
    blue = (np.abs(drawn.astype(int) - (0, 0x72, 0xB2)).sum(axis=2) < 60).nonzero()
    orange = (np.abs(drawn.astype(int) - (0xD5, 0x5E, 0)).sum(axis=2) < 60).nonzero()
    assert len(blue[1]) > 100
    assert blue[1].max() < width / 2  # training loss: left only
    assert (orange[1] < width / 2).sum() > 100  # validation loss left, Dice right
    assert (orange[1] > width / 2).sum() > 100


def test_a_single_epoch_can_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    draw_learning_curve(rows([0.0]), path, title="t")
    drawn = pixels(path)
    left = drawn[:350, 60:500].astype(int)  # without the letters and lines of the legend
    assert (np.abs(left - (0, 0x72, 0xB2)).sum(axis=2) < 60).sum() > 10


def test_the_picture_without_validation_has_no_second_curve(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    draw_learning_curve(rows([math.nan, math.nan]), path, title="t")
    drawn = pixels(path)
    assert not (np.abs(drawn.astype(int) - (0xD5, 0x5E, 0)).sum(axis=2) < 60).any()
    draw_learning_curve(rows([math.nan, 0.5]), path, title="t")  # an older picture is replaced
    assert (np.abs(pixels(path).astype(int) - (0xD5, 0x5E, 0)).sum(axis=2) < 60).any()
    assert [each.name for each in tmp_path.iterdir()] == ["curve.png"]

"""How long a training takes is said before the long work, and what would make it shorter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.methods.presets import preset
from dinoseg.progress import Silent
from dinoseg.training import train
from dinoseg.training.learning.forecast import Forecast, Speed

SMALL = {"model.preprocessing.size": 32, "train.min_bank": 1, "train.min_epoch_samples": 1, "train.epochs": 2}


class _Told(Silent):
    """Keeps notes and the labels of tasks, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def track(self, items, *, total, label):
        self.lines.append(label)
        yield from items

    def note(self, message: str) -> None:
        self.lines.append(message)


def _forecast(speed: Speed, **changes: object) -> Forecast:
    settings = preset("default", "segdino-v2").model_copy(update=changes)
    return Forecast(speed=speed, views=1000, steps=100, validations=10, settings=settings)


def test_times_are_those_of_views_steps_and_validations() -> None:
    found = _forecast(Speed(view=0.5, step=0.2, validation=0.1), epochs=10, validate_every=2)
    assert found.features == pytest.approx(500)
    assert found.learning == pytest.approx(10 * 100 * 0.2 + 5 * 10 * 0.1)


def test_a_long_run_says_what_would_be_shorter() -> None:
    found = _forecast(Speed(view=0.5, step=0.2, validation=0.1))
    assert found.word(method="segdino-v2", bank_views=8) == (
        "this will take about 8 min 20 s for the features of 1000 views and 17 min 30 s for 50 epochs of 100 "
        "steps; shorter: --set train.views=1 --set train.min_bank=0, --epochs 16, a smaller --size, "
        "--method segdino-v1"
    )
    assert "train.views" not in found.word(method="segdino-v2", bank_views=1)
    assert "segdino-v1" not in found.word(method="linear", bank_views=8)


def test_a_short_run_says_only_how_long() -> None:
    found = _forecast(Speed(view=0.01, step=0.001, validation=0.001), epochs=2)
    assert found.word(method="segdino-v2", bank_views=8).endswith("0 s for 2 epochs of 100 steps")


def test_training_says_it_before_it_computes(tmp_path: Path) -> None:
    """Only where features are to be computed; the weights do not depend on the measuring."""
    data = write_phantoms(tmp_path / "data", kind="dermoscopy", count=12, size=(32, 40))
    options = {"method": "linear", "backbone": "untrained-vitt16"}
    changes = {**SMALL, "train.views": 2, "cache.folder": str(tmp_path / "features")}
    told = _Told()
    train(data, tmp_path / "run", changes=changes, progress=told, **options)
    (line,) = [line for line in told.lines if line.startswith("this will take")]
    assert re.fullmatch(
        r"this will take about \d+ s for the features of 18 views and \d+ s for 2 epochs of 2 steps", line
    )
    features = [index for index, line in enumerate(told.lines) if line.startswith("features of")]
    assert told.lines.index(line) < min(features)
    again = _Told()
    train(data, tmp_path / "again", changes=changes, progress=again, **options)
    assert [line for line in again.lines if line.startswith("this will take")] == []
    weights = [tmp_path / run / "model" / "decoder.safetensors" for run in ("run", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()

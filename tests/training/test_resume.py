"""A run that is killed and resumed equals one that was left alone, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dinoseg.errors import RunError
from dinoseg.training import train
from dinoseg.training.learning.module import DecoderTraining
from dinoseg.training.runs.locks import LOCK
from tests.backbones.tiny import Notes
from tests.training.folders import SMALL, make_data, read_decoder, train_small

SCRIPT = """
import json, sys, time
from dinoseg.training import train
from dinoseg.training.learning.module import DecoderTraining

class Slow(DecoderTraining):
    def on_train_batch_end(self, *arguments):
        time.sleep(0.05)  # so that the kill comes in the middle of an epoch

import dinoseg.training.learning.trainer as trainer
trainer.DecoderTraining = Slow
train(sys.argv[1], out=sys.argv[2], changes=json.loads(sys.argv[3]), **json.loads(sys.argv[4]))
"""
EPOCHS = 6


def start(
    data: Path, out: Path, changes: dict[str, object], arguments: dict[str, object]
) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(data), str(out)]
    return subprocess.Popen([*words, json.dumps(changes), json.dumps(arguments)], env=dict(os.environ))


def wait_for_epoch(out: Path, epoch: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rows = (out / "metrics.csv").read_text().splitlines() if (out / "metrics.csv").is_file() else []
        if len(rows) > epoch and (out / "checkpoints" / "last.ckpt").is_file():
            return
        if process.poll() is not None:
            pytest.fail(f"training ended with {process.returncode} before it could be killed")
        time.sleep(0.01)
    pytest.fail("training did not reach the epoch in time")


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    arguments: dict[str, object] = {"method": "segdino-v2", "backbone": "untrained-vitt16", "seed": 3}
    changes = {**SMALL, "train.epochs": EPOCHS, "train.batch_size": 2, "model.decoder.width": 16}
    out = tmp_path / "killed"
    process = start(data, out, changes, arguments)
    wait_for_epoch(out, 2, process)
    for choice in ("resume", "overwrite"):
        with pytest.raises(RunError, match=f"another process is training in {out}; wait"):
            train(data, out=out, changes=changes, **{choice: True}, **arguments)  # type: ignore[arg-type]
    time.sleep(0.12)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model").exists()
    assert (out / LOCK).is_file()  # left behind, and no obstacle

    train(data, out=out, changes=changes, resume=True, **arguments)  # type: ignore[arg-type]
    train(data, out=tmp_path / "whole", changes=changes, **arguments)  # type: ignore[arg-type]

    resumed = load_file(out / "model" / "decoder.safetensors")
    whole = load_file(tmp_path / "whole" / "model" / "decoder.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert losses(out) == losses(tmp_path / "whole")
    assert len(losses(out)) == EPOCHS
    assert not (out / LOCK).exists()


PUBLISHED: dict[str, Any] = {
    "train.steps_per_epoch": 4,
    "train.batch_size": 2,
    "train.feature_augmentation": "wavelet",
    "train.epochs": 3,
}
RECIPES: dict[str, dict[str, Any]] = {
    "dino-unet": {
        **{"train.optimizer": "sgd", "train.schedule": "poly", "train.gradient_clip": 0.5},
        **{"model.decoder.features_per_stage": [8, 8, 8, 8], "model.decoder.fapm_rank": 8},
        **{"model.decoder.spm_width": 8, "model.decoder.heads": 4},
    },
    "dino-augseg": {"train.optimizer": "adam", "model.decoder.final_width": 8},
    "guided": {"model.decoder.width": 8, "model.decoder.image_widths": [4, 6, 8]},
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", RECIPES)
def test_stopped_within_an_epoch_and_resumed_equals_uninterrupted(
    method: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that the published recipes add: momentum, rates by epoch, drawn features, counted steps."""
    changes = {**PUBLISHED, **RECIPES[method]}
    train_small(data, tmp_path / "whole", cache, method=method, changes=changes)
    step = DecoderTraining.training_step

    def stop(self: DecoderTraining, batch: Any, index: int) -> Any:
        if (self.current_epoch, index) == (2, 1):
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderTraining, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train_small(data, tmp_path / "run", cache, method=method, changes=changes)
    assert len(losses(tmp_path / "run")) == 2
    torch.rand(5)
    train_small(data, tmp_path / "run", cache, method=method, changes=changes, resume=True)
    resumed, whole = read_decoder(tmp_path / "run"), read_decoder(tmp_path / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


LONGER: dict[str, Any] = {"train.warmup_epochs": 1, "train.keep": "last", "train.batch_size": 2}


@pytest.mark.usefixtures("quick")
def test_a_finished_run_goes_on_for_more_epochs(data: Path, cache: Path, tmp_path: Path) -> None:
    """With a constant rate it is then the run that was longer from the start, bit for bit."""
    changes, notes = {**LONGER, "train.schedule": "constant"}, Notes()
    train_small(data, tmp_path / "whole", cache, changes={**changes, "train.epochs": 4})
    train_small(data, tmp_path / "run", cache, changes=changes)
    more = {**changes, "train.epochs": 4}
    train_small(data, tmp_path / "run", cache, changes=more, resume=True, progress=notes)
    resumed, whole = read_decoder(tmp_path / "run"), read_decoder(tmp_path / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    configs = [(tmp_path / name / "config.yaml").read_text() for name in ("run", "whole")]
    assert configs[0] == configs[1]
    assert "4 epochs in place of 2: the rates are those of a run of this length" in notes.notes


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_more_epochs_have_the_rates_of_the_new_length(
    schedule: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first step on, though the checkpoint ends with a rate of (nearly) nothing."""
    changes, notes = {**LONGER, "train.schedule": schedule}, Notes()
    rates: list[float] = []
    step = DecoderTraining.training_step

    def note(self: DecoderTraining, batch: Any, index: int) -> Any:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch, index)

    monkeypatch.setattr(DecoderTraining, "training_step", note)
    train_small(data, tmp_path / "run", cache, changes=changes)
    steps = len(rates) // 2
    more = {**changes, "train.epochs": 4}
    train_small(data, tmp_path / "run", cache, changes=more, resume=True, progress=notes)
    gone_on = rates[2 * steps :]
    rates.clear()
    train_small(data, tmp_path / "whole", cache, changes=more)
    assert gone_on == rates[2 * steps :]
    assert len(gone_on) == 2 * steps
    assert f"4 epochs in place of 2: from here on the {schedule} schedule is that of 4 epochs" in notes.notes


@pytest.mark.usefixtures("quick")
def test_nothing_but_more_epochs_is_accepted(data: Path, cache: Path, tmp_path: Path) -> None:
    train_small(data, tmp_path / "run", cache)
    before = (tmp_path / "run" / "config.yaml").read_text()
    refused = {
        r"train\.epochs=2, now 1": {"train.epochs": 1},
        r"train\.lr=0\.001, now 0\.5; resume": {"train.epochs": 3, "train.lr": 0.5},
    }
    for message, changes in refused.items():
        with pytest.raises(RunError, match=message):
            train_small(data, tmp_path / "run", cache, changes=changes, resume=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    assert len(losses(tmp_path / "run")) == 2


@pytest.mark.usefixtures("quick")
def test_an_interrupted_run_goes_on_for_more_epochs(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {**LONGER, "train.schedule": "constant", "train.epochs": 3}
    train_small(data, tmp_path / "whole", cache, changes={**changes, "train.epochs": 4})
    step = DecoderTraining.training_step

    def stop(self: DecoderTraining, batch: Any, index: int) -> Any:
        if (self.current_epoch, index) == (1, 1):
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderTraining, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train_small(data, tmp_path / "run", cache, changes=changes)
    more = {**changes, "train.epochs": 4}
    train_small(data, tmp_path / "run", cache, changes=more, resume=True)
    resumed, whole = read_decoder(tmp_path / "run"), read_decoder(tmp_path / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.usefixtures("quick")
def test_more_epochs_do_not_overrule_patience(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = torch.tensor([[0.0, 2.0, 1.0, 1.0]])
    monkeypatch.setattr(DecoderTraining, "_native_overlap", lambda *arguments: worse)
    changes, notes = {"train.patience": 1, "train.epochs": 5}, Notes()
    train_small(data, tmp_path / "run", cache, changes=changes)
    assert len(losses(tmp_path / "run")) == 2
    more = {**changes, "train.epochs": 9}
    train_small(data, tmp_path / "run", cache, changes=more, resume=True, progress=notes)
    assert len(losses(tmp_path / "run")) == 2
    assert "train.patience=1 stopped the run after epoch 2; more epochs do not start it again" in notes.notes


def losses(run: Path) -> list[list[str]]:
    """Everything of metrics.csv but the seconds."""
    return [line.split(",")[:-1] for line in (run / "metrics.csv").read_text().splitlines()[1:]]

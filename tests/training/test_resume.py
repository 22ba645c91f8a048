"""A run that is killed and resumed equals one that was left alone, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dinoseg.training import train
from tests.training.folders import SMALL, make_data

SCRIPT = """
import json, sys, time
from dinoseg.training import train
from dinoseg.training.module import DecoderTraining

class Slow(DecoderTraining):
    def on_train_batch_end(self, *arguments):
        time.sleep(0.05)  # so that the kill comes in the middle of an epoch

import dinoseg.training.fitting as fitting
fitting.DecoderTraining = Slow
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
    time.sleep(0.12)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model").exists()

    train(data, out=out, changes=changes, resume=True, **arguments)  # type: ignore[arg-type]
    train(data, out=tmp_path / "whole", changes=changes, **arguments)  # type: ignore[arg-type]

    resumed = load_file(out / "model" / "decoder.safetensors")
    whole = load_file(tmp_path / "whole" / "model" / "decoder.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert losses(out) == losses(tmp_path / "whole")
    assert len(losses(out)) == EPOCHS


def losses(run: Path) -> list[list[str]]:
    """Everything of metrics.csv but the seconds."""
    return [line.split(",")[:-1] for line in (run / "metrics.csv").read_text().splitlines()[1:]]

"""Trainings leave warning filters, threads, determinism, seeds and signal handlers as they were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.folders import SMALL

# In a process of its own, where Lightning is not there yet: its import is part of what a training does.
SCRIPT = """
import json, os, signal, sys, threading, warnings
import numpy, random, torch
from dinoseg.training import train

# Set once by the imports of Lightning and torch's compiler: how torch looks for devices, a folder.
SET_BY_IMPORTS = ("PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR")

def state():
    mode = torch.utils.deterministic
    return {
        "filters": [str(each) for each in warnings.filters],
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "filled": mode.fill_uninitialized_memory,
        "signals": [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(numpy.random.get_state()),
        "python": repr(random.getstate()),
        "grad": torch.is_grad_enabled(),
        "dtype": str(torch.get_default_dtype()),
        "environment": {key: os.environ[key] for key in os.environ if key not in SET_BY_IMPORTS},
        "hooks": [str(sys.excepthook), str(threading.excepthook)],
    }

def run(out, epochs):
    changes = {**json.loads(sys.argv[2]), "train.epochs": epochs}
    return train(sys.argv[1], out, method="linear", backbone="untrained-vitt16", changes=changes)

torch.set_num_threads(1)
before = state()
found = {}

run(sys.argv[3] + "/first", 1)
found["one"] = state()
run(sys.argv[3] + "/second", 1)
found["two"] = state()

from dinoseg.training.learning.module import DecoderTraining
step = DecoderTraining.training_step
for name, error in (("failure", ValueError("inside")), ("interruption", KeyboardInterrupt())):
    def fail(self, batch, index):
        raise error
    DecoderTraining.training_step = fail
    try:
        run(sys.argv[3] + "/" + name, 1)
    except (ValueError, KeyboardInterrupt) as caught:
        assert type(caught) is type(error), caught
    else:
        raise SystemExit("nothing was raised")
    found[name] = state()
DecoderTraining.training_step = step
print("STATES", json.dumps({"before": before, **found, "loaded": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def states(data: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    changes = {**SMALL, "cache.folder": str(cache)}
    words = [str(data), json.dumps(changes), str(tmp_path_factory.mktemp("runs"))]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.rpartition("STATES")[2])
    return found


@pytest.mark.parametrize("when", ["one", "two", "failure", "interruption"])
def test_a_training_leaves_the_process_as_it_was(states: dict[str, dict[str, Any]], when: str) -> None:
    different = {key for key, value in states["before"].items() if states[when][key] != value}
    assert different == set(), {key: (states["before"][key], states[when][key]) for key in different}


def test_nothing_of_monai_is_loaded_by_a_training(states: dict[str, Any]) -> None:
    """It took half a second, and is an oracle of the tests only."""
    assert "torch" in states["loaded"]
    assert not [name for name in states["loaded"] if name.partition(".")[0] in ("monai", "ignite")]

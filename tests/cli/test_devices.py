from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dinoseg.cli.devices import check_device, list_devices
from dinoseg.config.training import Training
from dinoseg.errors import UsageError
from tests.cli.commands import list_commands

FAULTS = """
import resource
import torch
from dinoseg.cli.devices import keep_freed_memory

def count_faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**18)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

# The heap settles in up to ten rounds, depending on what lies in it.
print(keep_freed_memory(), sorted(count_faults() for _ in range(24))[12])
"""


def test_training_offers_the_devices_that_it_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert list_devices() == ["cpu", "cuda:0", "cuda:1", "mps"]
    for device in list_devices(training=True):
        Training(device=device)
    with pytest.raises(UsageError, match=r"on this machine: cpu, cuda:0, cuda:1$"):
        check_device("warp", training=True)


@pytest.mark.parametrize("words", ["train", "curve", "predict", "evaluate"])
def test_help_names_the_devices_that_the_command_accepts(words: str) -> None:
    (device,) = [option for option in list_commands()[words].params if "--device" in option.opts]
    assert ("mps" in device.help) == (words in ("predict", "evaluate"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc, which is Linux's")
def test_freed_memory_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library here has no mallopt")
    assert int(faults) < 1000  # 16384 pages would be faulted in anew

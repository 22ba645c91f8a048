from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from dinoseg.cli.devices import keep_freed_memory

def count_faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**18)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(keep_freed_memory(), [count_faults() for _ in range(8)][-1])  # the heap settles in some rounds
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc, which is Linux's")
def test_freed_memory_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library here has no mallopt")
    assert int(faults) < 1000  # 16384 pages would be faulted in anew

"""One deployed model in a process of its own, for `deployment.py`: reads batch sizes, answers with seconds.

It imports what the model needs and nothing else, so that its peak of memory is the model's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def serve(folder: str, engine: str, precision: str, threads: int, size: int) -> None:
    """Load a run folder (engine "torch") or a bundle, then time a call for every line of stdin."""
    import numpy as np

    from dinoseg.cli.devices import keep_freed_memory
    from dinoseg.model.opening import load

    keep_freed_memory()  # as the command line does
    if engine == "torch":
        import torch

        torch.set_num_threads(threads)
        model = load(folder, precision=precision)
    else:
        model = load(folder, engine=engine, precision=precision, threads=threads)
    generator = np.random.default_rng(0)
    for line in sys.stdin:
        pixels = generator.standard_normal((int(line), 3, size, size), dtype=np.float32)
        wall, processor = time.perf_counter(), time.process_time()
        model.logits(pixels)
        taken = (time.perf_counter() - wall, time.process_time() - processor)
        print(json.dumps([*taken, read_peak()]), flush=True)


def read_peak() -> float:
    """The most memory that this process ever held, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))

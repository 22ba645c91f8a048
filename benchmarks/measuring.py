"""What the speed benchmarks share: timing in turn, the machine's ceiling and description, rows to CSV."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dinoseg.backbones.architecture import read_settings
from dinoseg.backbones.backbone import PRECISIONS, Precision
from dinoseg.backbones.catalog import BACKBONES
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.published import PublishedWeights, list_shapes
from dinoseg.outputs import write_csv

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
PRODUCT = {"cpu": 2048, "cuda": 8192}  # sides of the square matrices whose product is the ceiling
Run = Callable[[], object]
Row = dict[str, Any]


def measure(runs: Mapping[str, Run], *, rounds: int, device: str = "cpu", seconds: float = 0.0) -> Row:
    """Median seconds of every run, in turn, so that a slow moment of the machine meets all of them.

    Args:
        runs: name -> what to call; each is called once before anything is timed.
        rounds: how often each is timed.
        device: waited for, where it works ahead of the program.
        seconds: repeat a run within a round until it lasts so long.
    """
    repeats = {name: _count_repeats(run, device, seconds) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            wait(device)
            taken[name].append((time.perf_counter() - started) / repeats[name])
    return {name: statistics.median(values) for name, values in taken.items()}


def _count_repeats(run: Run, device: str, seconds: float) -> int:
    run()
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return max(1, round(seconds / max(time.perf_counter() - started, 1e-6)))


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def matrix_rate(dtype: torch.dtype, *, device: str = "cpu") -> float:
    """GFLOP/s of a large matrix product, the best of five: the machine's ceiling for this type."""
    side = PRODUCT[device.partition(":")[0]]
    matrix = torch.randn(side, side, device=device).to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(6):
            started = time.perf_counter()
            torch.mm(matrix, matrix)
            wait(device)
            best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best / 1e9


def describe_machine(device: str = "cpu") -> list[str]:
    """Lines for the top of a CSV: what computed, and how busy it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    lines = [
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"load {load:.1f} before the run",
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}",
    ]
    if device.startswith("cuda"):
        lines.append(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}")
    return lines


def list_precisions() -> tuple[Precision, ...]:
    """Those that this processor computes in itself: bfloat16 is emulated elsewhere, and a waste of time."""
    return PRECISIONS if _find_bfloat16_units() else ("float32",)


def _processor() -> str:
    name = _read_processor().get("model name") or platform.processor() or platform.machine()
    return f"{name} ({' '.join(_find_bfloat16_units()) or 'no bfloat16 unit'})"


def _find_bfloat16_units() -> list[str]:
    flags = _read_processor().get("flags", "").split()
    return [unit for unit in ("avx512_bf16", "amx_bf16") if unit in flags]


def _read_processor() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in facts.items()}


def random_weights(name: str) -> PublishedWeights:
    """Weights that nobody trained, of the catalog's real size."""
    settings = read_settings(BACKBONES[name])
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for key, shape in list_shapes(settings).items():
        if len(shape) == 1:
            tensors[key] = torch.zeros(shape) if key.endswith("bias") else torch.ones(shape)
        else:
            tensors[key] = 0.02 * torch.randn(shape, generator=generator)
    return PublishedWeights(settings, tensors)


def random_backbone(name: str, *, precision: Precision = "float32") -> Extractor:
    """A backbone of the catalog at its real size, with weights that nobody trained."""
    return Extractor(random_weights(name), BACKBONES[name], precision=precision, source="random weights")


def resident_memory_gb() -> float:
    """Memory of this process now; its peak so far where the system does not say."""
    return _status_gb("VmRSS") or peak_memory_gb()


def peak_memory_gb() -> float:
    """The most memory that this process ever held."""
    # Linux counts what the parent held when it started us into getrusage's number, so not that one first.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status_gb("VmHWM") or size * (1 if sys.platform == "darwin" else 1024) / 1e9


def _status_gb(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(f"{key}:")), None)


def save(name: str, rows: Sequence[Row], comments: Sequence[str]) -> None:
    """Write rows to benchmarks/results/NAME.csv; numbers with four figures."""
    rounded = [
        {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]
    path = RESULTS / f"{name}.csv"
    write_csv(path, rounded, comments=comments, overwrite=True)
    print(f"written to {path.relative_to(ROOT)}")

"""What more images cost: time and memory of the feature cache and of training, for growing data sets.

    python benchmarks/growth.py [--sizes 100 1000 10000] [--threads 2] [--epochs 2]

Draws small pictures (not timed), then trains SegDINO v1 on the untrained ViT, each size in a process of its
own: what is checked of the data, the features, and the epochs after that. Linear time and flat memory are
what is wanted. Writes benchmarks/results/growth.csv and docs/images/growth.png. 10,000 images take about
ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

from dinoseg.cli.devices import keep_freed_memory
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.outputs import atomic_path
from dinoseg.training import train
from measuring import ROOT, Row, describe_machine, peak_memory_gb, save

PICTURE = ROOT / "docs/images/growth.png"
SIDE = 64  # px
PARTS = {"checks_s": "checks of the data", "features_s": "features", "training_s": "training"}
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        print(json.dumps(time_training(arguments.child, arguments.epochs)))
        return
    machine = [*describe_machine(), f"{arguments.epochs} epochs; pictures of {SIDE} px"]
    print("\n".join(machine))
    rows = [measure_size(size, arguments.threads, arguments.epochs) for size in sorted(arguments.sizes)]
    save("growth", rows, machine)
    draw(rows, PICTURE)
    print(f"written to {PICTURE.relative_to(ROOT)}")


def measure_size(size: int, threads: int, epochs: int) -> Row:
    """Draw so many pictures and train on them in another process."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_phantoms(place / "data", kind="ultrasound", count=size, size=(SIDE, SIDE), seed=0)
        command = [sys.executable, __file__, "--threads", str(threads), "--epochs", str(epochs)]
        result = subprocess.run([*command, "--child", folder], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    row: Row = {"images": size, **json.loads(result.stdout.splitlines()[-1])}
    print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    return row


def time_training(folder: Path, epochs: int) -> Row:
    """Seconds of each part and the peak memory after it, in this process."""
    keep_freed_memory()
    clock = Clock()
    started = time.monotonic()
    changes = {
        "train.epochs": epochs,
        "train.views": 1,
        "train.min_bank": 1,
        "train.min_epoch_samples": 0,
        "model.preprocessing.size": SIDE,
        "cache.folder": str(folder / "features"),
    }
    train(
        folder / "data",
        method="segdino-v1",
        backbone="untrained-vitt16",
        out=folder / "run",
        changes=changes,
        progress=clock,
    )
    ended = time.monotonic()
    return {
        "checks_s": clock.first - started,
        "features_s": clock.last - clock.first,
        "training_s": ended - clock.last,
        "features_peak_gb": clock.peak_gb,
        "peak_gb": peak_memory_gb(),
    }


class Clock:
    """A Progress that notes when features are computed, and how much memory there was at their end."""

    def __init__(self) -> None:
        self.first = self.last = self.peak_gb = 0.0

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Hand the items on."""
        features = label.startswith("features")
        if features and not self.first:
            self.first = time.monotonic()
        yield from items
        if features:
            self.last, self.peak_gb = time.monotonic(), peak_memory_gb()

    def note(self, message: str) -> None:
        """Nothing is shown."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Time with a line for each part, and memory, both over the number of images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    sizes = [row["images"] for row in rows]
    for key, label in PARTS.items():
        seconds.loglog(sizes, [row[key] for row in rows], marker="o", label=label)
    linear = [rows[-1]["features_s"] * size / sizes[-1] for size in sizes]
    seconds.loglog(sizes, linear, color="0.7", linestyle=":", label="linear")
    seconds.set(xlabel="images", ylabel="seconds")
    seconds.legend()
    memory.semilogx(sizes, [row["features_peak_gb"] for row in rows], marker="o", label="after the features")
    memory.semilogx(sizes, [row["peak_gb"] for row in rows], marker="s", label="after training")
    memory.set(xlabel="images", ylabel="peak memory, GB", ylim=(0, 1.3 * max(row["peak_gb"] for row in rows)))
    memory.legend()
    for axes in (seconds, memory):
        axes.grid(alpha=0.3)
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    main()

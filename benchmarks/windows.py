"""Windows against whole images: vessels of 1 to 5 px in images of 640 px, at the same cost of training.

    python benchmarks/windows.py [--backbone ../shared/weights/vit-tiny-in1k] [--method segdino-v1]

Every row trains on as many views (16 of each of 30 images) for as many steps (400 of four views) with the
`default` preset otherwise, and keeps the last epoch: nothing is chosen by a score. The rows differ in what a
view is: the whole image at 160 px, a window of 160 px at native resolution, with or without half of them
centred on a vessel, and the whole image at 320 px, whose views cost four times as much. Seconds are those of
one processor core: of training with all features and one validation, and of predicting one image. Three
seeds; rows go to benchmarks/results/windows.csv. Half an hour on one core.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

from dinoseg import evaluate, load, predict, train
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.outputs import write_csv
from drawn_vessels import draw_vessels_once

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/windows.csv"
SIDE = 640  # px, of the images
SEEDS = (0, 1, 2)
CHANGES = {
    "train.epochs": 8,
    "train.steps_per_epoch": 50,
    "train.validate_every": 8,
    "train.warmup_epochs": 1,
    "train.views": 16,
    "train.min_bank": 0,
    "train.keep": "last",
}
ROWS: dict[str, dict[str, Any]] = {
    "whole at 160 px": {"model.preprocessing.size": 160},
    "windows of 160 px": {"train.window": 160},
    "windows of 160 px, anywhere": {"train.window": 160, "train.window_foreground": 0.0},
    "whole at 320 px": {"model.preprocessing.size": 320},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backbone", default=str(ROOT / "../shared/weights/vit-tiny-in1k"))
    parser.add_argument("--method", default="segdino-v1")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/windows")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    arguments = parser.parse_args()
    if not Path(arguments.backbone).is_dir():
        print(f"skipped: needs weights in {arguments.backbone}, which is not there")
        return
    keep_freed_memory()
    torch.set_num_threads(1)
    data = draw_vessels_once(arguments.runs / "data", side=SIDE)
    for name in arguments.rows:
        found = []
        for seed in arguments.seeds:
            found.append(
                run(data, arguments.runs, name, seed, method=arguments.method, backbone=arguments.backbone)
            )
            add_row({"method": arguments.method, "seen": name, "seeds": len(found), **summarise(found)})


def run(data: Path, runs: Path, name: str, seed: int, *, method: str, backbone: str) -> dict[str, float]:
    """Dice on the test images, processor seconds of training with features, and of predicting one image."""
    folder = runs / f"{method}-{name.replace(' ', '-').replace(',', '')}-{seed}"
    with TemporaryDirectory() as cache:
        changes = {**CHANGES, **ROWS[name], "cache.folder": cache}
        started = time.process_time()
        train(data, folder, method=method, backbone=backbone, seed=seed, changes=changes, overwrite=True)
        trained = time.process_time() - started
    model = load(folder)
    (dice,) = [item for item in evaluate(model, data, split="test").headline.metrics if item.metric == "dice"]
    started = time.process_time()
    predict(model, sorted((data / "images").glob("*.png"))[-4:])
    return {"dice": dice.interval.mean, "train_s": trained, "predict_s": (time.process_time() - started) / 4}


def summarise(found: list[dict[str, float]]) -> dict[str, str]:
    """Means over seeds, and the deviation of the Dice."""
    columns = {key: [row[key] for row in found] for key in found[0]}
    spread = statistics.stdev(columns["dice"]) if len(found) > 1 else 0.0
    return {
        "dice": f"{statistics.mean(columns['dice']):.3f}",
        "dice_sd": f"{spread:.3f}",
        "train_s": f"{statistics.median(columns['train_s']):.1f}",
        "predict_s": f"{statistics.median(columns['predict_s']):.3f}",
    }


def add_row(row: dict[str, Any]) -> None:
    """Show a row and keep it in the table, in place of an older one of the same."""
    print(row, flush=True)
    rows = list(csv.DictReader(RESULTS.open(newline=""))) if RESULTS.is_file() else []
    kept = [old for old in rows if (old["method"], old["seen"]) != (row["method"], row["seen"])]
    write_csv(RESULTS, [*kept, row], overwrite=True)


if __name__ == "__main__":
    main()

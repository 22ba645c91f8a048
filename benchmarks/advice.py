"""How good the advice about labels is: what it expects of twice the labels beside what they bring.

    python benchmarks/advice.py [--data kvasir-seg isic2017-256] [--methods linear segdino-v1]

Runs on 20, 40, 80 … training cases (the draws of one seed hold each other), 400 steps of four at 224 px, one
view each, on frozen features of vit-tiny-in1k. Each row has what report/advice.json of the run expects of the
next doubling, the range of the last one over its draws, what the next run then brought, all in validation
Dice, and the seconds of the processor that the advice and the training took. Rows go to
benchmarks/results/advice.csv.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

import dinoseg.training.fitting as fitting
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.config.training import Training
from dinoseg.outputs import write_csv
from dinoseg.training import train
from sizes import BACKBONE, SHARED, Clock

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/advice.csv"
COUNTS = (20, 40, 80, 160, 320)
CHANGES = {
    "model.preprocessing.size": 224,
    "train.views": 1,
    "train.min_bank": 0,
    "train.epochs": 8,
    "train.steps_per_epoch": 50,
    "train.warmup_epochs": 1,
}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", nargs="+", default=["kvasir-seg", "isic2017-256"])
    parser.add_argument("--methods", nargs="+", default=["linear", "segdino-v1"])
    arguments = parser.parse_args()
    if not BACKBONE.is_dir():
        print(f"skipped: needs real images and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    rows: list[Row] = []
    for data in arguments.data:
        with TemporaryDirectory() as place:
            for method in arguments.methods:
                rows += compare(data, method, Path(place))
                write_csv(RESULTS, rows, overwrite=True)


def compare(data: str, method: str, place: Path) -> list[Row]:
    """A row for each number of cases but the largest."""
    found = [train_one(data, method, count, place) for count in COUNTS]
    rows = []
    for row, following in itertools.pairwise(found):
        rows.append({**row, "brought": round(following["dice"] - row["dice"], 4)})
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def train_one(data: str, method: str, count: int, place: Path) -> Row:
    clock, out, advise = Clock(), place / f"{method}-{count}", fitting.advise
    seconds: list[float] = []

    def timed(*arguments: Any, **keywords: Any) -> Any:
        started = time.process_time()
        advice = advise(*arguments, **keywords)
        seconds.append(time.process_time() - started)
        return advice

    fitting.advise = timed
    try:
        changes = {**CHANGES, "cache.folder": str(place / "features")}
        how = Training(method=method, backbone=str(BACKBONE), shots=count, changes=changes)
        train(SHARED / "data" / data, out, how=how, progress=clock)
    finally:
        fitting.advise = advise
    labels = json.loads((out / "report/advice.json").read_text(encoding="utf-8"))["labels"]
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        dice = float(list(csv.DictReader(file))[-1]["val_dice"])
    return {
        "data": data,
        "method": method,
        "cases": count,
        "dice": round(dice, 4),
        "advice_s": round(seconds[0], 1),
        "train_s": round(clock.seconds["training"], 1),
        "expected": labels["expected_gain"],
        "last_low": min(labels["gains"]),
        "last_high": max(labels["gains"]),
    }


if __name__ == "__main__":
    main()

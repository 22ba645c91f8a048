"""What the symmetries and the decision of `guided` bring, on the validation cases of runs/few_labels.

    python benchmarks/symmetries.py [NAME ...] [--runs DIR]

Each run of `few_labels.py --methods guided` predicts its validation cases under 1, 4 and 8 symmetries of the
square, and masks are the most probable class or the extents of the greatest expected Dice (of volumes only
the first). Mean Dice at native size; rows go to benchmarks/results/symmetries.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

import dinoseg
from accuracy import mean
from dinoseg.config import from_yaml, override
from dinoseg.evaluation import evaluate
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import write_csv

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs/few_labels"
RESULTS = ROOT / "benchmarks/results/symmetries.csv"
SYMMETRIES = (1, 4, 8)
DECISIONS = ("probable", "dice")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help="settings such as kvasir-40; all if none")
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder that few_labels.py wrote")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = [folder for folder in sorted(arguments.runs.glob("*/")) if (folder / "guided").is_dir()]
    if not settings:
        print("skipped: no runs of guided; benchmarks/few_labels.py makes them")
        return
    for folder in settings:
        if not arguments.names or folder.name in arguments.names:
            for row in score_setting(folder):
                add_row(row)
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def score_setting(folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each draw, number of symmetries and decision."""
    for run in sorted(folder.glob("guided/runs/*/*/draw-*")):
        model = dinoseg.load(run, accept_license=True)
        own = model.settings
        for symmetries in SYMMETRIES:
            for decision in DECISIONS[: 1 if own.preprocessing.for_volumes else 2]:
                model.settings = override(own, {"symmetries": symmetries, "decision": decision})
                started = time.process_time()
                found = evaluate(model, read_data(run), split="val", splits=run / "splits.json")
                yield {
                    "setting": folder.name,
                    "draw": run.name.removeprefix("draw-"),
                    "symmetries": symmetries,
                    "decision": decision,
                    "dice": round(mean(found.headline, "dice"), 4),
                    "hd95": round(mean(found.headline, "hd95"), 2),
                    "cpu_s": round(time.process_time() - started, 1),
                }


def read_data(run: Path) -> Path:
    """The data that a run was trained on."""
    return from_yaml(RunSettings, (run / "config.yaml").read_text(encoding="utf-8")).folders[0]


def add_row(new: dict[str, Any]) -> None:
    """Replace the row of the same run, number and decision, or add it."""
    rows: list[dict[str, Any]] = []
    key = ("setting", "draw", "symmetries", "decision")
    if RESULTS.is_file():
        with RESULTS.open(encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if any(old[name] != str(new[name]) for name in key)]
    write_csv(RESULTS, [*rows, new], overwrite=True)


if __name__ == "__main__":
    main()

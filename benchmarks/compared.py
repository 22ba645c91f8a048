"""Five methods compared on Kvasir-SEG, three seeds of each: which is better, where the test says so.

    python benchmarks/compared.py [--methods linear guided] [--draws 3] [--shots 40]

Every method trains on the same draws of 40 of the 800 training images (seeds 0 to 2, last epoch kept), with
the `default` preset cut to 200 steps of four images at 160 px, as in few_labels.py; `guided` has 400 steps at
320 and 160 px, as there. The features are those of vit-tiny-in1k (no DINO model: the figures compare methods,
not papers). Scores of a case are averaged over the seeds; all pairs are compared as `dinoseg compare` does,
case by case on the 120 test images, p by sign flips with Holm over the ten pairs. Rows go to
benchmarks/results/compared.csv and compared_pairs.csv. Resumable; half an hour on one core.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

from accuracy import Lines
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.evaluation.comparison.comparing import compare
from dinoseg.evaluation.comparison.results import Comparison
from dinoseg.outputs import write_csv
from dinoseg.training import train_draws
from few_labels import CHANGES
from few_labels import OF_METHOD as FEW_LABELS

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
BACKBONE = SHARED / "weights/vit-tiny-in1k"
DATA = SHARED / "data/kvasir-seg"
RESULTS = ROOT / "benchmarks/results"
METHODS = ("linear", "segdino-v1", "segdino-v2", "dino-augseg", "guided")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--shots", type=int, default=40)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/compared")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not BACKBONE.is_dir():
        print(f"skipped: needs real images and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    seconds = {method: run(method, arguments) for method in arguments.methods}
    found = compare([arguments.runs / method for method in arguments.methods])
    write_csv(RESULTS / "compared.csv", list_rows(found, seconds), overwrite=True)
    write_csv(RESULTS / "compared_pairs.csv", list_pairs(found), overwrite=True)
    for row in (*list_rows(found, seconds), *list_pairs(found)):
        print("  ".join(f"{key} {value}" for key, value in row.items()))


def run(method: str, arguments: argparse.Namespace) -> float:
    """Train and score the draws of one method; seconds of a training."""
    out = arguments.runs / method
    found = train_draws(
        DATA,
        out,
        arguments.draws,
        method=method,
        shots=arguments.shots,
        backbone=str(BACKBONE),
        changes={**CHANGES, **change(method)},
        resume=out.is_dir(),
        progress=Lines(method),
    )
    return statistics.mean(draw.train_seconds for draw in found.repeats.draws)


def change(method: str) -> dict[str, Any]:
    """What is said to one method only."""
    return {key.partition(":")[2]: value for key, value in FEW_LABELS.get(method, {}).items()}


def list_rows(found: Comparison, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """One row per method: its mean, and what it is better than."""
    return [
        {
            "method": row.name,
            "dice": round(row.mean.mean, 4),
            "low": round(row.mean.low, 4),
            "high": round(row.mean.high, 4),
            "median": round(row.median, 4),
            "best_in_resamples": round(row.first, 3),
            "better_than": ", ".join(
                duel.second if duel.first == row.name else duel.first
                for duel in found.duels
                if duel.better == row.name
            ),
            "train_s": round(seconds[row.name], 1),
        }
        for row in found.standings
    ]


def list_pairs(found: Comparison) -> list[dict[str, Any]]:
    """One row per pair."""
    return [
        {
            "first": duel.first,
            "second": duel.second,
            "difference": round(duel.test.difference, 4),
            "low": round(duel.test.low, 4),
            "high": round(duel.test.high, 4),
            "p_holm": round(duel.p_holm, 4),
            "wilcoxon_p_holm": float(f"{duel.wilcoxon_p_holm:.3g}"),
            "share_won": round(duel.share_won, 3),
            "cases_needed": duel.needed,
            "better": duel.better or "not told apart",
        }
        for duel in found.duels
    ]


if __name__ == "__main__":
    main()

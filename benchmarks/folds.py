"""Cross-validation on real data: the ensemble against its folds, and what its confidence is worth.

    python benchmarks/folds.py [dsb2018 acdc] [--epochs 20] [--folds 5]

Trains segdino-v1 at 160 px with `dinoseg train --folds 5` on the features of vit-tiny-in1k (no DINO model:
the figures compare a model with its parts, not papers), and scores every fold and the ensemble on test
cases that none of them saw: a quarter of DSB2018's images, a third of ACDC's patients, drawn by group with
seed 0. All that is said of confidence is of the test cases; it was calibrated on the cases out of their
folds. Resumable; rows go to benchmarks/results/folds.csv.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

from accuracy import Lines
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import make_splits, save_splits
from dinoseg.evaluation import Evaluation, evaluate
from dinoseg.outputs import write_csv
from dinoseg.training import train_folds

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
BACKBONE = SHARED / "weights/vit-tiny-in1k"
RESULTS = ROOT / "benchmarks/results/folds.csv"
TESTED = {"dsb2018": 1 / 4, "acdc": 1 / 3}
CHANGES = {"model.preprocessing.size": 160, "train.validate_every": 5}
OF_SLICES = {
    "train.epochs": 10,
    "train.views": 2,
    "train.min_bank": 0,
}  # of which there are ten times as many


def main() -> None:
    """Train, score, and write the table after each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*TESTED], help=f"of {', '.join(TESTED)}; all if none")
    parser.add_argument("--epochs", type=int, default=20, help="of images; volumes have 10")
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.names:
        rows += run(name, arguments)
        comments = [" ".join((__doc__ or "").split()), f"{platform.machine()}, {os.cpu_count()} cores"]
        write_csv(RESULTS, rows, comments=comments, overwrite=True)


def run(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one data set: every fold, their mean, and the ensemble."""
    data, out = SHARED / "data" / name, ROOT / "runs/folds" / name
    splits = out.with_suffix(".json")
    dataset = open_dataset(data)
    test = TESTED[name]
    save_splits(splits, make_splits(dataset, fractions=(1 - test, 0, test), seed=0), overwrite=True)
    found = train_folds(
        data,
        out,
        arguments.folds,
        method="segdino-v1",
        backbone=BACKBONE,
        splits=splits,
        changes={**CHANGES, **(OF_SLICES if dataset.is_volumes else {"train.epochs": arguments.epochs})},
        resume=True,
        progress=Lines(name),
    )
    rows = [
        _describe(name, f"fold {fold.fold}", evaluate(fold.run, dataset), out_of_fold=fold.dice)
        for fold in found.folds
    ]
    dice = [float(row["test_dice"]) for row in rows]
    ensemble = evaluate(found.out, dataset, out=out / "report/test", overwrite=True)
    rows.append({**dict.fromkeys(rows[0], ""), "data": name, "model": "mean of the folds"})
    rows[-1]["test_dice"] = round(sum(dice) / len(dice), 4)
    rows.append(_describe(name, "ensemble", ensemble, out_of_fold=found.dice.mean))
    return rows


def _describe(name: str, model: str, found: Evaluation, *, out_of_fold: float) -> dict[str, Any]:
    dice, sure = found.headline.metric("dice").interval, found.reliability
    if sure is None:
        raise SystemExit(f"{name}, {model}: nothing is known of its confidence")
    values = {
        "test_dice": dice.mean,
        "low": dice.low,
        "high": dice.high,
        "out_of_fold_dice": out_of_fold,
        "calibrated_on": sure.calibrated_on,
        "temperature": sure.temperature,
        "ece_before": sure.ece_before,
        "ece_after": sure.ece_after,
        "expected_dice_error": sure.expected_error,
        "failed": sure.failures,
        "cases": len(sure.cases),
        "auroc": sure.auroc,
        "aurc": sure.aurc,
        "aurc_random": sure.aurc_random,
        "aurc_oracle": sure.aurc_oracle,
    }
    return {"data": name, "model": model, **{key: _shorten(value) for key, value in values.items()}}


def _shorten(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, 4)


if __name__ == "__main__":
    main()

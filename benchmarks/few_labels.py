"""Few labels: every method, and a U-Net of MONAI as the peer, on the same draws of a few real cases.

    python benchmarks/few_labels.py [NAME ...] [--draws 3] [--threads 2] [--runs runs/few_labels]

Each setting (data set, shots) trains as `dinoseg curve` does, with the `default` preset cut to 20 epochs
(segdino-v2 at width 128), on vit-tiny-in1k features (no DINO model: the figures compare methods, not
papers). The U-Net is trained from scratch on exactly the cases of each draw and scored with our metrics on
the same test split.
Resumable; rows go to benchmarks/results/few_labels.csv. All settings take hours on two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

from accuracy import Lines
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.data import open_dataset, read_case
from dinoseg.data.splits import load_splits
from dinoseg.evaluation.metrics import DEFAULT_TOLERANCE, score_case
from dinoseg.evaluation.summary import headline, summarise
from dinoseg.outputs import write_csv, write_json
from dinoseg.training import learn_curve
from dinoseg.training.outcomes import Repeats
from peer_unet import train_unet

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
BACKBONE = SHARED / "weights/vit-tiny-in1k"
RESULTS = ROOT / "benchmarks/results/few_labels.csv"
METHODS = ("linear", "segdino-v1", "segdino-v2", "dino-unet", "dino-augseg")
CHANGES = {"train.epochs": 20, "train.validate_every": 20}
OF_METHOD: dict[str, dict[str, Any]] = {"segdino-v2": {"segdino-v2:model.decoder.width": 128}}
PEER_STEPS = 1000  # as many as ours: 20 epochs of 50 batches


@dataclass(frozen=True)
class Setting:
    """One block of the table."""

    name: str
    data: str
    shots: int
    changes: dict[str, Any] = field(default_factory=dict)


SETTINGS = (
    Setting("kvasir-10", "kvasir-seg", 10),
    Setting("kvasir-40", "kvasir-seg", 40),
    Setting("isic-5", "isic2017-256", 5),
    Setting("isic-25", "isic2017-256", 25),
    Setting("tg3k-25", "tg3k", 25),
)


def main() -> None:
    known = {setting.name: setting for setting in SETTINGS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/few_labels")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if not BACKBONE.is_dir():
        print(f"skipped: needs real images and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    for name in arguments.names or known:
        run(known[name], arguments)


def run(setting: Setting, arguments: argparse.Namespace) -> None:
    data, out = SHARED / "data" / setting.data, arguments.runs / setting.name
    of_methods = {
        key: value for method in arguments.methods for key, value in OF_METHOD.get(method, {}).items()
    }
    curve = learn_curve(
        data,
        methods=arguments.methods,
        shots=[setting.shots],
        backbone=str(BACKBONE),
        out=out / "curve",
        draws=arguments.draws,
        changes={**CHANGES, **setting.changes, **of_methods},
        resume=True,
        progress=Lines(setting.name),
    )
    for repeats in curve.repeats:
        add_row(describe(setting, repeats))
    add_row(run_peer(setting, curve.repeats[0], data, out / "peer"))


def describe(setting: Setting, repeats: Repeats) -> dict[str, Any]:
    return row(
        setting,
        repeats.method,
        dice=[draw.scores["dice"] for draw in repeats.draws],
        missed=[draw.missed for draw in repeats.draws],
        seconds=[draw.train_seconds for draw in repeats.draws],
        parameters=repeats.draws[0].trained_parameters,
    )


def run_peer(setting: Setting, repeats: Repeats, data: Path, out: Path) -> dict[str, Any]:
    found = [read_or_train(draw.run, draw.seed, data, out / f"draw-{draw.draw}.json")
             for draw in repeats.draws]  # fmt: skip
    return row(
        setting,
        "U-Net (MONAI)",
        dice=[item["dice"] for item in found],
        missed=[item["missed"] for item in found],
        seconds=[item["seconds"] for item in found],
        parameters=found[0]["parameters"],
    )


def read_or_train(run_folder: Path, seed: int, data: Path, path: Path) -> dict[str, Any]:
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    dataset, splits = open_dataset(data), load_splits(run_folder / "splits.json")
    cases = [read_case(files, dataset.labels) for files in dataset.find(splits.train)]
    peer = train_unet(cases, dataset.classes, size=256, steps=PEER_STEPS, seed=seed)
    scores = []
    for files in dataset.find(splits.test):
        case = read_case(files, dataset.labels)
        if case.label is None:
            raise ValueError(f"{case.id} has no mask")
        scores += score_case(peer.segment(case), case.label.array, classes=dataset.classes,
                             spacing=case.spacing, tolerance=DEFAULT_TOLERANCE["px"],
                             case=case.id, group=case.group)  # fmt: skip
    summary = headline(summarise(scores, seed=0, protocol="native"))
    dice = next(metric for metric in summary.metrics if metric.metric == "dice").interval.mean
    result = {
        "dice": dice,
        "missed": summary.missed,
        "seconds": peer.seconds,
        "parameters": peer.parameters,
    }
    write_json(path, result, overwrite=True)
    return result


def row(
    setting: Setting,
    method: str,
    *,
    dice: list[float],
    missed: list[int],
    seconds: list[float],
    parameters: int,
) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "data": setting.data,
        "shots": setting.shots,
        "method": method,
        "draws": len(dice),
        "dice": round(statistics.mean(dice), 4),
        "dice_sd": round(statistics.stdev(dice), 4) if len(dice) > 1 else "",
        "missed": "/".join(map(str, missed)),
        "trained_parameters": parameters,
        "train_s": round(statistics.mean(seconds), 1),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()} {os.cpu_count()} cores",
    }


def add_row(new: dict[str, Any]) -> None:
    """Replace the row of the setting and method in the table, or add it."""
    rows: list[dict[str, Any]] = []
    if RESULTS.is_file():
        with RESULTS.open(encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file)
                    if (old["setting"], old["method"]) != (new["setting"], new["method"])]  # fmt: skip
    write_csv(RESULTS, [*rows, new], overwrite=True)
    print("  ".join(f"{key} {value}" for key, value in new.items()), flush=True)


if __name__ == "__main__":
    main()

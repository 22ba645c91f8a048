"""Accuracy on real images with the frozen features of a small ViT, on a CPU: the tables of the README.

    python benchmarks/accuracy.py [NAME ...] [--backbone NAME] [--data DIR] [--runs DIR] [--threads 2]

Each experiment trains, evaluates its test split at native size and adds its row to
benchmarks/results/accuracy.csv. Interrupted ones are resumed, finished ones only evaluated.
The backbone is vit-tiny-in1k, which is no DINO model: the figures compare methods, not papers. With
`--backbone dinov3_vits16` the same rows are made with DINOv3, where its weights can be had (`dinoseg weights
get dinov3_vits16 --accept-license` first), and go to benchmarks/results/accuracy-dinov3_vits16.csv.
`--data` is a folder with the data sets under the names that the rows give.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

from dinoseg.cli.devices import keep_freed_memory
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import Splits, make_splits, save_splits
from dinoseg.evaluation import Evaluation, evaluate
from dinoseg.evaluation.summary import ClassSummary
from dinoseg.methods import METHODS
from dinoseg.outputs import write_csv
from dinoseg.training import train

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
BACKBONE = SHARED / "weights/vit-tiny-in1k"
RESULTS = ROOT / "benchmarks/results"
# What `default` had when the table was made; it has 320 px and 2 views now.
OF_DEFAULT = {"model.preprocessing.size": 256, "train.views": 8}
OF_GUIDED = {"train.views": 2, "train.min_bank": 0, "model.decoder.image_share": 0.25}
UPRIGHT = {  # for volumes that all lie alike
    "train.epochs": 8,
    "train.validate_every": 2,
    "train.augmentation.rotation": 15.0,
    "train.augmentation.zoom": 0.1,
    "train.augmentation.horizontal_flip": 0.0,
}
PLANES = {  # for volumes of cubes that all lie alike
    "model.preprocessing.plane": "axial,coronal,sagittal",
    "model.preprocessing.size": 160,
    "model.preprocessing.context": 3,
    "train.min_bank": 0,
    "train.views": 2,
    "train.epochs": 6,
    "train.validate_every": 2,
    **{f"train.augmentation.{name}_flip": 0.0 for name in ("horizontal", "vertical")},
    "train.augmentation.rotation": 15.0,
    "train.augmentation.zoom": 0.1,
    **{f"train.augmentation.{name}_probability": 0.8 for name in ("rotation", "zoom")},
}
T = TypeVar("T")


@dataclass(frozen=True)
class Experiment:
    """One row of the table."""

    name: str
    data: str
    method: str
    preset: str = "default"
    changes: dict[str, Any] = field(default_factory=dict)
    shots: int | None = None
    seed: int = 0
    released_protocol: bool = False  # random 800/200 split, the epoch chosen on the scored 200
    shots_from: Literal["random", "first"] = "random"
    draw_split: bool = False  # 70/10/20 by group, where the data set has no split of its own


def list_experiments() -> list[Experiment]:
    kvasir = "kvasir-seg"
    wide = {"model.decoder.width": 256}
    narrow = {"model.decoder.width": 128}
    full = [
        Experiment("v1-paper-20", kvasir, "segdino-v1", "paper", {"train.epochs": 20}),
        *(
            Experiment(
                f"v1-released-protocol{seed}",
                kvasir,
                "segdino-v1",
                "paper",
                {"train.epochs": 20},
                seed=seed,
                released_protocol=True,
            )
            for seed in (0, 1)
        ),
        Experiment("linear-paper", kvasir, "linear", "paper"),
        Experiment("v1-paper", kvasir, "segdino-v1", "paper"),
        Experiment("v1-default", kvasir, "segdino-v1"),
        Experiment("v2-128-paper-5", kvasir, "segdino-v2", "paper", {**narrow, "train.epochs": 5}),
        Experiment("v2-128-paper", kvasir, "segdino-v2", "paper", narrow),
        Experiment("v2-256-paper", kvasir, "segdino-v2", "paper", wide),
        Experiment("v2-128-default", kvasir, "segdino-v2", "default", narrow),
        Experiment(
            "guided-default",
            kvasir,
            "guided",
            changes={
                **OF_GUIDED,
                "model.preprocessing.size": 320,
                "train.views": 4,
                "train.epochs": 20,
                "train.validate_every": 5,
            },
        ),
        Experiment("isic-default", "isic2017-256", "segdino-v1"),
        Experiment("dsb-default", "dsb2018", "segdino-v1"),
    ]
    few = [
        Experiment(f"kvasir-{shots}-shot-seed{seed}", kvasir, "segdino-v1", "default",
                   {"train.validate_every": 10}, shots=shots, seed=seed)
        for shots in (5, 40) for seed in (0, 1, 2)
    ]  # fmt: skip
    return full + few + list_volume_experiments()


def list_volume_experiments() -> list[Experiment]:
    """Every method on volumes: slices of MR, scored in 3D. segdino-v2 at width 128, for the time it takes.

    Hippocampus: 500 steps of four slices, enlarged from about 35x50 voxels to 128 px; for the two light
    methods also ten passes over all slices, at 256 px; for guided four, at 256 and 128 px, with context 3,
    and six over the slices of three planes, at 160 and 80 px.
    """
    whole = {"train.views": 1, "train.min_bank": 0, "train.epochs": 10, "train.validate_every": 10}
    short = {**whole, "train.steps_per_epoch": 50, "model.preprocessing.size": 128}
    shots = {"train.epochs": 20, "train.validate_every": 20}
    found = []
    for method in METHODS:
        width = {"model.decoder.width": 128} if method == "segdino-v2" else {}
        found += [
            Experiment(f"hippocampus-{method}", "Dataset004_Hippocampus", method, "default",
                       {**short, **width}, draw_split=True),
            Experiment(f"acdc-7-{method}", "acdc", method, "default", {**shots, **width}, shots=7,
                       shots_from="first"),
        ]  # fmt: skip
    found += [
        Experiment(f"hippocampus-whole-{method}", "Dataset004_Hippocampus", method, "default", whole,
                   draw_split=True)
        for method in ("linear", "segdino-v1")
    ]  # fmt: skip
    ours = {"train.epochs": 4, "train.validate_every": 4, "model.preprocessing.context": 3}
    found += [
        Experiment("hippocampus-whole-guided", "Dataset004_Hippocampus", "guided", "default",
                   {**OF_GUIDED, **ours}, draw_split=True),
        Experiment("hippocampus-upright-guided", "Dataset004_Hippocampus", "guided", "default",
                   {**OF_GUIDED, **ours, **UPRIGHT}, draw_split=True),
        Experiment("hippocampus-planes-guided", "Dataset004_Hippocampus", "guided", "default",
                   PLANES, draw_split=True),
    ]  # fmt: skip
    return found


def main() -> None:
    experiments = {experiment.name: experiment for experiment in list_experiments()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(experiments)}")
    parser.add_argument("--backbone", default=str(BACKBONE), help="catalog name or local folder")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if not arguments.data.is_dir() or (arguments.backbone == str(BACKBONE) and not BACKBONE.is_dir()):
        print(f"skipped: needs real images in {arguments.data} and weights, which are not there")
        return
    suffix = "" if arguments.backbone == str(BACKBONE) else f"-{Path(arguments.backbone).name}"
    runs = arguments.runs or ROOT / f"runs/accuracy{suffix}"
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    for name in arguments.names or experiments:
        row = run(experiments[name], arguments.data, arguments.backbone, runs)
        add_row(row, RESULTS / f"accuracy{suffix}.csv")
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def run(experiment: Experiment, folder: Path, backbone: str, runs: Path) -> dict[str, Any]:
    data, out = folder / experiment.data, runs / experiment.name
    started = time.perf_counter()
    progress = Lines(experiment.name)
    model = train(
        data,
        method=experiment.method,
        backbone=backbone,
        out=out,
        preset=experiment.preset,  # type: ignore[arg-type]
        shots=experiment.shots,
        shots_from=experiment.shots_from,
        splits=choose_split(experiment, data, runs),
        seed=experiment.seed,
        changes={**(OF_DEFAULT if experiment.preset == "default" else {}), **experiment.changes},
        resume=True,
        progress=progress,
    )
    seconds = time.perf_counter() - started
    split: Literal["test", "val"] = "val" if experiment.released_protocol else "test"
    scores = evaluate(out, data, split=split, out=out / "report" / split, overwrite=True)
    volumes = open_dataset(data).is_volumes  # the papers' protocol squashes images; volumes keep their grid
    paper = None if volumes else evaluate(out, data, split=split, protocol="paper")
    return {
        "name": experiment.name,
        "data": experiment.data,
        "method": experiment.method,
        "preset": experiment.preset,
        "shots": experiment.shots or "",
        "epochs": model_epochs(out),
        **describe(scores.headline),
        "dice_at_256": round(mean(paper.headline, "dice"), 4) if paper else "",
        "unit": scores.unit,
        "nsd": round(mean(scores.headline, "nsd"), 4),
        "dice_by_class": "/".join(f"{mean(row, 'dice'):.3f}" for row in classes_of(scores)),
        "trained_parameters": sum(parameter.numel() for parameter in model.decoder.parameters()),
        "features_s": round(progress.seconds("features"), 1),
        "epoch_s": median_epoch(out),
        "total_s": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()} {os.cpu_count()} cores",
    }


def classes_of(scores: Evaluation) -> list[ClassSummary]:
    """Rows of the classes, where there are several."""
    rows = [row for row in scores.summaries if row.kind != "mean"]
    return rows if len(rows) > 1 else []


def describe(summary: Any) -> dict[str, Any]:
    dice = next(item for item in summary.metrics if item.metric == "dice")
    return {
        "cases": summary.cases,
        "dice": round(dice.interval.mean, 4),
        "dice_low": round(dice.interval.low, 4),
        "dice_high": round(dice.interval.high, 4),
        "iou": round(mean(summary, "iou"), 4),
        "hd95": round(mean(summary, "hd95"), 1),
        "missed": summary.missed,
        "false_alarms": summary.false_alarms,
    }


def mean(summary: Any, metric: str) -> float:
    return float(next(item for item in summary.metrics if item.metric == metric).interval.mean)


def model_epochs(run: Path) -> int:
    return len(read_metrics(run))


def median_epoch(run: Path) -> float:
    seconds = sorted(float(row["seconds"]) for row in read_metrics(run))
    return round(seconds[len(seconds) // 2], 2)


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def choose_split(experiment: Experiment, data: Path, runs: Path) -> Path | None:
    """A splits.json for data without a split, or for the released program's protocol."""
    if experiment.released_protocol:
        return draw_split(data, experiment.seed, runs)
    if not experiment.draw_split:
        return None
    path = runs / f"split-{data.name}.json"
    save_splits(path, make_splits(open_dataset(data), seed=experiment.seed), overwrite=True)
    return path


def draw_split(data: Path, seed: int, runs: Path) -> Path:
    """A random 800/200 split without test: what the released program does with its "test" images."""
    ids = [case.id for case in open_dataset(data).cases]
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).tolist()
    drawn = [ids[position] for position in order]
    path = runs / f"split-{data.name}-{seed}.json"
    save_splits(path, Splits(tuple(drawn[200:]), tuple(drawn[:200]), (), seed, "case"), overwrite=True)
    return path


def add_row(row: dict[str, Any], path: Path) -> None:
    """Replace the experiment's row in the table, or add it."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            rows = [{key: old.get(key, "") for key in row}
                    for old in csv.DictReader(file) if old["name"] != row["name"]]  # fmt: skip
    write_csv(path, [*rows, row], overwrite=True)


class Lines:
    """Progress as plain lines, with the time that each part took."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.took: dict[str, float] = {}

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        started = time.perf_counter()
        yield from items
        self.took[label] = time.perf_counter() - started

    def note(self, message: str) -> None:
        print(f"{self.name}: {message}", flush=True)

    def seconds(self, label: str) -> float:
        return sum(took for name, took in self.took.items() if name.startswith(label))


if __name__ == "__main__":
    main()

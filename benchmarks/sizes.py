"""Which input size and how many views: validation Dice and seconds of both, on a few labels of real data.

    nice -n 10 python benchmarks/sizes.py [NAME ...] [--methods linear segdino-v1] [--sizes 160 224 320 448]
                                          [--views 2 8] [--draws 1] [--table | --docs]

Each row is a training as `dinoseg train --shots` does it, with the `default` preset cut to 400 steps of four
views, on frozen features of vit-tiny-in1k, computed anew: what they cost stands beside what learning costs,
in seconds of the processor, one thread. Dice is that of the validation cases after the last step; no test
case is read but to be checked. Hippocampus is five volumes, which are some 180 small slices. Resumable: a
row that is in benchmarks/results/sizes.csv is not measured again. `--table` prints the means of the rows, and
what a larger size and more views bring, in pairs that have all else alike; `--docs` writes the table into
docs/training.md, in place of the one that is there.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch

from dinoseg.cli.devices import keep_freed_memory
from dinoseg.config.training import Training
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import make_splits, save_splits
from dinoseg.outputs import write_csv
from dinoseg.training import train

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
BACKBONE = SHARED / "weights/vit-tiny-in1k"
RESULTS = ROOT / "benchmarks/results/sizes.csv"
PAGE = ROOT / "docs/training.md"
HEAD = ("method", "views", "size")
SIZES = (160, 224, 320, 448)
VIEWS = (2, 8)
METHODS = ("linear", "segdino-v1", "segdino-v2")
STEPS = 400
EPOCHS = 8
T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Some labels of one data set."""

    name: str
    data: str
    shots: int
    draw_split: bool = False  # by group, where the data set has none


SETTINGS = (
    Setting("kvasir-40", "kvasir-seg", 40),
    Setting("kvasir-200", "kvasir-seg", 200),
    Setting("acdc-7", "acdc", 7),
    Setting("isic-25", "isic2017-256", 25),
    Setting("tg3k-25", "tg3k", 25),
    Setting("hippocampus-5", "Dataset004_Hippocampus", 5, draw_split=True),
)


class Clock:
    """Seconds of the processor, by what was tracked: features, or learning with its validation."""

    def __init__(self) -> None:
        self.seconds = {"features": 0.0, "training": 0.0}

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        """Pass items on; the time until the last is asked for belongs to the first word of the label."""
        kind, started = label.split()[0], time.process_time()
        try:
            yield from items
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.process_time() - started

    def note(self, text: str) -> None:
        """Say nothing."""


def main() -> None:
    known = {setting.name: setting for setting in SETTINGS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}")
    parser.add_argument("--methods", nargs="+", default=["linear", "segdino-v1"], choices=METHODS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--views", nargs="+", type=int, default=VIEWS)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print the means of the rows")
    parser.add_argument("--docs", action="store_true", help="only write them into docs/training.md")
    arguments = parser.parse_args()
    if arguments.table or arguments.docs:
        table = make_table(read_rows())
        if arguments.docs:
            replace_table(PAGE, table)
        sys.stdout.writelines([table, "\n", *list_gains(read_rows())])
        return
    if not BACKBONE.is_dir():
        print(f"skipped: needs real images and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    grid = itertools.product(
        range(arguments.draws), arguments.names or known, arguments.views, arguments.sizes
    )
    for draw, name, views, size in grid:
        measure(known[name], arguments.methods, size=size, views=views, draw=draw)


def measure(setting: Setting, methods: list[str], *, size: int, views: int, draw: int) -> None:
    """Train the methods that the table lacks on features that are computed once, and add their rows."""
    key = {"setting": setting.name, "size": size, "views": views, "draw": draw}
    done = {row["method"] for row in read_rows() if all(row[name] == str(key[name]) for name in key)}
    feature_seconds = 0.0
    with TemporaryDirectory() as place:
        for method in [method for method in methods if method not in done]:
            clock = Clock()
            dice = train_once(setting, method, Path(place), clock, size=size, views=views, draw=draw)
            feature_seconds = feature_seconds or clock.seconds["features"]
            add_row(
                {
                    **key,
                    "method": method,
                    "dice": round(dice, 4),
                    "features_s": round(feature_seconds, 1),
                    "train_s": round(clock.seconds["training"], 1),
                }
            )


def train_once(
    setting: Setting, method: str, place: Path, clock: Clock, *, size: int, views: int, draw: int
) -> float:
    """Validation Dice after the last step; features are remembered in `place`."""
    data = SHARED / "data" / setting.data
    changes = {
        "cache.folder": str(place / "features"),
        "model.preprocessing.size": size,
        "train.views": views,
        "train.min_bank": 0,
        "train.epochs": EPOCHS,
        "train.steps_per_epoch": STEPS // EPOCHS,
        "train.validate_every": EPOCHS,
        "train.warmup_epochs": 1,
    }
    if method == "segdino-v2":
        changes["model.decoder.width"] = 128
    how = Training(
        method=method,
        backbone=str(BACKBONE),
        shots=setting.shots,
        seed=draw,
        splits=draw_split(data, place) if setting.draw_split else None,
        changes=changes,
    )
    out = place / method
    train(data, out, how=how, progress=clock)
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["val_dice"])


def draw_split(data: Path, place: Path) -> Path:
    """The same for every row: 70/10/20 by group."""
    path = place / "splits.json"
    save_splits(path, make_splits(open_dataset(data), seed=0), overwrite=True)
    return path


def read_rows() -> list[Row]:
    if not RESULTS.is_file():
        return []
    with RESULTS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add_row(row: Row) -> None:
    write_csv(RESULTS, [*read_rows(), row], overwrite=True)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def make_table(rows: list[Row]) -> str:
    """Markdown: Dice and seconds of features + learning by method, views and size, a column per setting."""
    settings = [setting.name for setting in SETTINGS if any(row["setting"] == setting.name for row in rows)]
    cells: dict[tuple[str, int, int], dict[str, list[Row]]] = {}
    for row in rows:
        cell = cells.setdefault((row["method"], int(row["views"]), int(row["size"])), {})
        cell.setdefault(row["setting"], []).append(row)
    lines = [join([*HEAD, *settings]), "|" + "---|" * (len(HEAD) + len(settings)) + "\n"]
    for (method, views, size), found in sorted(cells.items()):
        lines.append(join([method, str(views), str(size), *(show(found.get(name, [])) for name in settings)]))
    return "".join(lines)


def list_gains(rows: list[Row]) -> Iterator[str]:
    """A line for each step to more views, or to the next size, by method: mean, least and most gain."""
    for name, one, other in (("views", 2, 8), ("size", 160, 320), ("size", 224, 320), ("size", 320, 448)):
        for method in METHODS:
            found = pair([row for row in rows if row["method"] == method], name, one, other)
            if found:
                ends = f"{min(found):+.3f} to {max(found):+.3f}"
                mean = statistics.mean(found)
                yield f"{method}, {name} {one} to {other}: {mean:+.3f} ({len(found)} pairs, {ends})\n"


def pair(rows: list[Row], name: str, one: int, other: int) -> list[float]:
    """Gain of Dice from one value of a column to another, of rows that are alike in all else."""
    fixed = [key for key in ("setting", "size", "views", "draw") if key != name]
    dice = {(int(row[name]), tuple(row[key] for key in fixed)): float(row["dice"]) for row in rows}
    return [
        dice[other, rest] - dice[one, rest] for value, rest in dice if value == one and (other, rest) in dice
    ]


def join(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def replace_table(page: Path, table: str) -> None:
    """Put the table where one with the same head is; it ends at an empty line."""
    text = page.read_text(encoding="utf-8")
    start = text.index(join(HEAD).rstrip())
    end = text.index("\n\n", start) + 1
    page.write_text(text[:start] + table + text[end:], encoding="utf-8")


def show(rows: list[Row]) -> str:
    if not rows:
        return "–"
    dice = statistics.mean(float(row["dice"]) for row in rows)
    features, learning = (
        statistics.mean(float(row[name]) for row in rows) for name in ("features_s", "train_s")
    )
    return f"{dice:.3f} ({features:.0f} + {learning:.0f} s)"


if __name__ == "__main__":
    main()

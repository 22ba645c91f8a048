"""PlaneCycle against other ways to read the slices around: validation Dice on ACDC, 7 volumes learned.

    nice -n 10 python benchmarks/plane_cycle.py [--methods segdino-v1 guided] [--ways slices context reach
                                                cycle sparse] [--size 320] [--draws 2] [--table]

PlaneCycle (arXiv 2603.04165) lifts a frozen 2D network to volumes without a parameter: the tokens of a stack
of slices are one volume (D, h, w), and successive blocks look at it along its planes HW, DW and DH in turn.
What the class token and registers do is our choice: each plane of the stack is shown their mean over all, and
gives its own back into it. `cycle` turns with every block; `sparse` has HW, HW, DW, HW, HW, DH. Beside it:
`slices` by themselves, three slices as the three channels (`context`), and the depth of guided (`reach`),
which only guided has. Frozen features of vit-tiny-in1k, `default` cut to 400 steps of four images, two views;
all slices of a volume are moved alike in every way. Dice is that of the validation volumes after the last
step; no test case is read but to be checked. Resumable: a row in benchmarks/results/plane_cycle.csv is
not measured again. `--table` prints the means of the rows.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import compute_entry
from dinoseg.backbones.extractors import Backbone
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.config.training import Training
from dinoseg.outputs import write_csv
from dinoseg.processes import ALONE, Processes
from dinoseg.progress import Progress
from dinoseg.training import train
from dinoseg.training.features.bank import Sample, ViewBank
from sizes import BACKBONE, EPOCHS, ROOT, SHARED, STEPS, Clock

RESULTS = ROOT / "benchmarks/results/plane_cycle.csv"
SHOTS = 7
METHODS = ("segdino-v1", "guided")
WAYS = ("slices", "context", "reach", "cycle", "sparse")
ORDERS = {"cycle": ("HW", "DW", "DH"), "sparse": ("HW", "HW", "DW", "HW", "HW", "DH")}
# The axis of the volume (D, h, w) that planes follow each other along, then the two of a plane.
AXES = {"HW": (0, 1, 2), "DW": (1, 0, 2), "DH": (2, 0, 1)}
Row = dict[str, Any]


class Cycling(nn.Module):
    """A ViT of ours whose blocks look at the planes of a stack of slices in turn."""

    def __init__(self, vit: Any, order: Sequence[str]) -> None:
        super().__init__()
        self.vit = vit
        self.order = order

    def forward(self, stack: Tensor, layers: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """Slices (D, 3, H, W) to maps (D, C, h, w) and class tokens (D, C) of the tapped blocks."""
        patches = self.vit.patch(stack)  # (D, C, h, w)
        grid = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (D, N, C)
        if self.vit.positions is not None:
            tokens = tokens + self.vit.positions(grid)
        volume, special = tokens.unflatten(1, grid), self.vit.prefix.expand(len(stack), -1, -1)
        maps, classes = [], []
        for index, block in enumerate(self.vit.blocks):
            axes = AXES[self.order[index % len(self.order)]]
            volume, special = self.look(block, axes, volume, special)
            if index in layers:
                maps.append(self.vit.norm(volume).permute(0, 3, 1, 2))
                classes.append(self.vit.norm(special)[:, 0])
        return maps, classes

    def look(
        self, block: nn.Module, axes: tuple[int, int, int], volume: Tensor, special: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One block on all planes: the volume (D, h, w, C), and class token and registers (D, S, C)."""
        depth, count = special.shape[:2]
        turned = volume.permute(*axes, 3)  # planes first
        grid = turned.shape[1:3]
        along = axes[0] == 0
        own = special if along else special.mean(dim=0, keepdim=True).expand(len(turned), -1, -1)
        rotation = None if self.vit.rotation is None else self.vit.rotation(grid, volume)
        tokens = block(torch.cat([own, turned.flatten(1, 2)], dim=1), rotation)
        back = [axes.index(axis) for axis in range(3)]
        volume = tokens[:, count:].unflatten(1, grid).permute(*back, 3)
        special = tokens[:, :count]
        return volume, special if along else special.mean(dim=0, keepdim=True).expand(depth, -1, -1)


class AlikeBank(ViewBank):
    """Slices of a volume are moved alike, whether or not the method reads those around each."""

    def _list_view_names(self) -> Sequence[str]:
        first: dict[int, str] = {}
        pairs = zip(self._items.subjects, self._images, strict=True)
        return [first.setdefault(subject, image) for subject, image in pairs]


class CyclingBank(AlikeBank):
    """Features are those of whole stacks, each stack in one view; stored where those of slices would be."""

    order: Sequence[str] = ()

    def build(self, progress: Progress, processes: Processes = ALONE) -> None:
        """Compute the stacks, then as always what else is not remembered."""
        stacks: dict[int, list[int]] = {}
        for position, subject in enumerate(self._items.subjects):
            stacks.setdefault(subject, []).append(position)
        jobs = list(itertools.product(stacks.values(), range(self.views)))
        for positions, view in progress.track(jobs, total=len(jobs), label="features of stacks"):
            self._remember_stack([Sample(position, view) for position in positions])
        super().build(progress, processes)

    def _remember_stack(self, samples: Sequence[Sample]) -> None:
        pixels = torch.stack([self._render(sample) for sample in samples])
        found = open_cycling(tuple(self.order))(pixels)
        for index, sample in enumerate(samples):
            own = found.map(lambda maps, at=index: maps[at : at + 1])  # type: ignore[misc]
            entry = compute_entry(lambda _, own=own: own, pixels[index], self._cache.dtype)  # type: ignore[misc]
            self._store.put(self._feature_key(sample), entry)


@cache
def open_cycling(order: tuple[str, ...]) -> Backbone:
    """The frozen network with its blocks turned."""
    backbone: Any = create_backbone(BACKBONE)
    backbone.network = Cycling(backbone.network, order)
    return backbone  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only print the means of the rows")
    arguments = parser.parse_args()
    if arguments.table:
        print_table(read_rows())
        return
    if not BACKBONE.is_dir():
        print(f"skipped: needs real images and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    for draw, method, way in itertools.product(range(arguments.draws), arguments.methods, arguments.ways):
        key = {"method": method, "way": way, "size": arguments.size, "draw": draw}
        known = any(all(row[name] == str(key[name]) for name in key) for row in read_rows())
        if not known and (method == "guided" or way != "reach"):
            measure(key)


def measure(key: Row) -> None:
    """Train once and add the row."""
    clock, way = Clock(), key["way"]
    CyclingBank.order = ORDERS.get(way, ())
    bank = CyclingBank if way in ORDERS else AlikeBank
    with TemporaryDirectory() as place, patch("dinoseg.training.features.banks.ViewBank", bank):
        dice = train_once(key, Path(place), clock)
    seconds = {f"{name}_s": round(clock.seconds[name], 1) for name in ("features", "training")}
    row = {**key, "dice": round(dice, 4), **seconds}
    write_csv(RESULTS, [*read_rows(), row], overwrite=True)
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def train_once(key: Row, place: Path, clock: Clock) -> float:
    """Validation Dice after the last step."""
    changes = {
        "cache.folder": str(place / "features"),
        "model.preprocessing.size": key["size"],
        "model.preprocessing.context": 3 if key["way"] == "context" else 1,
        "train.views": 2,
        "train.min_bank": 0,
        "train.epochs": EPOCHS,
        "train.steps_per_epoch": STEPS // EPOCHS,
        "train.validate_every": EPOCHS,
        "train.warmup_epochs": 1,
        "train.advice": False,
    }
    if key["method"] == "guided":
        reach = 1 if key["way"] == "reach" else 0
        changes |= {"model.decoder.reach": reach, "model.decoder.image_share": 0.25}
        changes |= {"model.backbone.scales": [1.0]}
    how = Training(
        method=key["method"], backbone=str(BACKBONE), shots=SHOTS, seed=key["draw"], changes=changes
    )
    train(SHARED / "data/acdc", place / "run", how=how, progress=clock)
    with (place / "run/metrics.csv").open(encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["val_dice"])


def read_rows() -> list[Row]:
    if not RESULTS.is_file():
        return []
    with RESULTS.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def print_table(rows: list[Row]) -> None:
    """Markdown: Dice of each draw and its mean by method and way."""
    lines = [["method", "slices are read", "size", "Dice of each draw", "mean"], ["---"] * 5]
    for method, size in dict.fromkeys((row["method"], row["size"]) for row in rows):
        for way in WAYS:
            found = [row for row in rows if (row["method"], row["size"], row["way"]) == (method, size, way)]
            dice = [float(row["dice"]) for row in found]
            if dice:
                each = " / ".join(f"{value:.3f}" for value in dice)
                lines.append([method, way, size, each, f"{statistics.mean(dice):.3f}"])
    sys.stdout.writelines(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()

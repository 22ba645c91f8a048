"""One model of volumes at other distances of slices: guided, told how far apart they are, and not told.

    nice -n 10 python benchmarks/slice_spacing.py [--size 160] [--steps 400] [--draw 0] [--most 8]

guided learns five volumes of Hippocampus (slices 1 mm apart, frozen features of vit-tiny-in1k) and segments
the first validation volumes as they are, with every second and every third slice only, and with each slice
twice. Each time the file says how far apart the slices are, or does not, and a step is the next slice, as in
models of older releases. Rows hold two means over volumes and classes, on the slices that are also in the
original: Dice with the truth, and with the masks of the original. No test case is read but to be checked.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch

from dinoseg.cli.devices import keep_freed_memory
from dinoseg.config.training import Training
from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import VolumeCase, read_volume_case
from dinoseg.data.splits.splits import load_splits
from dinoseg.data.volumes import Volume, upright_geometry
from dinoseg.inference import segment_volume
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs import write_csv
from dinoseg.training import train
from sizes import BACKBONE, EPOCHS, ROOT, SHARED, Clock, draw_split

RESULTS = ROOT / "benchmarks/results/slice_spacing.csv"
DATA = SHARED / "data/Dataset004_Hippocampus"
SHOTS = 5
KINDS = {"as it is": 1.0, "every second": 2.0, "every third": 3.0, "each twice": 0.5}
Ids = np.ndarray[Any, np.dtype[np.uint8]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--most", type=int, default=8, help="validation volumes")
    arguments = parser.parse_args()
    if not BACKBONE.is_dir():
        print(f"skipped: needs real volumes and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(1)
    keep_freed_memory()
    with TemporaryDirectory() as place:
        splits = draw_split(DATA, Path(place))
        model = train_once(Path(place), splits, arguments)
        dataset = open_dataset(DATA)
        files = dataset.find(load_splits(splits).val[: arguments.most])
        cases = [read_volume_case(each, dataset.labels).canonical() for each in files]
        rows = list(score(model, cases))
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    write_csv(RESULTS, rows, overwrite=True)


def train_once(place: Path, splits: Path, arguments: argparse.Namespace) -> Segmenter:
    """guided at one input size, which is enough to see what the distance changes."""
    changes = {
        "cache.folder": str(place / "features"),
        "model.backbone.scales": [1.0],
        "model.preprocessing.size": arguments.size,
        "model.decoder.image_share": 0.5,
        "train.views": 2,
        "train.min_bank": 0,
        "train.epochs": EPOCHS,
        "train.steps_per_epoch": arguments.steps // EPOCHS,
        "train.validate_every": EPOCHS,
        "train.advice": False,
    }
    how = Training(
        method="guided",
        backbone=str(BACKBONE),
        shots=SHOTS,
        seed=arguments.draw,
        splits=splits,
        changes=changes,
    )
    return train(DATA, place / "run", how=how, progress=Clock())


def score(model: Segmenter, cases: list[VolumeCase]) -> Iterator[dict[str, object]]:
    """A row for each kind of volume, told and not told."""
    originals = [segment_volume(model, case.image).mask for case in cases]
    for kind, factor in KINDS.items():
        for told in (True, False):
            pairs = [segment(model, case, factor, told=told) for case in cases]
            truth = [
                find_dice(mask, cut(label_of(case), factor)) for mask, case in zip(pairs, cases, strict=True)
            ]
            same = [find_dice(mask, cut(whole, factor)) for mask, whole in zip(pairs, originals, strict=True)]
            yield {
                "slices": kind,
                "distance": "told" if told else "not told",
                "dice": round(float(np.mean(truth)), 4),
                "dice with the original": round(float(np.mean(same)), 4),
            }


def segment(model: Segmenter, case: VolumeCase, factor: float, *, told: bool) -> Ids:
    """The mask of a changed volume, on the slices that are in the original as well."""
    array, spacing = case.image.array, case.image.spacing
    changed = np.repeat(array, 2, axis=1) if factor < 1 else array[:, :: int(factor)]
    known = (spacing[0] * factor, *spacing[1:])
    geometry = upright_geometry(changed.shape[1:], spacing=known, spacing_known=told)
    mask = segment_volume(model, Volume(changed, geometry, case.source, case.id)).mask
    return mask[::2] if factor < 1 else mask


def cut(mask: Ids, factor: float) -> Ids:
    return mask if factor < 1 else mask[:: int(factor)]


def label_of(case: VolumeCase) -> Ids:
    if case.label is None:
        raise ValueError(f"{case.id} has no mask")
    return case.label.array


def find_dice(one: Ids, other: Ids) -> float:
    """Mean over the classes that either shows."""
    classes = {*np.unique(one), *np.unique(other)} - {0}
    found = [
        2 * np.sum((one == id_) & (other == id_)) / np.sum((one == id_) * 1 + (other == id_))
        for id_ in classes
    ]
    return float(np.mean(found)) if found else 1.0


if __name__ == "__main__":
    main()

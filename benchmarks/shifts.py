"""Trained runs on a split as it is and under drawn shifts: Dice, its loss by case, Dice by size of lesion.

    python benchmarks/shifts.py [RUN ...] [--split test] [--most N] [--threads 1] [--out FILE.csv]

A RUN is a run folder, or a folder of several; runs/few_labels, which benchmarks/few_labels.py makes, where
none is given. Data, split and model are those that it names. Images: a cast of colour, brightness, blur, zoom
0.7 and 1.4, JPEG, noise. Volumes: another slope of intensities, shading, blur, zoom, noise. What is drawn
follows from case and shift, so that all runs see the same. A row is a run under one shift ("clean" first):
mean Dice over cases and classes, the loss against clean paired by case with its 95 % bootstrap interval over
groups, and Dice of the thirds of the cases by the size of what their masks show. Rows by case lie
beside it, in FILE-cases.csv. Resumable: a run that is in the table is not scored again.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch

from dinoseg import load
from dinoseg.config import from_yaml
from dinoseg.data import CaseFiles, Dataset, open_dataset, read_case
from dinoseg.data.case import IGNORE_ID, Image, LabelMap
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.evaluation.selection import select_cases
from dinoseg.inference import predict_cases, segment_volume
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import write_csv
from shifting import OF_IMAGES, OF_VOLUMES, Array, Ids, Shift, draw_generator

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/shifts.csv"
CLEAN = "clean"
THIRDS = ("small", "medium", "large")
RESAMPLES = 2000
Row = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """One case under one shift.

    Attributes:
        case: its name.
        group: its patient or video.
        dice: mean over the foreground classes; 1 where mask and answer are both empty of a class.
        share: of its mask that shows a class, without shift.
    """

    case: str
    group: str
    dice: float
    share: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", default=[ROOT / "runs/few_labels"])
    parser.add_argument("--split", default="test")
    parser.add_argument("--most", type=int, help="so many cases at most, the first of the split")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runs = find_runs(arguments.runs)
    if not runs:
        print("skipped: no finished run; benchmarks/few_labels.py makes some")
    for name, run in runs.items():
        if name in {row["run"] for row in read_rows(arguments.out)}:
            continue
        rows, cases = score_run(name, run, split=arguments.split, most=arguments.most)
        by_case = arguments.out.with_name(f"{arguments.out.stem}-cases.csv")
        write_csv(by_case, [*read_rows(by_case), *cases], overwrite=True)
        write_csv(arguments.out, [*read_rows(arguments.out), *rows], overwrite=True)
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def find_runs(places: list[Path]) -> dict[str, Path]:
    """Finished runs among and below some folders, named from runs/ or from the folder that was given."""
    found = {}
    for place in places:
        folder = place.resolve()
        for path in sorted(folder.glob("**/model/config.json")):
            run = path.parents[1]
            ours = run.is_relative_to(ROOT / "runs")  # several of them may have the same last name
            found[str(run.relative_to(ROOT / "runs" if ours else folder.parent))] = run
    return found


def score_run(name: str, run: Path, *, split: str, most: int | None) -> tuple[list[Row], list[Row]]:
    """Rows of the table, and of its cases."""
    settings = from_yaml(RunSettings, (run / "config.yaml").read_text(encoding="utf-8"))
    dataset = open_dataset(settings.folders[0])
    files = select_cases(dataset, split, runs=[run])[:most]
    model = load(run)
    shifts = OF_VOLUMES if dataset.is_volumes else OF_IMAGES
    found = score_shifts(model, dataset, files, shifts)
    clean = found[CLEAN]
    rows = [
        {
            "run": name,
            "data": dataset.root.name,
            "shots": settings.shots or "",
            "method": settings.model.decoder.method,
            "size": settings.model.preprocessing.size,
            "seed": settings.train.seed,
            "split": split,
            "shift": shift,
            **describe(scores, clean),
        }
        for shift, scores in found.items()
    ]
    cases = [
        {"run": name, "shift": shift, **vars(score), "loss": before.dice - score.dice}
        for shift, scores in found.items()
        for score, before in zip(scores, clean, strict=True)
    ]
    return rows, cases


def score_shifts(
    model: Segmenter, dataset: Dataset, files: tuple[CaseFiles, ...], shifts: Mapping[str, Shift]
) -> dict[str, list[Score]]:
    """Scores by shift, clean first, each in the order of the cases, which are read once each."""
    found: dict[str, list[Score]] = {CLEAN: [], **{name: [] for name in shifts}}
    answer = answer_volume if dataset.is_volumes else answer_image
    for item in files:
        for name, prediction, target in answer(model, dataset, item, shifts):
            share = float((target != 0).mean()) if name == CLEAN else found[CLEAN][-1].share
            found[name].append(Score(item.id, item.group, find_dice(prediction, target, model), share))
    return found


def answer_image(
    model: Segmenter, dataset: Dataset, item: CaseFiles, shifts: Mapping[str, Shift]
) -> Iterator[tuple[str, Ids, Ids]]:
    """(shift, prediction, target) of an image."""
    case = read_case(item, dataset.labels)
    if case.label is None:
        raise SystemExit(f"{item.image} has no mask to score against")
    for name, image, ids in shift_all(item.id, case.image.array, case.label.array, shifts):
        (prediction,) = predict_cases(model, [replace(case, image=Image(image), label=LabelMap(ids))])
        yield name, prediction.mask, ids


def answer_volume(
    model: Segmenter, dataset: Dataset, item: CaseFiles, shifts: Mapping[str, Shift]
) -> Iterator[tuple[str, Ids, Ids]]:
    """(shift, prediction, target) of a volume, upright."""
    case = read_volume_case(item, dataset.labels).canonical()
    if case.label is None:
        raise SystemExit(f"{item.image} has no label to score against")
    voxels = np.asarray(case.image.array, np.float32)
    for name, image, ids in shift_all(item.id, voxels, case.label.array, shifts):
        yield name, segment_volume(model, replace(case.image, array=image)).mask, ids


def shift_all(
    case: str, image: Array, ids: Ids, shifts: Mapping[str, Shift]
) -> Iterator[tuple[str, Array, Ids]]:
    """The image as it is, then under each shift."""
    yield CLEAN, image, ids
    for name, shift in shifts.items():
        yield name, *shift(image, ids, draw_generator(case, name))


def find_dice(prediction: Ids, target: Ids, model: Segmenter) -> float:
    """Mean Dice over the foreground classes, of what is decided."""
    decided = target != IGNORE_ID
    values = []
    for id_ in model.classes:
        ours, theirs = (prediction == id_) & decided, target == id_
        total = int(ours.sum()) + int(theirs.sum())
        values.append(2 * int((ours & theirs).sum()) / total if total else 1.0)
    return float(np.mean(values[1:]))  # the first is the background


def describe(scores: list[Score], clean: list[Score]) -> Row:
    """Dice, the loss with its interval, and Dice by thirds of the size of what masks show."""
    losses = np.array([before.dice - after.dice for before, after in zip(clean, scores, strict=True)])
    low, high = bootstrap(losses, [score.group for score in scores])
    shown = [score for score in scores if score.share > 0]
    order = np.argsort([score.share for score in shown], kind="stable")
    thirds = {
        f"dice_{name}": round(float(np.mean([shown[place].dice for place in part])), 4) if len(part) else ""
        for name, part in zip(THIRDS, np.array_split(order, len(THIRDS)), strict=True)
    }
    return {
        "cases": len(scores),
        "dice": round(float(np.mean([score.dice for score in scores])), 4),
        "loss": round(float(losses.mean()), 4),
        "loss_low": round(low, 4),
        "loss_high": round(high, 4),
        **thirds,
    }


def bootstrap(values: np.ndarray, groups: list[str]) -> tuple[float, float]:
    """95 % interval of the mean, groups drawn with replacement."""
    names = sorted(set(groups))
    of_group = np.array([names.index(group) for group in groups])
    sums = np.bincount(of_group, weights=values, minlength=len(names))
    counts = np.bincount(of_group, minlength=len(names))
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def read_rows(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()

"""Few labels: every method, and a U-Net of MONAI as the peer, on the same draws of a few real cases.

    python benchmarks/few_labels.py [NAME ...] [--methods linear dino-unet unet] [--draws 3] [--size 320]

Each setting (data set, shots) trains as `dinoseg curve` does, with the `default` preset cut to 200 steps of
four images at 160 px: what a laptop does in minutes. segdino-v2 has width 128, dino-augseg its wavelet
augmentation. `guided` has its own recipe: 320 and 160 px side by side (448 and 224 for the heart, whose walls
are thin), larger turns, 400 steps at half the rate; to save time its image branch sees a quarter of a batch,
but for thin lines all of it.
`guided` is averaged over eight symmetries in prediction (the heart: four) and decides for the greatest
expected Dice. `--size` feeds the others at another size, and `--averaged` predicts with them in the same way;
such rows say so. The features are those of vit-tiny-in1k
(no DINO model: the figures compare methods, not papers). The U-Net is trained from scratch for as many steps
(`unet`), or five times as many (`unet-long`), on exactly the cases of each draw, and scored with our metrics
on the same test split. ACDC is read as volumes: seven of them are slices to learn from, Dice is taken in 3D.
Besides the six settings there are an optic disc (drions-10) and thin drawn lines (vessels-10).
Resumable; rows go to benchmarks/results/few_labels.csv, of which docs/images/few_labels.png is drawn. Two
processes with different --methods may share the folder of runs; all settings take hours.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch
from filelock import FileLock

from accuracy import Lines
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.config import from_yaml
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import load_splits
from dinoseg.evaluation.summary import headline, summarise
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import write_csv, write_json
from dinoseg.training import learn_curve
from dinoseg.training.series.outcomes import Repeats
from drawn_vessels import draw_vessels_once
from few_labels_picture import draw_picture
from peer_unet import score_peer, train_unet

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
BACKBONE = SHARED / "weights/vit-tiny-in1k"
RESULTS = ROOT / "benchmarks/results/few_labels.csv"
PICTURE = ROOT / "docs/images/few_labels.png"
LOCK = ROOT / "runs/few_labels.lock"  # two processes write one table
METHODS = ("linear", "segdino-v1", "segdino-v2", "dino-unet", "dino-augseg", "guided")
SIZE = 160  # px, of all but guided
STEPS = 200
DRAWN = "drawn vessels"
PEERS = {"unet": STEPS, "unet-long": 5 * STEPS}
CHANGES = {
    "train.epochs": 8,
    "train.steps_per_epoch": STEPS // 8,
    "train.validate_every": 8,
    "train.warmup_epochs": 1,
    "model.preprocessing.size": SIZE,
}
VIEWS = {"train.views": 8}  # what `default` had for the published ones
OF_METHOD: dict[str, dict[str, Any]] = {
    "segdino-v2": {"segdino-v2:model.decoder.width": 128},
    "dino-augseg": {"dino-augseg:train.feature_augmentation": "wavelet"},
    "guided": {
        "guided:train.steps_per_epoch": 50,
        "guided:model.preprocessing.size": 320,
        "guided:model.decoder.image_share": 0.25,
    },
}


@dataclass(frozen=True)
class Setting:
    """One block of the table."""

    name: str
    data: str
    shots: int
    guided: tuple[tuple[str, Any], ...] = ()  # what our method is told about the data
    symmetries: int = 8  # those of guided, for others that are averaged


@dataclass(frozen=True)
class Given:
    """What a published method is given beyond its own."""

    size: int = SIZE
    averaged: bool = False

    def name(self, method: str) -> str:
        """Of the row."""
        size = "" if self.size == SIZE else f", {self.size} px"
        return f"{method}{size}{', averaged' if self.averaged else ''}"


SETTINGS = (
    Setting("kvasir-10", "kvasir-seg", 10),
    Setting("kvasir-40", "kvasir-seg", 40),
    Setting("isic-5", "isic2017-256", 5),
    Setting("isic-25", "isic2017-256", 25),
    Setting("tg3k-25", "tg3k", 25),
    Setting(
        "acdc-7",
        "acdc",
        7,
        guided=(("guided:model.preprocessing.context", 3), ("guided:model.preprocessing.size", 448)),
        symmetries=4,
    ),
    Setting("drions-10", "drions-db", 10),
    Setting("vessels-10", DRAWN, 10, guided=(("guided:model.decoder.image_share", 1.0),)),
)


class ProcessorTime(Lines):
    """Progress that remembers in a file how much processor time each training took."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self._path = path
        self.seconds_of: dict[str, float] = (
            dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
        )

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        started = time.process_time()
        yield from super().track(items, total=total, label=label)
        run, _, part = label.rpartition(": ")
        if part == "training":
            self.seconds_of[run] = round(time.process_time() - started, 1)
            write_json(self._path, self.seconds_of, overwrite=True)


def main() -> None:
    known = {setting.name: setting for setting in SETTINGS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=[*METHODS, "unet"], choices=[*METHODS, *PEERS])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/few_labels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", action="store_true", help=f"only draw {PICTURE.name} from the table")
    parser.add_argument("--size", type=int, default=SIZE, help="px, of the published methods")
    parser.add_argument("--averaged", action="store_true", help="predict with them as with guided")
    arguments = parser.parse_args()
    if arguments.picture:
        draw_picture(RESULTS, PICTURE)
        return
    if not BACKBONE.is_dir():
        print(f"skipped: needs real images and weights in {SHARED}, which is not there")
        return
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    for name in arguments.names or known:
        for method in arguments.methods:
            given = Given(arguments.size, arguments.averaged)
            add_row(run(known[name], method, arguments.runs / name, arguments.draws, given))
            draw_picture(RESULTS, PICTURE)


def run(setting: Setting, method: str, out: Path, draws: int, given: Given) -> dict[str, Any]:
    """One row of the table; a peer trains on the draws of the baseline, which are those of every method."""
    data = (
        draw_vessels_once(ROOT / "runs/vessels") if setting.data == DRAWN else SHARED / "data" / setting.data
    )
    if method in PEERS or method == "guided":
        given = Given()  # theirs is fixed, ours on its card
    ours, processor = train_ours(setting, "linear" if method in PEERS else method, data, out, draws, given)
    if method in PEERS:
        return run_peer(setting, method, ours, data, out / method)
    return row(
        setting,
        given.name(method),
        dice=[draw.scores["dice"] for draw in ours.draws],
        missed=[draw.missed for draw in ours.draws],
        seconds=[draw.train_seconds for draw in ours.draws],
        processor=processor,
        parameters=ours.draws[0].trained_parameters,
    )


def train_ours(
    setting: Setting, method: str, data: Path, out: Path, draws: int, given: Given
) -> tuple[Repeats, Sequence[float]]:
    """The runs, and the processor seconds of those that were trained in one go."""
    folder = given.name(method).replace(", ", "-").replace(" px", "")
    progress = ProcessorTime(setting.name, out / f"{folder}-processor.json")
    changes = {**CHANGES, "model.preprocessing.size": given.size, **OF_METHOD.get(method, {})}
    if given.averaged:
        changes |= {"model.symmetries": setting.symmetries, "model.decision": "dice"}
    changes |= {} if method == "guided" else VIEWS
    curve = learn_curve(
        data,
        methods=[method],
        shots=[setting.shots],
        backbone=str(BACKBONE),
        out=out / folder,
        draws=draws,
        changes={**changes, **(dict(setting.guided) if method == "guided" else {})},
        resume=True,
        progress=progress,
    )
    return curve.repeats[0], list(progress.seconds_of.values())


def run_peer(setting: Setting, peer: str, repeats: Repeats, data: Path, out: Path) -> dict[str, Any]:
    found = [
        read_or_train(draw.run, draw.seed, data, PEERS[peer], out / f"draw-{draw.draw}.json")
        for draw in repeats.draws
    ]
    return row(
        setting,
        f"U-Net (MONAI), {PEERS[peer]} steps",
        dice=[item["dice"] for item in found],
        missed=[item["missed"] for item in found],
        seconds=[item["seconds"] for item in found],
        processor=(),
        parameters=found[0]["parameters"],
    )


def read_or_train(run_folder: Path, seed: int, data: Path, steps: int, path: Path) -> dict[str, Any]:
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    dataset, splits = open_dataset(data), load_splits(run_folder / "splits.json")
    preprocessing = read_settings(run_folder).model.preprocessing
    peer = train_unet(dataset, splits.train, preprocessing, steps=steps, seed=seed)
    scores = score_peer(peer, dataset, splits.test, preprocessing)
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


def read_settings(run_folder: Path) -> RunSettings:
    return from_yaml(RunSettings, (run_folder / "config.yaml").read_text(encoding="utf-8"))


def row(
    setting: Setting,
    method: str,
    *,
    dice: Sequence[float],
    missed: Sequence[int],
    seconds: Sequence[float],
    processor: Sequence[float],
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
        "train_cpu_s": round(statistics.mean(processor), 1) if processor else "",
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()} {os.cpu_count()} cores",
    }


def add_row(new: dict[str, Any]) -> None:
    """Replace the row of the setting and method in the table, or add it."""
    rows: list[dict[str, Any]] = []
    LOCK.parent.mkdir(exist_ok=True)
    with FileLock(LOCK):
        if RESULTS.is_file():
            with RESULTS.open(encoding="utf-8") as file:
                rows = [{**old, "train_cpu_s": old.get("train_cpu_s", "")} for old in csv.DictReader(file)
                        if (old["setting"], old["method"]) != (new["setting"], new["method"])]  # fmt: skip
        write_csv(RESULTS, [*rows, new], overwrite=True)
    print("  ".join(f"{key} {value}" for key, value in new.items()), flush=True)


if __name__ == "__main__":
    main()

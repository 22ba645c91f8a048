"""Many drawn images through Ray, with workers that are killed: every mask is that of one process.

    python benchmarks/cohorts.py [--images 10000] [--workers 1 2] [--kills 2]

Needs `pip install '.[train,ray]'`. The images are of 32 px and the backbone is small and untrained: what is
measured is the way of the files, not the network. Rows go to benchmarks/results/cohorts.csv: images,
workers, kills, seconds, masks, how many differ from those of one process without Ray, and how many failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dinoseg.backbones import create_backbone
from dinoseg.cohorts.cluster import OnRay
from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.inference import predict_files
from dinoseg.methods import decoder_settings
from dinoseg.model.saved import SavedModel
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.outputs import write_csv

RESULTS = Path(__file__).parents[1] / "benchmarks/results/cohorts.csv"
BACKBONE = "untrained-vitt16"
SIDE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kills", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        model, images = save_model(root / "run"), draw(root / "images", arguments.images)
        started = time.monotonic()
        predict_files(model, images, root / "alone", overlays=False)
        expected = read_masks(root / "alone")
        rows = [row(arguments.images, 0, 0, time.monotonic() - started, expected, expected, 0)]
        for workers in arguments.workers:
            out, stop = root / f"ray-{workers}", threading.Event()
            killer = threading.Thread(target=kill, args=(out, arguments.images, arguments.kills, stop))
            killer.start()
            started = time.monotonic()
            report = predict_files(model, images, out, overlays=False, runner=OnRay(model, workers=workers))
            seconds = time.monotonic() - started
            stop.set()
            killer.join()
            found = read_masks(out)
            rows.append(
                row(
                    arguments.images, workers, arguments.kills, seconds, found, expected, len(report.failures)
                )
            )
    for each in rows:
        print(each)
    write_csv(RESULTS, rows, overwrite=True)


def row(
    images: int,
    workers: int,
    kills: int,
    seconds: float,
    found: dict[str, bytes],
    expected: dict[str, bytes],
    failed: int,
) -> dict[str, object]:
    return {
        "images": images,
        "workers": workers,
        "kills": kills,
        "seconds": round(seconds, 1),
        "masks": len(found),
        "different": sum(found.get(name) != mask for name, mask in expected.items()),
        "failed": failed,
    }


def save_model(run: Path) -> SavedModel:
    settings = ModelSettings(
        backbone=BackboneSettings(name=BACKBONE),
        decoder=decoder_settings("linear"),
        preprocessing=PreprocessingSettings(size=SIDE),
        classes={0: "background", 1: "lesion"},
    )
    Segmenter(settings, create_backbone(BACKBONE)).save(run / "model")
    return SavedModel(run)


def draw(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
    return folder


def read_masks(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "masks").iterdir()}


def kill(out: Path, images: int, kills: int, stop: threading.Event) -> None:
    """Kill a worker after each of some equal parts of the masks."""
    for number in range(1, kills + 1):
        while not stop.is_set() and count_lines(out / "predictions.jsonl") < images * number // (kills + 1):
            time.sleep(0.1)
        if (workers := find_workers()) and not stop.is_set():
            os.kill(workers[0], signal.SIGKILL)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def find_workers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if name.startswith("ray::") and "Worker" in name:
            found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    main()

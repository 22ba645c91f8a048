"""Five scores per case: ours against MONAI's, in one process, on real masks at native size.

    python benchmarks/evaluation.py [MASKS] [--cases 200]

MASKS is a folder of binary masks (default: the Kvasir-SEG masks beside the checkout); without
it the masks are drawn. The "prediction" of each mask is the mask moved, shrunk or roughened.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dinoseg.evaluation.metrics import score_case

ROOT = Path(__file__).parents[1]
MASKS = ROOT / "../shared/data/kvasir-seg/masks"
RESULTS = ROOT / "benchmarks/results/evaluation.csv"
CLASSES = {0: "background", 1: "foreground"}
ROUNDS = 3

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    kind: str
    prediction: Mask
    target: Mask


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    pairs = make_pairs(arguments.masks, arguments.cases)
    rows = [
        measure(kind, [pair for pair in pairs if pair.kind == kind]) for kind in ("moved", "shrunk", "rough")
    ]
    rows.append(measure("all", pairs))
    rows.append(measure("volume", [make_volumes()]))
    for row in rows:
        speeds = f"ours {row['ours_ms']:8.2f} ms  MONAI {row['monai_ms']:8.2f} ms"
        gain = f"{row['ratio']:5.1f} times faster, largest difference {row['difference']:.1e}"
        print(f"{row['kind']:8} {row['cases']:4} cases  {speeds}  {gain}")
    write(rows, arguments.masks)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("masks", nargs="?", type=Path, default=MASKS)
    parser.add_argument("--cases", type=int, default=200)
    return parser.parse_args()


def make_pairs(folder: Path, cases: int) -> list[Pair]:
    rng = np.random.default_rng(0)
    pairs = []
    for number, target in enumerate(read_masks(folder, cases, rng)):
        kind = ("moved", "shrunk", "rough")[number % 3]
        pairs.append(Pair(kind, distort(target, kind, rng), target))
    return pairs


def read_masks(folder: Path, cases: int, rng: np.random.Generator) -> list[Mask]:
    paths = sorted(folder.glob("*.png"))[:cases]
    if not paths:
        print(f"{folder} holds no PNG masks: drawing {cases} of 530 x 620 px")
        return [draw_mask(rng) for _ in range(cases)]
    return [(np.asarray(Image.open(path).convert("L")) > 127).astype(np.uint8) for path in paths]


def draw_mask(rng: np.random.Generator) -> Mask:
    rows, columns = np.mgrid[:530, :620]
    row, column, height, width = rng.uniform([150, 150, 40, 40], [380, 470, 160, 160])
    return (np.hypot((rows - row) / height, (columns - column) / width) < 1).astype(np.uint8)


def distort(target: Mask, kind: str, rng: np.random.Generator) -> Mask:
    if kind == "moved":
        return np.roll(target, (7, -11), (0, 1))
    if kind == "shrunk":
        return ndimage.binary_erosion(target, iterations=6).astype(np.uint8)
    noise = rng.normal(0, 2, target.shape)
    return (ndimage.gaussian_filter(target + noise, 9) > 0.5).astype(np.uint8)


def make_volumes() -> Pair:
    depth, rows, columns = np.mgrid[:60, :160, :160]
    target = np.hypot(np.hypot((depth - 30) * 2.2, rows - 80), columns - 80) < 50
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=target.shape), 4)
    rough = np.abs(noise) > 2.5 * noise.std()
    return Pair("volume", (target ^ rough).astype(np.uint8), target.astype(np.uint8))


def score_ours(pair: Pair) -> list[float]:
    (found,) = score_case(
        pair.prediction, pair.target, classes=CLASSES, spacing=None, tolerance=2, case="", group=""
    )
    return [found.dice, found.iou, found.hd95, found.assd, found.nsd]


def score_monai(pair: Pair) -> list[float]:
    from monai import metrics

    masks = [torch.from_numpy(mask)[None, None].float() for mask in (pair.prediction, pair.target)]
    found = [
        metrics.compute_dice(*masks, include_background=True),
        metrics.compute_iou(*masks, include_background=True),
        metrics.compute_hausdorff_distance(*masks, include_background=True, percentile=95),
        metrics.compute_average_surface_distance(*masks, include_background=True, symmetric=True),
        metrics.compute_surface_dice(*masks, [2.0], include_background=True),
    ]
    return [float(value) for value in found]


def measure(kind: str, pairs: list[Pair]) -> dict[str, str | int | float]:
    ours, ours_ms = time_scores(score_ours, pairs)
    theirs, monai_ms = time_scores(score_monai, pairs)
    both_there = [bool(pair.prediction.any() and pair.target.any()) for pair in pairs]
    return {
        "kind": kind,
        "cases": len(pairs),
        "ours_ms": round(ours_ms, 3),
        "monai_ms": round(monai_ms, 3),
        "ratio": round(monai_ms / ours_ms, 2),
        "difference": float(np.abs(ours - theirs)[both_there].max()),
    }


def time_scores(score: Callable[[Pair], list[float]], pairs: list[Pair]) -> tuple[NDArray[np.float64], float]:
    """Scores (cases, 5) and milliseconds per case, the best of a few rounds after one to warm up."""
    scores = np.array([score(pair) for pair in pairs])
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for pair in pairs:
            score(pair)
        seconds.append(time.perf_counter() - start)
    return scores, 1000 * min(seconds) / len(pairs)


def write(rows: list[dict[str, str | int | float]], folder: Path) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    masks = folder.parent.name if folder.is_dir() else "drawn ellipses"
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Dice, IoU, HD95, ASSD and NSD of one case, ours against MONAI, one thread, ms per case\n"
        )
        file.write(f"# masks: {masks}; best of {ROUNDS} rounds\n")
        file.write(f"# {platform.processor() or platform.machine()}, Python {platform.python_version()}, ")
        file.write(f"NumPy {np.__version__}, torch {torch.__version__}\n")
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns about its own deprecations and empty masks
        main()

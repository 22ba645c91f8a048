"""The picture at the top of the README: masks on drawn pictures of three kinds, from training to overlay.

    python benchmarks/overview.py [--backbone ../shared/weights/vit-tiny-in1k] [--out FILE]

For each kind of phantom: 100 pictures are drawn, `segdino-v1` is trained on the backbone's features, and the
picture of the test split with the median Dice is segmented. Above the picture, below the mask of the model in
colour and the true outline in white. A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import get_args

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from dinoseg import evaluate, predict, train
from dinoseg.data import open_dataset, read_case
from dinoseg.data.phantoms.phantoms import PhantomKind, write_phantoms

ROOT = Path(__file__).parents[1]
SIZE = (240, 320)
GAP = 8
CHANGES = {"train.epochs": 30, "train.views": 4, "train.min_bank": 1, "model.preprocessing.size": 256}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backbone", default=str(ROOT / "../shared/weights/vit-tiny-in1k"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images/overview.jpg")
    arguments = parser.parse_args()
    out, backbone = arguments.out, arguments.backbone
    with tempfile.TemporaryDirectory() as folder:
        pairs = [draw_pair(kind, Path(folder) / kind, backbone) for kind in get_args(PhantomKind)]
    columns = [np.concatenate(pair) for pair in pairs]
    gap = np.full((columns[0].shape[0], GAP, 3), 255, np.uint8)
    row = [part for column in columns for part in (column, gap)][:-1]
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(row, axis=1)).save(out, quality=88, optimize=True)
    print(f"{out}: {out.stat().st_size // 1024} kB")


def draw_pair(kind: PhantomKind, folder: Path, backbone: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture, and the same with the mask of a model that never saw it."""
    data = write_phantoms(folder / "data", kind=kind, count=100, size=SIZE, seed=0)
    changes = {**CHANGES, "cache.folder": str(folder / "features")}
    run = folder / "run"
    model = train(data, run, method="segdino-v1", backbone=backbone, changes=changes)
    scores = evaluate(run, data, split="test").scores
    middle = sorted(scores, key=lambda score: score.dice)[len(scores) // 2]
    print(f"{kind}: median Dice of {len(scores)} test pictures {middle.dice:.2f}")
    dataset = open_dataset(data)
    case = read_case(dataset.find([middle.case])[0], dataset.labels)
    prediction = predict(model, case)
    overlay = Image.fromarray(prediction.overlay(case.image))
    target = case.label.array > 0
    pixels = np.asarray(overlay).copy()
    pixels[target ^ ndimage.binary_erosion(target, iterations=2)] = 255
    shown = Image.fromarray(pixels)
    font = ImageFont.load_default(size=15)
    text = f"drawn {kind}, Dice {middle.dice:.2f}"
    ImageDraw.Draw(shown).text((8, 6), text, fill="white", font=font, stroke_width=2, stroke_fill="black")
    grey_or_rgb = (np.broadcast_to(case.image.array, (3, *SIZE)) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(grey_or_rgb.transpose(1, 2, 0)), np.asarray(shown)


if __name__ == "__main__":
    main()

"""Are copies of training images found, whatever was done to them? By digests of a model, and by features.

    python benchmarks/leakage.py [--every 10] [--backbone NAME_OR_FOLDER]

Every tenth image of Kvasir-SEG and ISIC is a training case. Each is changed in one way (turned, mirrored,
encoded, halved, brightened, cropped) and asked for: by `TrainingCases`, and by the cosine of the features,
whose limit is measured on mirror images as `data check --backbone` does. The other images, which are none of
them, are asked for as well: what is found there is wrong, or a true near duplicate. The features are those
of vit-tiny-in1k if nothing else is given. Rows go to benchmarks/results/leakage.csv.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dinoseg.backbones import create_backbone
from dinoseg.data.case import Image as Pixels
from dinoseg.data.cases.prints import TrainingCases, print_case
from dinoseg.data.splits.alike import MIRRORED, to_unit
from dinoseg.data.tensors.transforms import prepare_pixels
from dinoseg.outputs import write_csv
from dinoseg.training.features.alike import average

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
RESULTS = ROOT / "benchmarks/results/leakage.csv"
SETS = ("kvasir-seg", "isic2017-256")
SIZE = 224
Change = Callable[[Image.Image], Image.Image]


def encode(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def crop(image: Image.Image) -> Image.Image:
    margin = (image.width // 20, image.height // 20)
    return image.crop((*margin, image.width - margin[0], image.height - margin[1]))


CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "JPEG 90": lambda image: encode(image, 90),
    "JPEG 50": lambda image: encode(image, 50),
    "turned, mirrored, JPEG 75": lambda image: encode(image.transpose(Image.Transpose.TRANSVERSE), 75),
    "half the size, JPEG 75": lambda image: encode(image.resize((image.width // 2, image.height // 2)), 75),
    "brighter": lambda image: image.point(lambda value: min(255, int(value * 1.1 + 5))),
    "90 % of each side": crop,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--backbone", default=str(SHARED / "weights/vit-tiny-in1k"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not (SHARED / "data").is_dir():
        print(f"skipped: needs real images in {SHARED}, which is not there")
        return
    torch.set_num_threads(arguments.threads)
    backbone = create_backbone(arguments.backbone)
    rows = [row for name in SETS for row in measure(name, arguments.every, backbone)]
    write_csv(RESULTS, rows, overwrite=True)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


def measure(name: str, every: int, backbone: Any) -> list[dict[str, Any]]:
    """One row per change, and one for the images that are no training cases."""
    paths = sorted((SHARED / "data" / name / "images").iterdir())
    trained, others = paths[::every], [path for place, path in enumerate(paths) if place % every]
    known = TrainingCases.of(print_case(to_array(load(path))) for path in trained)
    units = np.stack([embed(backbone, load(path)) for path in trained])
    mirrored = [
        float(unit @ embed(backbone, CHANGES["mirrored"](load(path))))
        for unit, path in [*zip(units, trained, strict=True)][:: max(1, len(trained) // MIRRORED)]
    ]
    limit = float(np.percentile(mirrored, 10))

    def row(what: str, images: list[Path], change: Change) -> dict[str, Any]:
        found = [known.find(to_array(change(load(path)))) for path in images]
        near = [(units @ embed(backbone, change(load(path)))).max() for path in images]
        return {
            "data": name,
            "what": what,
            "images": len(images),
            "same": found.count("same"),
            "alike": found.count("alike"),
            "by_features": sum(float(value) >= limit for value in near),
            "limit": round(limit, 4),
            "backbone": backbone.name,
        }

    rows = [row(what, trained, change) for what, change in CHANGES.items()]
    return [*rows, row("not among them", others, CHANGES["as it is"])]


def load(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def to_array(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)


@torch.inference_mode()
def embed(backbone: Any, image: Image.Image) -> NDArray[np.float32]:
    prepared = prepare_pixels(Pixels(to_array(image)), (SIZE, SIZE), mean=backbone.mean, std=backbone.std)
    return to_unit(average(backbone(torch.from_numpy(prepared).unsqueeze(0)).levels[-1]))


if __name__ == "__main__":
    main()

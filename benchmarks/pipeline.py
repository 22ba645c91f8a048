"""`dinoseg predict` on a folder against its parts: do reading and writing hide behind the model?

    python benchmarks/pipeline.py [IMAGES] [--count 32] [--threads 2] [--rounds 3]

IMAGES is a folder of photographs (default: Kvasir-SEG beside the checkout; without it they are drawn). Each
part is timed alone, with the threads that predict gives it: reading and resizing, the backbone, decoder and
masks, masks and pictures to disk. Then the whole, which cannot be faster than its slowest part; the backbone
and the decoder run in turn and count as one. Writes benchmarks/results/pipeline.csv.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np
import torch

from dinoseg.backbones.extractors import Precision
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.config import BackboneSettings, Inference, PreprocessingSettings
from dinoseg.data.case import Case
from dinoseg.data.images import read_image
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.inference import Prediction, predict_files
from dinoseg.inference.engine import Prepared, prepare, segment
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.streams import map_ahead
from measuring import ROOT, Row, describe_machine, list_precisions, measure, random_backbone, save

IMAGES = ROOT / "../shared/data/kvasir-seg/images"
CLASSES = {0: "background", 1: "lesion"}
HOW = Inference()
WORKERS = 2  # of predict_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("images", nargs="?", type=Path, default=IMAGES)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        paths = find_images(arguments.images, arguments.count, Path(folder))
        machine.append(f"{len(paths)} images of {paths[0].parents[1].name}")
        print("\n".join(machine))
        rows = [
            time_predict(paths, Path(folder) / "out", precision, overlays=overlays, rounds=arguments.rounds)
            for precision in list_precisions()
            for overlays in (True, False)
        ]
    save("pipeline", rows, machine)


def find_images(folder: Path, count: int, place: Path) -> list[Path]:
    """Photographs, or drawn ones where there is no such folder."""
    found = sorted(folder.glob("*.jpg"))[:count] if folder.is_dir() else []
    if found:
        return found
    drawn = write_phantoms(place / "drawn", kind="endoscopy", count=count, size=(530, 620), seed=0)
    return sorted((drawn / "images").iterdir())


def make_model(precision: Precision) -> Segmenter:
    """SegDINO v1 on a ViT-S, whose masks are blobs of some size: the decoder is drawn at random."""
    settings = ModelSettings(
        backbone=BackboneSettings(name="dinov3_vits16", precision=precision),
        decoder=decoder_settings("segdino-v1"),
        preprocessing=PreprocessingSettings(size=256),
        classes=CLASSES,
    )
    torch.manual_seed(0)
    return Segmenter(settings, random_backbone("dinov3_vits16", precision=precision)).eval()


def time_predict(paths: list[Path], out: Path, precision: Precision, *, overlays: bool, rounds: int) -> Row:
    """Images per second of every part and of the whole."""
    model = make_model(precision)
    prepared = read_all(model, paths)
    with torch.inference_mode():
        batches = [torch.from_numpy(np.stack([item.pixels for item in group])) for group in split(prepared)]
        features = [model.backbone(batch) for batch in batches]
    predictions = [item.prediction for item in segment(model, prepared, HOW)]

    @torch.inference_mode()
    def compute_features() -> None:
        for batch in batches:
            model.backbone(batch)

    @torch.inference_mode()
    def decode() -> None:
        for group, batch, maps in zip(split(prepared), batches, features, strict=True):
            for item, logits in zip(group, model.decode(maps, batch).split(1), strict=True):
                model.mask(logits, item.case.image.size).numpy()

    def predict() -> None:
        shutil.rmtree(out, ignore_errors=True)
        predict_files(model, paths, out, overlays=overlays, workers=WORKERS)

    taken = measure(
        {
            "read": lambda: read_all(model, paths),
            "backbone": compute_features,
            "decode": decode,
            "write": lambda: write_all(prepared, predictions, out, overlays=overlays),
            "whole": predict,
        },
        rounds=rounds,
    )
    slowest = max(taken["read"], taken["backbone"] + taken["decode"], taken["write"])
    row: Row = {"precision": precision, "overlays": "yes" if overlays else "no", "images": len(paths)}
    row |= {f"{part} per second": len(paths) / seconds for part, seconds in taken.items()}
    row |= {"whole / slowest part": taken["whole"] / slowest}
    row |= {"sum of parts / whole": (sum(taken.values()) - taken["whole"]) / taken["whole"]}
    speeds = "  ".join(f"{part} {len(paths) / seconds:.1f}/s" for part, seconds in taken.items())
    pictures = "with overlays" if overlays else "masks only"
    print(f"{precision} {pictures}: {speeds}  whole / slowest {row['whole / slowest part']:.2f}", flush=True)
    return row


def read_all(model: Segmenter, paths: Iterable[Path]) -> list[Prepared]:
    """Decode and prepare in threads."""

    def read(path: Path) -> Prepared:
        case = Case(id=path.stem, image=read_image(path), label=None, group=path.stem, source=path)
        return prepare(model, case, HOW)

    return list(map_ahead(read, paths, workers=WORKERS, ahead=HOW.batch_size))


def write_all(prepared: list[Prepared], predictions: list[Prediction], out: Path, *, overlays: bool) -> None:
    """Masks, and pictures where asked for, in threads."""

    def write(index: int) -> None:
        prediction, image = predictions[index], prepared[index].case.image
        prediction.save(out / f"{index}.png", overwrite=True)
        if overlays:
            prediction.save_overlay(out / f"{index}.jpg", image, overwrite=True)

    list(map_ahead(write, range(len(predictions)), workers=WORKERS, ahead=HOW.batch_size))


def split(prepared: list[Prepared]) -> list[list[Prepared]]:
    size = HOW.batch_size
    return [prepared[start : start + size] for start in range(0, len(prepared), size)]


if __name__ == "__main__":
    main()

"""What the browser is given: small trained models, pictures, volumes, series, broken files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.cli import main
from dinoseg.data.volumes import Volume
from tests.data.dicom.drawn import draw_series
from tests.inference.volumes import make_volume, save_nifti
from tests.serving.servers import pack_folder
from tests.teaching.scenes import draw_disc, write_discs

QUICK = ["--method", "linear", "--backbone", "untrained-vitt16", "--set", "train.views=1", "--epochs", "30"]
QUICK += ["--set", "train.min_bank=1", "--set", "train.min_epoch_samples=8", "--set", "train.advice=false"]
SCAN = (6, 64, 64)


def train_models(root: Path) -> tuple[Path, Path]:
    """Run folders: one finds discs on pictures, one a bright box in scans."""
    write_discs(root / "discs", 12, masks=12)
    write_scans(root / "Dataset001_Boxes", 4)
    found = []
    for name, data, size in (("discs", root / "discs", 96), ("boxes", root / "Dataset001_Boxes", 64)):
        run = root / "runs" / name
        places = ["--out", str(run), "--set", f"cache.folder={root / 'features'}"]
        if main(["train", str(data), *places, "--size", str(size), *QUICK]) != 0:
            raise RuntimeError(f"the model {name} was not trained")
        found.append(run)
    return found[0], found[1]


def draw_scan(number: int) -> tuple[Volume, NDArray[np.int16]]:
    """A scan, and 1 where its box is."""
    scan = make_volume(SCAN, seed=number)
    return scan, (scan.array[0] > 500).astype(np.int16)


def write_scans(root: Path, count: int) -> None:
    """A data set of nnU-Net's layout."""
    for number in range(count):
        scan, box = draw_scan(number)
        save_nifti(root / "imagesTr" / f"scan{number}_0000.nii.gz", scan)
        label = Volume(box[None], scan.geometry, scan.source, "box")
        save_nifti(root / "labelsTr" / f"scan{number}.nii.gz", label)
    told = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "box": 1}}
    (root / "dataset.json").write_text(json.dumps({**told, "numTraining": count, "file_ending": ".nii.gz"}))


def write_files(folder: Path) -> dict[str, Path]:
    """One file of every kind that the page is given, by what it is."""
    write_discs(folder / "several", 3)
    write_discs(folder / "one", 1)
    save_nifti(folder / "scan.nii.gz", draw_scan(9)[0])
    draw_series(folder / "ct", array=draw_scan(9)[0].array[0].astype(np.uint16))
    (folder / "ct.zip").write_bytes(pack_folder(folder / "ct"))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "notes.txt").write_text("not an image")
    write_large(folder / "large.png")
    return {
        "picture": folder / "one" / "disc-0.png",
        "folder": folder / "several",
        "volume": folder / "scan.nii.gz",
        "series": folder / "ct.zip",
        "broken": folder / "broken.png",
        "notes": folder / "notes.txt",
        "large": folder / "large.png",
    }


def write_large(path: Path) -> None:
    """4,000 x 3,000 px with a pattern at every scale, so that no decoder or filter has it easy."""
    y, x = np.mgrid[:3000, :4000]
    levels = [((x // step) ^ (y // step)) % 256 for step in (1, 8, 64)]
    PillowImage.fromarray(np.stack(levels, axis=-1).astype(np.uint8)).save(path, compress_level=1)


def disc_of(number: int) -> NDArray[np.uint8]:
    """The mask of a picture."""
    return draw_disc(number)[1]

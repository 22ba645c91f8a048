"""Peak memory and time of volumes, from 50 to 1,000 slices of 512 x 512, int16.

    python benchmarks/volumes.py [--depths 50,250,1000] [--planes axial] [--size 256]

Each depth runs in a process of its own. "beyond" is the peak of resident memory above what the process
held with the volume and the model loaded, less the uint8 mask. "files" is `predict_files` from an
uncompressed NIfTI to a compressed mask, picture and numbers, where the input is read as well. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dinoseg.backbones import create_backbone
from dinoseg.config import BackboneSettings, Inference, PreprocessingSettings, WindowIntensity
from dinoseg.data.volumes import Volume, upright_geometry
from dinoseg.inference import predict_files, segment_volume
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/volumes.csv"
SIDE = 512
SPACING = (1.0, 0.8, 0.8)
CLASSES = {0: "background", 1: "liver", 2: "spleen", 3: "kidney"}
PAGE = 4096
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    work: str
    planes: str
    slices: int
    input_mib: float
    mask_mib: float
    peak_mib: float
    beyond_mib: float
    seconds: float


def main() -> None:
    arguments = parse_arguments()
    if arguments.one:
        print(json.dumps(asdict(measure(arguments))))
        return
    rows = [run_apart(arguments, depth, work) for depth in arguments.depths for work in ("segment", "files")]
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ")
        file.write(f"untrained-vitt16 with segdino-v1 at {arguments.size} px, batch size 8\n")
        writer = csv.DictWriter(file, fieldnames=list(asdict(rows[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--depths", type=lambda text: [int(part) for part in text.split(",")], default=[50, 250, 1000]
    )
    parser.add_argument("--planes", default="axial")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", default="segment", help=argparse.SUPPRESS)
    return parser.parse_args()


def parse_depths(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def run_apart(arguments: argparse.Namespace, depth: int, work: str) -> Row:
    words = ["--one", "--depths", str(depth), "--work", work, "--planes", arguments.planes]
    words += ["--size", str(arguments.size)]
    found = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    row = Row(**json.loads(found.stdout.splitlines()[-1]))
    print(
        f"{row.work:8} {row.slices:5} slices: input {row.input_mib:6.0f} MiB, mask {row.mask_mib:5.0f} MiB, "
        f"beyond {row.beyond_mib:5.0f} MiB, {row.seconds:6.1f} s",
        flush=True,
    )
    return row


def measure(arguments: argparse.Namespace) -> Row:
    (depth,) = arguments.depths
    model, how = make_model(arguments.size), Inference(planes=tuple(arguments.planes.split(",")))
    segment_volume(model, make_volume(9), how=how)  # libraries and pools are not what is measured
    with tempfile.TemporaryDirectory() as folder:
        if arguments.work == "segment":
            volume = make_volume(depth)
            size = volume.array.nbytes
            before = resident()
            peak, seconds = watch(lambda: segment_volume(model, volume, how=how))
            beyond = peak - before - size // 2
        else:
            path = write_volume(Path(folder) / "ct.nii", depth)
            size = 2 * depth * SIDE * SIDE
            before = resident()
            peak, seconds = watch(lambda: predict_files(model, [path], Path(folder) / "out", how=how))
            beyond = peak - before - size - size // 2
    sizes = (size / MIB, size / 2 / MIB, peak / MIB, beyond / MIB)
    return Row(
        arguments.work, arguments.planes, depth, *(round(value, 1) for value in sizes), round(seconds, 1)
    )


def make_model(size: int) -> Segmenter:
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("segdino-v1"),
        preprocessing=PreprocessingSettings(size=size, intensity=WindowIntensity()),
        classes=CLASSES,
    )
    torch.manual_seed(0)
    return Segmenter(settings, create_backbone("untrained-vitt16"))


def make_volume(depth: int) -> Volume:
    shape = (depth, SIDE, SIDE)
    array = np.empty((1, *shape), np.int16)
    for index in range(depth):
        array[0, index] = draw_slice(index)
    return Volume(array, upright_geometry(shape, spacing=SPACING), Path("made.nii"), "made")


def draw_slice(index: int) -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    noise = np.random.default_rng(index).integers(-60, 60, (SIDE, SIDE), dtype=np.int16)
    disc = (rows - 250) ** 2 + (columns - 230 - index % 40) ** 2 < 150**2
    return np.where(disc, noise + 60, noise - 400).astype(np.int16)


def write_volume(path: Path, depth: int) -> Path:
    import nibabel

    affine = np.diag([-SPACING[2], -SPACING[1], -SPACING[0], 1.0])
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((SIDE, SIDE, depth))
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with path.open("wb") as file:
        file.write(header.binaryblock + b"\0" * 4)
        for index in range(depth):
            file.write(draw_slice(index).tobytes())
    return path


def watch(work: Callable[[], object]) -> tuple[int, float]:
    """Peak of resident memory in bytes, looked at every 5 ms, and seconds."""
    peak, done = resident(), threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, resident())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    started = time.perf_counter()
    kept = work()  # kept until the last look, as a caller would
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    del kept
    return peak, seconds


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


if __name__ == "__main__":
    main()

"""Trained models where they are used: torch, ONNX Runtime and OpenVINO, in turn, each in its own process.

    python benchmarks/deployment.py [--threads 2] [--rounds 9] [--starts 3] [--parts speed start size]

ViT-S and ViT-Ti with weights that nobody trained, the decoder of segdino-v1, from prepared pixels of 256 px
to logits, at batch 1 and 8: images per second of the wall and of all threads' processor time (where other
programs want the cores, only the latter compare), and the peak of memory. Then how long `dinoseg predict`
takes until the first mask of one image, with a bundle and with the run folder, and how large an installation
is. Writes benchmarks/results/deployment.csv, deployment_start.csv and deployment_size.csv.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from packaging.requirements import Requirement

from dinoseg.backbones import create_backbone
from dinoseg.backbones.folders import write_folder
from dinoseg.backbones.hub import hash_file
from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.data.images import write_image
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.export import export
from dinoseg.export.cases import draw_examples
from dinoseg.export.quantisation import quantise
from dinoseg.methods import decoder_settings
from dinoseg.model.bundles import BACKBONE, PIPELINE, digest_pipeline
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from measuring import ROOT, Row, describe_machine, list_precisions, random_weights, save

SIZE = 256
BATCHES = (1, 8)
NAMES = {"ViT-S": "dinov3_vits16", "ViT-Ti": "untrained-vitt16"}
VARIANTS = (
    ("torch", "float32", "run"),
    ("torch", "bfloat16", "run"),
    ("onnxruntime", "float32", "bundle"),
    ("onnxruntime", "int8", "bundle-int8"),
    ("openvino", "float32", "bundle"),
    ("openvino", "bfloat16", "bundle"),
)
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PARTS = ("speed", "start", "size")
INSTALLS = ("", "runtime", "openvino", "train", "export")


def main() -> None:
    arguments = read_arguments()
    comments = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in arguments.only if arguments.parts != ["size"] else ():
            make_models(place / name, NAMES[name])
        if "speed" in arguments.parts:
            rows = [row for name in arguments.only for row in compare(place / name, name, arguments)]
            save("deployment", rows, [*comments, f"median of {arguments.rounds} rounds in turn"])
        if "start" in arguments.parts:
            rows = [row for name in arguments.only for row in start(place / name, name, arguments)]
            save("deployment_start", rows, [*comments, f"median of {arguments.starts} starts in turn"])
    if "size" in arguments.parts:
        save("deployment_size", [measure_install(extra) for extra in INSTALLS], ["files that pip installed"])


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--only", nargs="+", choices=list(NAMES), default=list(NAMES))
    return parser.parse_args()


def make_models(place: Path, name: str) -> None:
    """A run folder, its bundle in float32, and one whose backbone has products in 8 bits."""
    backbone = place / "backbone" if name != NAMES["ViT-Ti"] else name
    if isinstance(backbone, Path):
        write_folder(backbone, random_weights(name))
    settings = ModelSettings(
        backbone=BackboneSettings(name=str(backbone)),
        decoder=decoder_settings("segdino-v1"),
        preprocessing=PreprocessingSettings(size=SIZE),
        classes={0: "background", 1: "lesion"},
    )
    Segmenter(settings, create_backbone(backbone)).save(place / "run" / "model")
    found = export(place / "run", place / "bundle")
    print(f"{name}: differs from torch by {found.comparison.logits:.2g} in a logit")
    # Not `export --precision int8`, which would refuse weights that nobody trained: here only time counts.
    eight = place / "bundle-int8"
    shutil.copytree(place / "bundle", eight)
    quantise(eight / BACKBONE, draw_examples(load(place / "run"), size=SIZE))
    content = json.loads((eight / PIPELINE).read_text())
    content["files"][BACKBONE] = hash_file(eight / BACKBONE)
    del content["digest"]
    (eight / PIPELINE).write_text(json.dumps({**content, "digest": digest_pipeline(content)}))


def compare(place: Path, name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """One row for each variant and batch."""
    variants = [each for each in VARIANTS if each[1] in (*list_precisions(), "int8")]
    workers = [begin(place / folder, engine, precision, arguments) for engine, precision, folder in variants]
    for batch in BATCHES:
        for worker in workers:
            ask(worker, batch)
        taken = [[ask(worker, batch) for worker in workers] for _ in range(arguments.rounds)]
        for index, (engine, precision, _) in enumerate(variants):
            walls, processors, peaks = zip(*(each[index] for each in taken), strict=True)
            yield {
                "model": name,
                "engine": engine,
                "precision": precision,
                "batch": batch,
                "images_per_s": batch / statistics.median(walls),
                "images_per_cpu_s": batch / statistics.median(processors),
                "peak_mb": max(peaks),
            }
    for worker in workers:
        worker.stdin.close()
        worker.wait()


def begin(folder: Path, engine: str, precision: str, arguments: argparse.Namespace) -> subprocess.Popen[str]:
    computed = "float32" if precision == "int8" else precision
    words = [repr(str(folder)), repr(engine), repr(computed), str(arguments.threads), str(SIZE)]
    return subprocess.Popen(
        [sys.executable, "-c", f"import deployed; deployed.serve({', '.join(words)})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT / "benchmarks",
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )


def ask(worker: subprocess.Popen[str], batch: int) -> Sequence[float]:
    """Seconds of the wall and of the processor for a batch, and the peak of memory in MB."""
    worker.stdin.write(f"{batch}\n")
    worker.stdin.flush()
    answer: Sequence[float] = json.loads(worker.stdout.readline())
    return answer


def start(place: Path, name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """One row for each way: seconds of `dinoseg predict` with one image, as a process of its own."""
    image = place / "image.png"
    write_image(image, draw_phantom("endoscopy", size=(SIZE, SIZE), seed=0).image)
    ways = {
        "torch, run folder": ("run", ()),
        "onnxruntime, bundle": ("bundle", ()),
        "openvino, bundle": ("bundle", ("--engine", "openvino")),
    }
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(arguments.starts + 1):  # the first time, files are not in memory yet
        for way, (folder, words) in ways.items():
            out = place / f"out-{turn}-{folder}-{len(words)}"
            found = run_once([str(place / folder), str(image), "--out", str(out), "--no-overlays", *words])
            taken[way] += [found] if turn else []
    for way, seconds in taken.items():
        walls, processors = zip(*seconds, strict=True)
        yield {
            "model": name,
            "way": way,
            "seconds": statistics.median(walls),
            "cpu_seconds": statistics.median(processors),
        }


def run_once(words: Sequence[str]) -> tuple[float, float]:
    started, before = time.perf_counter(), _children_seconds()
    command = [sys.executable, "-m", "dinoseg", "predict", *words]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started, _children_seconds() - before


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_install(extra: str) -> Row:
    """Megabytes of the packages that an extra of dinoseg brings, as they lie in this environment."""
    visited: set[str] = set()
    visit(f"dinoseg[{extra}]" if extra else "dinoseg", visited)
    names = {each.partition("[")[0] for each in visited}
    held = {name: sum(path.stat().st_size for path in list_files(name)) / 1e6 for name in names}
    compiled = (path for name in names for path in list_files(name) if path.suffix == ".pyc")
    total = sum(held.values())
    largest = sorted(held, key=lambda name: -held[name])[:3]
    return {
        "install": extra or "(core)",
        "packages": len(held),
        "mb": total,
        "mb_without_bytecode": total - sum(path.stat().st_size for path in compiled) / 1e6,
        "largest": ", ".join(f"{name} {held[name]:.0f}" for name in largest),
    }


def visit(wanted: str, visited: set[str]) -> None:
    """Add a requirement, with its extras, and all that it requires here."""
    requirement = Requirement(wanted)
    try:
        name = distribution(requirement.name).name.lower()
    except PackageNotFoundError:  # of another system or an older Python
        return
    key = f"{name}[{','.join(sorted(requirement.extras))}]"
    if key in visited:
        return
    visited.add(key)
    extras = ["", *requirement.extras]
    for line in list_required(name):
        inner = Requirement(line)
        if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
            visit(str(inner).partition(";")[0], visited)


def list_required(name: str) -> list[str]:
    """What a package requires; of dinoseg what this checkout says, which need not be what is installed."""
    if name != "dinoseg":
        return distribution(name).requires or []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"].items()
    marked = [f"{line}; extra == '{extra}'" for extra, lines in optional for line in lines]
    return [*project["dependencies"], *marked]


def list_files(name: str) -> list[Path]:
    """The files of a package on the disk; of dinoseg itself, those of this checkout."""
    if name == "dinoseg":
        return list((ROOT / "src").rglob("*.py"))
    files = (Path(str(each.locate())) for each in distribution(name).files or ())
    return [path for path in files if path.is_file()]


if __name__ == "__main__":
    main()

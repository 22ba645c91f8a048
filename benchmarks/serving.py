"""`dinoseg serve` under load on this machine: how long clients wait, and whether memory stays.

    python benchmarks/serving.py [--threads 2] [--clients 8] [--each 50] [--requests 500] [--ways bundle run]

A server in a process of its own with an untrained ViT-Ti at 256 px and the decoder of segdino-v1, as a run
folder (torch) and as a bundle (ONNX Runtime). Pictures of 480 × 640 px as JPEG are sent, and the mask is
fetched by the same request: first by one client, each once the one before is answered, then by several at
once, each the given number of times, with the processor time that the server needs for each (where other
programs want the cores, only that compares); then one by one while its memory is read from /metrics. The
clients are threads of this process and want the same cores. Writes benchmarks/results/serving.csv and
serving_memory.csv.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image as PillowImage

from dinoseg.backbones import create_backbone
from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.export import export
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from measuring import Row, describe_machine, save

SIZE = 256
BACKBONE = "untrained-vitt16"
WAYS = {"bundle": "onnxruntime, bundle", "run": "torch, run folder"}
CPU, MEMORY = "process_cpu_seconds_total", "process_resident_memory_bytes"
STEP = 100  # requests between two looks at the memory


def main() -> None:
    arguments = read_arguments()
    comments, waits, memory = describe_machine(), [], []
    with tempfile.TemporaryDirectory() as folder:
        make_models(Path(folder))
        for way in arguments.ways:
            with serving(Path(folder) / way, arguments.threads) as address:
                load(address, clients=1, each=STEP // 5)  # the first ones pay for what is set up once
                waits.append({"way": WAYS[way], **load(address, clients=1, each=arguments.each)})
                waits.append(
                    {"way": WAYS[way], **load(address, clients=arguments.clients, each=arguments.each)}
                )
                memory += [{"way": WAYS[way], **row} for row in watch_memory(address, arguments.requests)]
            print(way, waits[-2:], memory[-1])
    save("serving", waits, [*comments, f"{arguments.threads} threads compute"])
    save("serving_memory", memory, comments)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--each", type=int, default=50)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    return parser.parse_args()


def make_models(place: Path) -> None:
    """A run folder and its bundle."""
    settings = ModelSettings(
        backbone=BackboneSettings(name=BACKBONE),
        decoder=decoder_settings("segdino-v1"),
        preprocessing=PreprocessingSettings(size=SIZE),
        classes={0: "background", 1: "lesion"},
    )
    Segmenter(settings, create_backbone(BACKBONE)).save(place / "run" / "model")
    export(place / "run", place / "bundle")


@contextmanager
def serving(folder: Path, threads: int) -> Iterator[str]:
    """The address of a server, which is there as long as the block."""
    words = ["-m", "dinoseg", "serve", str(folder), "--port", "0", "--json", "--threads", str(threads)]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


def load(address: str, *, clients: int, each: int) -> Row:
    """Seconds that clients wait who ask at the same time, each once it has its answer."""
    picture = draw_picture()

    def ask(_: int) -> list[tuple[float, bool]]:
        with httpx.Client(base_url=address, timeout=120) as client:
            return [ask_once(client, picture) for _ in range(each)]

    before, started = read_metric(address, CPU), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = [item for items in pool.map(ask, range(clients)) for item in items]
    taken = time.perf_counter() - started
    used = read_metric(address, CPU) - before
    waited = [seconds * 1000 for seconds, _ in found]
    return {
        "clients": clients,
        "requests": len(found),
        "failed": sum(not good for _, good in found),
        "p50_ms": statistics.median(waited),
        "p95_ms": float(np.quantile(waited, 0.95)),
        "per_s": len(found) / taken,
        "server_cpu_ms": used / len(found) * 1000,
    }


def ask_once(client: httpx.Client, picture: bytes) -> tuple[float, bool]:
    """Seconds until the mask is there, and whether it is one."""
    started = time.perf_counter()
    answer = client.post(
        "/api/v1/predict?output=mask.png", files={"files": ("frame.jpg", picture, "image/jpeg")}
    )
    good = answer.status_code == 200 and answer.content.startswith(b"\x89PNG")
    return time.perf_counter() - started, good


def watch_memory(address: str, requests: int) -> Iterator[Row]:
    """Memory of the server now and after every hundred requests."""
    picture = draw_picture()
    with httpx.Client(base_url=address, timeout=120) as client:
        yield {"requests": 0, "memory_mb": read_metric(address, MEMORY) / 1e6}
        for number in range(1, requests + 1):
            ask_once(client, picture)
            if number % STEP == 0:
                yield {"requests": number, "memory_mb": read_metric(address, MEMORY) / 1e6}


def read_metric(address: str, name: str) -> float:
    """A number of the server's process, as it says itself."""
    text = httpx.get(f"{address}metrics").text
    return float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0])


def draw_picture() -> bytes:
    """A drawn endoscopy as JPEG."""
    pixels = draw_phantom("endoscopy", size=(480, 640), seed=0).image.array
    file = io.BytesIO()
    PillowImage.fromarray((pixels.transpose(1, 2, 0) * 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


if __name__ == "__main__":
    main()

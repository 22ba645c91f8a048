"""Frozen backbones alone: ours, transformers' modules, ONNX Runtime and OpenVINO, in turn in one process.

    python benchmarks/backbones.py [--threads 2] [--rounds 15] [--size 256] [--only NAME ...] [--profile]

Random weights of the published sizes, the maps of the four layers, batches of one and four, float32 and
(where the processor has it) bfloat16. transformers' bfloat16 is autocast over matrices that are cast already;
ONNX Runtime has float32 only. What is not installed is left out, and said. Seconds are medians, those of the
wall and of all threads' processor time; where other programs want the cores, only the latter compare.
--profile prints the operations that take longest instead. Writes benchmarks/results/backbones.csv.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from dinoseg.backbones.catalog import BACKBONES
from dinoseg.backbones.extractors import Extractor
from dinoseg.cli.devices import keep_freed_memory
from measuring import ROOT, Row, describe_machine, list_precisions, random_weights, save

NAMES = ("dinov3_vits16", "dinov3_convnext_tiny", "dinov2_vits14")
BATCHES = (1, 4)
FILES = tempfile.TemporaryDirectory()
Run = Callable[[], object]
Key = tuple[str, str]  # engine, precision


class Maps(nn.Module):
    """The maps alone, as an exporter wants them."""

    def __init__(self, backbone: Extractor) -> None:
        super().__init__()
        self.network = backbone.network
        self.layers = backbone.layers

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(image, self.layers)[0])


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()  # as the command line does
    if arguments.profile:
        print_profiles(arguments.only, arguments.size)
        return
    comments = describe_machine()
    rows = [row for name in arguments.only for row in compare(name, arguments)]
    save("backbones", rows, [*comments, f"median of {arguments.rounds} rounds in turn"])


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def compare(name: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """One row per batch, precision and engine."""
    backbones = {
        precision: Extractor(random_weights(name), BACKBONES[name], precision=precision, source="random")
        for precision in list_precisions()
    }
    stride = BACKBONES[name].strides[-1]
    size = -(-arguments.size // stride) * stride
    for batch in BATCHES:
        image = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        runs: dict[Key, Run] = {}
        for precision, backbone in backbones.items():
            for engine, run in list_runs(backbone, image, arguments.threads):
                runs[engine, precision] = run
        for (engine, precision), (wall, cpu) in measure_both(runs, rounds=arguments.rounds).items():
            row: Row = {"name": name, "size": size, "batch": batch, "threads": arguments.threads}
            row |= {"precision": precision, "engine": engine, "wall_s": wall, "cpu_s": cpu}
            print(f"{name} {size} px, batch {batch}, {precision:9}{engine:14}{wall:8.4f} s, CPU {cpu:8.4f} s")
            yield row


def list_runs(backbone: Extractor, image: Tensor, threads: int) -> Iterator[tuple[str, Run]]:
    """Name and call of every engine that is installed."""
    yield "ours", lambda: backbone(image)
    engines = {"transformers": run_transformers, "onnxruntime": run_onnxruntime, "openvino": run_openvino}
    for engine, prepare in engines.items():
        if importlib.util.find_spec(engine) is None:
            print(f"{engine} is not installed and left out")
        elif run := prepare(backbone, image, threads=threads):
            yield engine, run


def run_transformers(backbone: Extractor, image: Tensor, *, threads: int) -> Run:
    """As it ran here before: its module, autocast for bfloat16, all hidden states, norms of the taps."""
    sys.path.insert(0, str(ROOT))
    from tests.backbones.oracle import build_oracle, run_oracle

    del threads  # torch's own
    oracle = build_oracle(backbone.spec)
    enabled = backbone.precision == "bfloat16"
    if enabled:
        for part in oracle.modules():
            if isinstance(part, nn.Linear):
                part.to(torch.bfloat16)

    @torch.no_grad()
    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            maps, _ = run_oracle(oracle, backbone.spec, image)
            return [level.float().contiguous() for level in maps]

    return run


def run_onnxruntime(backbone: Extractor, image: Tensor, *, threads: int) -> Run | None:
    if backbone.precision != "float32":
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = export(backbone.name, len(image), image.shape[-1])
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, given)


def run_openvino(backbone: Extractor, image: Tensor, *, threads: int) -> Run:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if backbone.precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(export(backbone.name, len(image), image.shape[-1])), "CPU", settings
    )
    request = compiled.create_infer_request()
    return lambda: request.infer([image.numpy()], share_inputs=True, share_outputs=True)


@cache
def export(name: str, batch: int, size: int) -> Path:
    """The network as an ONNX file, for images of this size; removed when the program ends."""
    folder = Path(FILES.name)
    path = folder / f"{name}-{batch}-{size}.onnx"
    backbone = Extractor(random_weights(name), BACKBONES[name], source="random")
    with torch.no_grad():
        image = torch.zeros(batch, 3, size, size)
        torch.onnx.export(Maps(backbone).eval(), (image,), path, dynamo=True, verbose=False)
    return path


def measure_both(runs: Mapping[Key, Run], *, rounds: int) -> dict[Key, tuple[float, float]]:
    """Median seconds of wall and of CPU of every run, in turn."""
    taken: dict[Key, list[tuple[float, float]]] = {key: [] for key in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for key, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            taken[key].append((time.perf_counter() - wall, time.process_time() - cpu))
    walls = {key: statistics.median(wall for wall, _ in pairs) for key, pairs in taken.items()}
    return {key: (walls[key], statistics.median(cpu for _, cpu in pairs)) for key, pairs in taken.items()}


def print_profiles(names: tuple[str, ...], size: int) -> None:
    """The longest operations of one pass, with batch 1."""
    from torch.profiler import ProfilerActivity, profile

    image = torch.randn(1, 3, size, size)
    for name in names:
        for precision in list_precisions():
            runs = {}
            backbone = Extractor(random_weights(name), BACKBONES[name], precision=precision, source="random")
            runs["ours"] = lambda: backbone(image)  # noqa: B023
            if importlib.util.find_spec("transformers") is not None:
                runs["transformers"] = run_transformers(backbone, image, threads=torch.get_num_threads())
            for engine, run in runs.items():
                run()
                with profile(activities=[ProfilerActivity.CPU]) as profiled:
                    for _ in range(10):
                        run()
                print(f"{name}, {precision}, {engine}")
                print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=12))


if __name__ == "__main__":
    main()

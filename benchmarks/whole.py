"""From pixels to logits, and a training step: ours against the plain formulation of the released programs.

    python benchmarks/whole.py [--threads 2] [--rounds 5] [--only NAME ...]
    python benchmarks/whole.py --device cuda [--compile]

Random weights of the published sizes. "plain" is the backbone as transformers runs it, in float32, and the
decoder as its program writes it (tests/methods/plain.py). A training step is AdamW on a batch of four at
256 px: plain computes the features of the frozen backbone anew, ours reads them from the cache. Also the
peak memory of one forward pass, each in a process of its own, and the backbone's share of the machine's
ceiling, which is the rate of a large matrix product. Writes benchmarks/results/whole.csv, or gpu.csv with
--device cuda.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.backbones.oracle import build_oracle, run_oracle
from tests.methods.plain import plain_dino_augseg, plain_dino_unet, plain_v1, plain_v2

from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.backbones.extractors import Backbone, Extractor
from dinoseg.backbones.features import Features
from dinoseg.cli.devices import keep_freed_memory
from dinoseg.methods import decoder_settings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.decoder import Decoder
from measuring import (
    Row,
    describe_machine,
    list_precisions,
    matrix_rate,
    measure,
    peak_memory_gb,
    random_backbone,
    resident_memory_gb,
    save,
)

STEP_BATCH = 4
Plain = Callable[..., Tensor]


@dataclass(frozen=True)
class Setup:
    """A method at a published size.

    Attributes:
        name: of the row.
        method: of the decoder.
        backbone: catalog name.
        size: side of the image in px.
        plain: the decoder as its released program writes it.
        options: of the decoder.
        forward: measure a forward pass of one image.
        step: measure a training step.
        memory: measure peak memory too.
    """

    name: str
    method: str
    backbone: str
    size: int
    plain: Plain
    options: dict[str, Any] = field(default_factory=dict)
    forward: bool = True
    step: bool = False
    memory: bool = False


VITS, CONVNEXT = "dinov3_vits16", "dinov3_convnext_tiny"
SETUPS = (
    Setup("segdino-v1", "segdino-v1", VITS, 256, plain_v1, step=True),
    Setup(
        "segdino-v2 width 128", "segdino-v2", VITS, 256, plain_v2, {"width": 128}, forward=False, step=True
    ),
    Setup("segdino-v2 width 256", "segdino-v2", VITS, 256, plain_v2, {"width": 256}, step=True),
    Setup("dino-unet", "dino-unet", VITS, 512, plain_dino_unet, memory=True),
    Setup("dino-augseg", "dino-augseg", CONVNEXT, 768, plain_dino_augseg, memory=True),
)


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.child:
        print_peak(find(arguments.only[0]), plain=arguments.child == "plain")
        return
    if arguments.device != "cpu":
        from gpu_paths import run_gpu

        run_gpu(arguments.device, compiled=arguments.compile, rounds=arguments.rounds)
        return
    keep_freed_memory()
    machine = describe_machine()
    rates = {name: matrix_rate(getattr(torch, name)) for name in list_precisions()}
    machine.append("ceiling: " + ", ".join(f"{rate:.0f} GFLOP/s {name}" for name, rate in rates.items()))
    print("\n".join(machine))
    chosen = [setup for setup in SETUPS if not arguments.only or setup.name in arguments.only]
    rows = list_rows(chosen, rates, arguments.rounds, arguments.threads)
    if not arguments.only:
        save("whole", rows, machine)


def list_rows(setups: Sequence[Setup], rates: dict[str, float], rounds: int, threads: int) -> list[Row]:
    rows: list[Row] = []
    for batch in (1, 4):
        rows.append(show(time_backbone(VITS, 256, batch, rates, rounds)))
    for setup in setups:
        if setup.forward:
            rows.append(show(time_forward(setup, rates, rounds)))
        if setup.step:
            rows.append(show(time_step(setup, rounds)))
        if setup.memory:
            rows.append(show(measure_memory(setup, threads)))
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, on a GPU")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="nothing is written then")
    parser.add_argument("--child", choices=("plain", "ours"), help=argparse.SUPPRESS)
    return parser.parse_args()


def find(name: str) -> Setup:
    return next(setup for setup in SETUPS if setup.name == name)


def show(row: Row) -> Row:
    """Print a row and return it."""
    parts = [f"plain {row['plain']:.3f}", f"ours {row['ours']:.3f} {row['unit']} ({row['ratio']:.1f}×)"]
    if row["bfloat16"]:
        parts.append(f"bfloat16 {row['bfloat16']:.3f} ({row['bfloat16_ratio']:.1f}×)")
    if row["share"]:
        shares = f"{row['share']:.0%} float32"
        shares += f", {row['bfloat16_share']:.0%} bfloat16" if row["bfloat16_share"] else ""
        parts.append(f"backbone at {shares} of the ceiling")
    if row["difference"] != "":
        parts.append(f"largest difference {row['difference']:.1e}")
    print(f"{row['what']:16} {row['name']:22} batch {row['batch']}  " + "  ".join(parts), flush=True)
    return row


def make_row(what: str, name: str, size: int, batch: int, plain: float, ours: float, **more: Any) -> Row:
    row = {"what": what, "name": name, "size": size, "batch": batch, "unit": "s", "plain": plain}
    row |= {"ours": ours, "ratio": plain / ours, "bfloat16": "", "bfloat16_ratio": "", "share": ""}
    return {**row, "bfloat16_share": "", "difference": "", **more}


def time_backbone(name: str, size: int, batch: int, rates: dict[str, float], rounds: int) -> Row:
    """The backbone alone: how much of the machine it uses."""
    pixels = torch.randn(batch, 3, size, size)
    pair = {key: random_backbone(name, precision=key) for key in list_precisions()}
    runs: dict[str, Callable[[Tensor], object]] = {"plain": plain_backbone(pair["float32"]), **pair}
    with torch.inference_mode():
        work = count_gflop(runs["plain"], pixels)
        taken = measure({key: lambda each=each: each(pixels) for key, each in runs.items()}, rounds=rounds)
    more: Row = {"share": work / rates["float32"] / taken["float32"]}
    if "bfloat16" in pair:
        more |= {"bfloat16": taken["bfloat16"], "bfloat16_ratio": taken["plain"] / taken["bfloat16"]}
        more |= {"bfloat16_share": work / rates["bfloat16"] / taken["bfloat16"]}
    return make_row("backbone alone", name, size, batch, taken["plain"], taken["float32"], **more)


def plain_backbone(backbone: Extractor) -> Callable[[Tensor], Features]:
    """The same network as transformers runs it; its weights are others, which takes as long."""
    oracle = build_oracle(backbone.spec)

    def run(pixels: Tensor) -> Features:
        maps, _ = run_oracle(oracle, backbone.spec, pixels)
        size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        return Features(tuple(maps), backbone.strides, size, size)

    return run


def time_forward(setup: Setup, rates: dict[str, float], rounds: int) -> Row:
    """One image from pixels to logits."""
    exact = random_backbone(setup.backbone)
    plain = plain_backbone(exact)
    has_bfloat16 = "bfloat16" in list_precisions()
    decoder = make_decoder(setup, exact).eval()
    pixels = torch.randn(1, 3, setup.size, setup.size)
    image = [pixels] if decoder.needs_image else []
    with torch.inference_mode():
        work = count_gflop(plain, pixels)
        features = exact(pixels)
        difference = (decoder(features, *image) - setup.plain(decoder, features, *image)).abs().max()
        parts: dict[str, Callable[[], object]] = {
            "plain": lambda: setup.plain(decoder, plain(pixels), *image),
            "ours": lambda: decoder(exact(pixels), *image),
            "backbone": lambda: exact(pixels),
        }
        if has_bfloat16:
            fast = random_backbone(setup.backbone, precision="bfloat16")
            parts |= {
                "bfloat16": lambda: decoder(fast(pixels), *image),
                "fast backbone": lambda: fast(pixels),
            }
        taken = measure(parts, rounds=rounds)
    more: Row = {"share": work / rates["float32"] / taken["backbone"], "difference": float(difference)}
    if has_bfloat16:
        more |= {"bfloat16": taken["bfloat16"], "bfloat16_ratio": taken["plain"] / taken["bfloat16"]}
        more |= {"bfloat16_share": work / rates["bfloat16"] / taken["fast backbone"]}
    return make_row("forward", setup.name, setup.size, 1, taken["plain"], taken["ours"], **more)


def time_step(setup: Setup, rounds: int) -> Row:
    """One step of training on a frozen backbone: with the backbone in it, and with remembered features."""
    backbone = random_backbone(setup.backbone)
    plain = plain_backbone(backbone)
    decoders = [make_decoder(setup, backbone).train() for _ in range(2)]
    optimizers = [torch.optim.AdamW(decoder.parameters(), lr=1e-4) for decoder in decoders]
    pixels = torch.randn(STEP_BATCH, 3, setup.size, setup.size)
    label = torch.rand(STEP_BATCH, 1, setup.size, setup.size).round()

    def step(index: int, logits: Tensor) -> None:
        optimizers[index].zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, label).backward()
        optimizers[index].step()

    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(backbone, backbone.digest, EntryStore(Path(folder), limit_gb=1))
        keys = [cache.key(str(index)) for index in range(STEP_BATCH)]

        def remembered() -> Features:
            return cache.features(keys, lambda index: pixels[index])

        taken = measure(
            {
                "plain": lambda: step(0, setup.plain(decoders[0], plain(pixels))),
                "ours": lambda: step(1, decoders[1](remembered())),
            },
            rounds=rounds,
        )
    return make_row("training step", setup.name, setup.size, STEP_BATCH, taken["plain"], taken["ours"])


def make_decoder(setup: Setup, backbone: Backbone) -> Decoder:
    torch.manual_seed(0)
    decoder = create_decoder(decoder_settings(setup.method, **setup.options), backbone.channels, 1)
    for weight in decoder.parameters():
        if weight.shape == (1,):  # gamma starts at 0, which would hide a difference
            torch.nn.init.constant_(weight, 0.7)
    return decoder


def count_gflop(backbone: Callable[[Tensor], object], pixels: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        backbone(pixels)
    return float(counter.get_total_flops()) / 1e9


def measure_memory(setup: Setup, threads: int) -> Row:
    """GB by which the memory of a process grows during one forward pass."""
    peaks = {}
    for child in ("plain", "ours"):
        command = [
            sys.executable,
            __file__,
            "--threads",
            str(threads),
            "--only",
            setup.name,
            "--child",
            child,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[child] = float(result.stdout.split()[-1])
    return make_row("peak memory", setup.name, setup.size, 1, peaks["plain"], peaks["ours"], unit="GB")


@torch.inference_mode()
def print_peak(setup: Setup, *, plain: bool) -> None:
    """One image from pixels to logits, and what that added to the peak."""
    backbone = random_backbone(setup.backbone)
    decoder = make_decoder(setup, backbone).eval()
    small = torch.randn(1, 3, 64, 64)
    image = [small] if decoder.needs_image else []
    decoder(backbone(small), *image)  # libraries are loaded and threads are there
    pixels = torch.randn(1, 3, setup.size, setup.size)
    image = [pixels] if decoder.needs_image else []
    before = resident_memory_gb()
    features = backbone(pixels)
    (setup.plain if plain else apply)(decoder, features, *image)
    print(peak_memory_gb() - before)


def apply(decoder: Decoder, features: Features, *image: Tensor) -> Tensor:
    logits: Tensor = decoder(features, *image)
    return logits


if __name__ == "__main__":
    main()

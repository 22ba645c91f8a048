"""Decoders: ours against the plain formulation of the released programs, in one process.

    python benchmarks/decoders.py [--threads 2] [--channels 384] [--batch 4]

Prints time of a forward pass and of a training step (forward + backward) for ViT-S features
of 256×256 images, the ratio, and the largest difference of the logits; writes
benchmarks/results/decoders.csv. The plain forms are the tests' oracles (tests/methods/plain.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.methods.plain import plain_v1, plain_v2  # noqa: E402

from dinoseg.backbones.features import Features  # noqa: E402
from dinoseg.cli.devices import keep_freed_memory  # noqa: E402
from dinoseg.methods.decoder import Decoder  # noqa: E402
from dinoseg.methods.segdino_v1.decoder import SegDINOv1  # noqa: E402
from dinoseg.methods.segdino_v2.decoder import SegDINOv2  # noqa: E402
from dinoseg.outputs import write_csv  # noqa: E402

RESULTS = ROOT / "benchmarks/results/decoders.csv"
Run = Callable[[], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    widths = [arguments.channels] * 4
    maps = tuple(torch.randn(arguments.batch, arguments.channels, 16, 16) for _ in widths)
    features = Features(maps, (16,) * 4, (256, 256), (256, 256))
    rows = []
    for name, decoder, plain in (
        ("segdino-v1", SegDINOv1(widths, 1), plain_v1),
        ("segdino-v2 width 128", SegDINOv2(widths, 1, width=128), plain_v2),
        ("segdino-v2 width 256", SegDINOv2(widths, 1, width=256), plain_v2),
    ):
        row = {
            "decoder": name,
            "batch": arguments.batch,
            **compare(decoder, plain, features, arguments.rounds),
        }
        print(
            f"{name:22} forward {row['plain_forward_s']:.3f} -> {row['forward_s']:.3f} s "
            f"({row['forward_ratio']:.1f}×)  step {row['plain_step_s']:.3f} -> {row['step_s']:.3f} s "
            f"({row['step_ratio']:.1f}×)  largest difference {row['difference']:.1e}"
        )
        rows.append({**row, "threads": arguments.threads, "torch": torch.__version__,
                     "machine": f"{platform.machine()} {os.cpu_count()} cores"})  # fmt: skip
    write_csv(RESULTS, rows, overwrite=True)


def compare(
    decoder: Decoder, plain: Callable[[Any, Features], torch.Tensor], features: Features, rounds: int
) -> dict[str, float]:
    for parameter in decoder.parameters():
        if parameter.shape == (1,):  # gamma starts at 0, which would hide a difference
            torch.nn.init.constant_(parameter, 0.7)
    with torch.no_grad():
        difference = (decoder(features) - plain(decoder, features)).abs().max().item()
        forward, plain_forward = alternate(
            lambda: decoder(features), lambda: plain(decoder, features), rounds
        )
    step, plain_step = alternate(
        lambda: backward(decoder(features)), lambda: backward(plain(decoder, features)), rounds
    )
    return {
        "plain_forward_s": round(plain_forward, 4),
        "forward_s": round(forward, 4),
        "forward_ratio": round(plain_forward / forward, 2),
        "plain_step_s": round(plain_step, 4),
        "step_s": round(step, 4),
        "step_ratio": round(plain_step / step, 2),
        "difference": difference,
    }


def backward(logits: torch.Tensor) -> torch.Tensor:
    loss = logits.square().mean()
    loss.backward()
    return loss


def alternate(first: Run, second: Run, rounds: int) -> tuple[float, float]:
    """Median seconds of both, measured in turn so that a slow moment of the machine meets both."""
    times: tuple[list[float], list[float]] = ([], [])
    first(), second()
    for _ in range(rounds):
        for run, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    main()

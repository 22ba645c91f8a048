"""The paths of a GPU, for `python benchmarks/whole.py --device cuda [--compile]`.

Images per second from pixels on the GPU to logits for ViT-S, B and L at 256 and 512 px, one image and 64:
float32, the bfloat16 backbone, that compiled (with --compile), and that in a CUDA graph; ConvNeXt with and
without its channels last; what pinned memory does for a batch that comes from the host; training steps per
second. A row that does not fit the memory, or that a version of torch cannot capture, says so. The share is
that of the rate of a large bfloat16 (float32) matrix product on the same GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dinoseg.backbones.extractors import PRECISIONS, Extractor, Precision
from dinoseg.backbones.features import Features
from dinoseg.methods import decoder_settings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.decoder import Decoder
from measuring import Row, describe_machine, matrix_rate, measure, random_backbone, save

VITS = ("dinov3_vits16", "dinov3_vitb16", "dinov3_vitl16")
SIZES, BATCHES = (256, 512), (1, 64)
STEPS = (("segdino-v1", 256, 64), ("segdino-v2", 256, 16), ("dino-unet", 512, 4))  # method, size, batch
LAST = 0.2  # seconds of a measurement
Run = Callable[[], Tensor]
Prepare = Callable[[Extractor, Decoder, Tensor], Run]


@dataclass(frozen=True)
class Mode:
    """A way through the backbone."""

    name: str
    precision: Precision
    prepare: Prepare


def run_gpu(device: str, *, compiled: bool, rounds: int) -> None:
    """Measure everything on `device` and write benchmarks/results/gpu.csv; say it where there is no GPU."""
    if not (device.startswith("cuda") and torch.cuda.is_available()):
        print(f"skipped: {device} is not there; all rows of the GPU need one that CUDA finds")
        return
    if not compiled:
        print("skipped: torch.compile, which --compile adds")
    machine = describe_machine(device)
    rates = {name: matrix_rate(getattr(torch, name), device=device) for name in PRECISIONS}
    machine.append("ceiling: " + ", ".join(f"{rate:,.0f} GFLOP/s {name}" for name, rate in rates.items()))
    print("\n".join(machine))
    gpu = Gpu(device, rates, rounds, compiled=compiled)
    rows = [*gpu.list_vits(), *gpu.list_convnext(), *gpu.list_loading(), *gpu.list_steps()]
    save("gpu", rows, machine)


class Gpu:
    """A GPU and how it is measured."""

    def __init__(self, device: str, rates: dict[str, float], rounds: int, *, compiled: bool) -> None:
        self.device = device
        self.rates = rates
        self.rounds = rounds
        self.modes = [
            Mode("float32", "float32", run_eagerly),
            Mode("bfloat16", "bfloat16", run_eagerly),
            *([Mode("bfloat16, compiled", "bfloat16", run_compiled)] if compiled else []),
            Mode("bfloat16, CUDA graph", "bfloat16", run_graph),
        ]

    def list_vits(self) -> Iterator[Row]:
        """Whole forward passes with the decoder of SegDINO v2."""
        for name in VITS:
            for size in SIZES:
                for batch in BATCHES:
                    yield from self.time_forwards(name, "segdino-v2", size, batch)

    def list_convnext(self) -> Iterator[Row]:
        """DINO-AugSeg, whose convolutions may want the channels last."""
        for last in (False, True):
            yield from self.time_forwards("dinov3_convnext_tiny", "dino-augseg", 768, 8, channels_last=last)

    def time_forwards(
        self, name: str, method: str, size: int, batch: int, *, channels_last: bool = False
    ) -> Iterator[Row]:
        """Rows of one backbone, size and batch in every mode."""
        memory = torch.channels_last if channels_last else torch.contiguous_format
        pixels = torch.randn(batch, 3, size, size, device=self.device).contiguous(memory_format=memory)
        place: Row = {"what": "forward", "name": name, "method": method, "size": size, "batch": batch}
        for mode in self.modes:
            backbone = random_backbone(name, precision=mode.precision).to(self.device)
            if channels_last:
                backbone = backbone.to(memory_format=memory)
            decoder = self.make_decoder(method, backbone.channels).eval()
            label = f"{mode.name}, channels last" if channels_last else mode.name
            run = partial(mode.prepare, backbone, decoder, pixels)
            work = partial(count_gflop, backbone, pixels)
            yield self.time_one(place, label, run, work=work, precision=mode.precision)

    def list_loading(self) -> Iterator[Row]:
        """A batch from the host through ViT-S, from pageable and from pinned memory."""
        backbone = random_backbone(VITS[0], precision="bfloat16").to(self.device)
        place: Row = {"what": "from the host", "name": VITS[0], "method": "", "size": 256, "batch": 64}
        for pinned in (False, True):
            prepare = partial(self.make_loading, backbone, pinned=pinned)
            yield self.time_one(place, "pinned" if pinned else "pageable", prepare)

    def list_steps(self) -> Iterator[Row]:
        """Training steps on remembered features, which come from pinned host memory."""
        for method, size, batch in STEPS:
            place: Row = {"what": "training", "name": VITS[0], "method": method, "size": size, "batch": batch}
            decoder = self.make_decoder(method, (384,) * 4).train()
            prepare = partial(self.make_step, decoder, size, batch)
            yield self.time_one(place, "step of AdamW", prepare, training=True)

    def make_decoder(self, method: str, channels: tuple[int, ...]) -> Decoder:
        """With weights that nobody trained."""
        torch.manual_seed(0)
        return create_decoder(decoder_settings(method), channels, 1).to(self.device)

    def time_one(
        self,
        place: Row,
        mode: str,
        prepare: Callable[[], Run],
        *,
        work: Callable[[], float] | None = None,
        precision: Precision = "bfloat16",
        training: bool = False,
    ) -> Row:
        """Images per second, or why there are none.

        Args:
            place: what is measured where.
            mode: how.
            prepare: makes the run.
            work: GFLOP of it, where the share of the ceiling is wanted.
            precision: whose ceiling.
            training: keep graphs.
        """
        row: Row = {**place, "mode": mode, "per second": "", "share": "", "note": ""}
        try:
            with torch.inference_mode(mode=not training):
                taken = measure({mode: prepare()}, rounds=self.rounds, device=self.device, seconds=LAST)[mode]
                row["per second"] = place["batch"] / taken
                if work is not None:
                    row["share"] = work() / self.rates[precision] / taken
        except (torch.OutOfMemoryError, RuntimeError) as error:
            row["note"] = " ".join(str(error).split())[:80]
        torch.cuda.empty_cache()
        return show(row)

    def make_loading(self, backbone: Extractor, *, pinned: bool) -> Run:
        """From pixels on the host to features on the device."""
        host = torch.randn(64, 3, 256, 256)
        host = host.pin_memory() if pinned else host

        def run() -> Tensor:
            features: Features = backbone(host.to(self.device, non_blocking=pinned))
            return features.levels[-1]

        return run

    def make_step(self, decoder: Decoder, size: int, batch: int) -> Run:
        """One step of AdamW, its data on the host."""
        grid = size // 16
        host = torch.randn(4, batch, 384, grid, grid).pin_memory()
        pixels = torch.randn(batch, 3, size, size).pin_memory()
        label = torch.rand(batch, 1, size, size).round().pin_memory()
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4)

        def step() -> Tensor:
            maps = host.to(self.device, non_blocking=True)
            features = Features(tuple(maps.unbind()), (16,) * 4, (size, size), (size, size))
            image = pixels.to(self.device, non_blocking=True) if decoder.needs_image else None
            target = label.to(self.device, non_blocking=True)
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(decoder(features, image), target)
            loss.backward()
            optimizer.step()
            return loss

        return step


def run_eagerly(backbone: Extractor, decoder: Decoder, pixels: Tensor) -> Run:
    """As the commands do."""
    return lambda: decoder(backbone(pixels), pixels if decoder.needs_image else None)


def run_compiled(backbone: Extractor, decoder: Decoder, pixels: Tensor) -> Run:
    """The network of the backbone compiled for this size, the decoder as it is."""
    backbone.network = cast(nn.Module, torch.compile(backbone.network))
    return run_eagerly(backbone, decoder, pixels)


def run_graph(backbone: Extractor, decoder: Decoder, pixels: Tensor) -> Run:
    """The backbone recorded once as a CUDA graph for this size and replayed, the decoder as it is."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is chosen or allocated at a first call must not be recorded
        for _ in range(3):
            backbone(pixels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        features = backbone(pixels)

    def forward() -> Tensor:
        graph.replay()
        logits: Tensor = decoder(features, pixels if decoder.needs_image else None)
        return logits

    return forward


def count_gflop(backbone: Extractor, pixels: Tensor) -> float:
    """Of the matrix products and convolutions of the backbone."""
    with FlopCounterMode(display=False) as counter:
        backbone(pixels[:1])
    return float(counter.get_total_flops()) / 1e9 * len(pixels)


def show(row: Row) -> Row:
    """Print a row and return it."""
    speed = f"{row['per second']:10.1f} images/s" if row["per second"] else f"skipped: {row['note']}"
    share = f"  {row['share']:.0%} of the ceiling" if row["share"] else ""
    place = f"{row['what']:14} {row['name']:22} {row['method']:12} {row['size']} px batch {row['batch']:3}"
    print(f"{place}  {row['mode']:36} {speed}{share}", flush=True)
    return row

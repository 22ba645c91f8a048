"""What a decoder costs, in operations and bytes instead of seconds: a rewrite that is lost shows here.

Counted on shapes alone at the published sizes, so it takes no time and needs no machine of its own.
Where a change makes a decoder cheaper, lower its line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dinoseg.backbones.features import Features
from dinoseg.methods import METHODS, decoder_settings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.dino_augseg.cg_fuse import CrossAttention
from tests.methods.plain import plain_dino_augseg, plain_dino_unet, plain_v1, plain_v2

PYRAMID = (4, 8, 16, 32)
CONVNEXT_T = (96, 192, 384, 768)
SLACK = 1.01


@dataclass(frozen=True)
class Cost:
    """GFLOP of one method; torch counts a grouped convolution as a full one on the way back."""

    name: str
    method: str
    options: dict[str, Any]
    batch: int
    size: int
    forward: float
    backward: float
    plain: Callable[..., Tensor] | None = None
    plain_forward: float = 0.0


COSTS = [
    Cost("linear", "linear", {}, 4, 256, forward=0.0032, backward=0.0032),
    Cost("v1", "segdino-v1", {}, 4, 256, 0.203, 0.231, plain_v1, 5.083),
    Cost("v2-128", "segdino-v2", {"width": 128}, 4, 256, 9.32, 67.6, plain_v2, 32.2),
    Cost("v2-256", "segdino-v2", {"width": 256}, 4, 256, 32.5, 265.5, plain_v2, 127.1),
    Cost("dino-unet", "dino-unet", {}, 1, 512, 84.0, 174.3, plain_dino_unet, 97.9),
    Cost("guided", "guided", {}, 4, 448, forward=3.95, backward=6.34),
    Cost("dino-augseg", "dino-augseg", {}, 1, 768, 133.2, 265.0, plain_dino_augseg, 138.5),
]
each_cost = pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.name)


def make(cost: Cost) -> tuple[Decoder, tuple[Any, ...]]:
    """A decoder and its inputs without memory: ViT-S, or ConvNeXt-T where a pyramid is published."""
    convnext = cost.method == "dino-augseg"
    widths, strides = (CONVNEXT_T, PYRAMID) if convnext else ((384,) * 4, (16,) * 4)
    with torch.device("meta"):
        decoder = create_decoder(decoder_settings(cost.method, **cost.options), widths, 1)
        levels = tuple(
            torch.empty(cost.batch, width, cost.size // stride, cost.size // stride)
            for width, stride in zip(widths, strides, strict=True)
        )
        features = Features(levels, strides, (cost.size,) * 2, (cost.size,) * 2)
        image = torch.empty(cost.batch, 3, cost.size, cost.size)
    return decoder, (features, image) if decoder.needs_image else (features,)


def count(run: Callable[[], object]) -> float:
    """GFLOP of matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        run()
    return float(counter.get_total_flops()) / 1e9


def test_every_method_is_counted() -> None:
    assert {cost.method for cost in COSTS} == set(METHODS)


@each_cost
def test_operations_do_not_grow(cost: Cost) -> None:
    decoder, inputs = make(cost)
    forward = count(lambda: decoder(*inputs))
    whole = count(lambda: decoder(*inputs).sum().backward())
    # from below too: a ceiling that nothing comes near guards nothing
    assert cost.forward / 1.1 <= forward <= cost.forward * SLACK
    assert cost.backward / 1.1 <= whole - forward <= cost.backward * SLACK


@pytest.mark.parametrize("cost", [cost for cost in COSTS if cost.plain], ids=lambda cost: cost.name)
def test_operations_of_the_plain_form(cost: Cost) -> None:
    """The other side of the ratios, and a check of the counter."""
    decoder, inputs = make(cost)
    plain = count(lambda: cost.plain(decoder, *inputs))  # type: ignore[misc]
    assert plain == pytest.approx(cost.plain_forward, rel=0.01)


class Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operation returned."""

    bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())  # a view takes none
        return result


def test_attention_never_makes_its_matrix() -> None:
    """DINO-AugSeg at 768 px, finest level: 36,864 queries of 2,304 keys; forward and backward, computed."""
    torch.manual_seed(0)
    width, side, pool = 16, 192, 4
    attention = CrossAttention(width, heads=4, pool=pool)
    maps, level = torch.randn(1, width, side, side), torch.randn(1, width, side, side)
    maps.requires_grad_()
    with Largest() as largest:
        attention(maps, level).sum().backward()
    one_row_per_token = side * side * width * 4
    assert largest.bytes <= 2 * one_row_per_token
    assert (
        one_row_per_token < side * side * (side // pool) ** 2 * 4 / 100
    )  # what the matrix of one head takes


@pytest.mark.parametrize("cost", COSTS[:-1], ids=lambda cost: cost.name)
def test_no_tensor_is_larger_than_it_must_be(cost: Cost) -> None:
    """Of a forward pass, per image; DINO-AugSeg's attention has no kernel for shapes alone."""
    decoder, inputs = make(cost)
    with torch.no_grad(), Largest() as largest, torch.device("meta"):
        decoder(*inputs)
    limits = {"linear": 0.25, "v1": 0.85, "v2-128": 8, "v2-256": 16, "dino-unet": 32, "guided": 4.7}
    found = largest.bytes / cost.batch / 2**20
    assert limits[cost.name] / 1.1 <= found <= limits[cost.name]

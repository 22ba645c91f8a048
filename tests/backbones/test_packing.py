"""The faster forms on a processor: equal to the plain ones, and not in the way of moving or copying."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones import packing
from dinoseg.backbones.packing import FEW, Linear, attend
from tests.backbones.tiny import make_extractor, random_images, tiny_spec

SIZES = [(1, 8, 8), (5, 32, 96), (261, 384, 1152), (3, 7, 13)]


def make_layer(inputs: int, outputs: int, dtype: torch.dtype, *, gelu: bool = False) -> Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Linear(inputs, outputs, gelu=gelu).to(dtype).requires_grad_(False)


def plain(layer: Linear, tokens: Tensor) -> Tensor:
    outputs = F.linear(tokens, layer.weight, layer.bias)
    return F.gelu(outputs) if layer.gelu else outputs


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
@torch.no_grad()
def test_a_packed_layer_is_the_plain_one(rows: int, inputs: int, outputs: int, gelu: bool) -> None:
    layer = make_layer(inputs, outputs, torch.float32, gelu=gelu)
    tokens = random_images(2, rows, inputs)
    expected = plain(layer, tokens)
    for _ in range(2):
        assert (layer(tokens) - expected).abs().max() <= 2e-6 * expected.abs().max()
    grid = tokens.reshape(2, rows, 1, inputs)
    assert torch.equal(layer(grid).flatten(1), layer(tokens).flatten(1))


@pytest.mark.parametrize("gelu", [False, True])
@torch.no_grad()
def test_a_packed_layer_in_bfloat16(gelu: bool) -> None:
    layer = make_layer(384, 96, torch.bfloat16, gelu=gelu)
    tokens = random_images(2, 33, 384).bfloat16()
    expected = plain(layer, tokens)
    outputs = layer(tokens)
    assert outputs.dtype == torch.bfloat16
    assert (outputs.float() - expected.float()).abs().max() <= 0.01 * expected.float().abs().max()


@torch.no_grad()
def test_it_is_packed_where_that_is_worth_it_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    if not packing.has_onednn():
        pytest.skip("needs a processor on which oneDNN packs")
    layer = make_layer(32, 32, torch.float32)
    tokens = random_images(1, 4, 32)
    expected = layer(tokens)
    assert layer._packed is not None
    layer.to(torch.float64)(tokens.double())
    assert layer._packed is None
    layer.to(torch.float32)
    with torch.enable_grad():
        layer(tokens)
    assert layer._packed is None
    monkeypatch.setattr(packing, "HEAVY", 32 * 32 * 4 - 1)
    assert torch.allclose(layer(tokens), expected, atol=1e-6)
    assert layer._packed is None


@torch.no_grad()
def test_a_changed_weight_is_packed_anew() -> None:
    layer = make_layer(100, 70, torch.float32)
    layer.bias.zero_()
    tokens = random_images(1, 4, 100)
    before = layer(tokens)
    layer.weight.mul_(2)
    assert torch.allclose(layer(tokens), 2 * before, atol=1e-5)
    layer.load_state_dict({key: 3 * value for key, value in layer.state_dict().items()})
    assert torch.allclose(layer(tokens), 6 * before, atol=1e-5)
    layer.weight = torch.nn.Parameter(layer.weight / 6, requires_grad=False)
    assert torch.allclose(layer(tokens), before, atol=1e-5)


@torch.no_grad()
def test_copies_hold_the_weight_once() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        layer = make_layer(100, 70, dtype)
        tokens = random_images(1, 4, 100).to(dtype)
        before = layer(tokens)
        assert layer.state_dict().keys() == {"weight", "bias"}
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert other._packed is None
            assert torch.equal(other(tokens), before)


def test_a_layer_packed_in_inference_mode_is_used_and_moved_outside() -> None:
    layer = make_layer(32, 16, torch.float32)
    tokens = random_images(1, 4, 32)
    with torch.inference_mode():
        inside = layer(tokens)
    with torch.no_grad():
        assert torch.equal(layer(tokens), inside)
    assert layer.to(torch.float64).weight.dtype == torch.float64
    with torch.inference_mode():
        born_inside = make_layer(32, 16, torch.float32)
        born_inside(tokens)
    with torch.no_grad():
        assert torch.equal(born_inside(tokens), inside)
    learner = tokens.clone().requires_grad_()
    make_layer(32, 16, torch.float32)(learner).sum().backward()
    assert learner.grad is not None


@pytest.mark.parametrize("family", ["dinov3_vit", "dinov2", "dinov3_convnext"])
def test_a_backbone_on_another_device_gives_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = random_images(2, 3, 70, 50)
    here = make_extractor(tiny_spec(family))(image)
    monkeypatch.setattr(packing, "runs_packed", lambda tokens: False)
    elsewhere = make_extractor(tiny_spec(family))(image)
    for first, second in zip(here.levels, elsewhere.levels, strict=True):
        assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("count", [1, 40, FEW, FEW + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_attention_is_torchs_own(count: int, dtype: torch.dtype) -> None:
    query, key, value = random_images(3, 2, 3, count, 16).to(dtype)
    expected = F.scaled_dot_product_attention(query, key, value)
    error = (attend(query, key, value) - expected).abs().max()
    assert error <= (1e-6 if dtype == torch.float32 else 0.02) * expected.abs().max()


def test_a_network_is_recorded_with_plain_operations() -> None:
    """What another program is to run knows nothing of packed weights, and nothing recorded is remembered."""
    backbone = make_extractor(tiny_spec("dinov3_vit"))
    image = random_images(1, 3, 32, 48)
    before = backbone(image).levels
    with torch.no_grad():
        program = torch.export.export(Recorded(backbone.network, backbone.layers), (image,))
        operations = {str(node.target) for node in program.graph.nodes}
        assert not any("mkldnn" in name for name in operations)
        recorded = program.module()(image)
    for level, expected in zip(recorded, before, strict=True):
        assert torch.allclose(level, expected, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(backbone(image).levels, before, strict=True))


class Recorded(torch.nn.Module):
    """The maps alone, as an exporter wants them."""

    def __init__(self, network: torch.nn.Module, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.layers = layers

    def forward(self, image: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network(image, self.layers)[0]
        return maps

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.norms import InstanceNorm
from dinoseg.methods.blocks.rewrites import conv3x3_after_doubling, conv3x3_after_resize
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.dino_augseg.decoder import DinoAugSeg
from dinoseg.methods.dino_unet.decoder import DinoUNet
from dinoseg.methods.segdino_v1.decoder import SegDINOv1
from dinoseg.methods.segdino_v2.decoder import SegDINOv2
from tests.methods.plain import plain_dino_augseg, plain_dino_unet, plain_v1, plain_v2

GRIDS = [(3, 5), (4, 4), (1, 1)]
RELATIVE = 1e-4


def make_features(grid: tuple[int, int], *, width: int = 12) -> Features:
    generator = torch.Generator().manual_seed(3)
    levels = tuple(torch.randn(2, width, *grid, generator=generator).requires_grad_() for _ in range(4))
    padded = (grid[0] * 16, grid[1] * 16)
    return Features(levels=levels, strides=(16,) * 4, size=(padded[0] - 3, padded[1] - 7), padded=padded)


def randomise(decoder: Decoder) -> None:
    """Every branch counts: no gamma at 0, no norm at 1."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator) + 0.05)


def results(function: Callable[[], Tensor], decoder: Decoder, features: Features) -> dict[str, Tensor]:
    """Output of `function`, and the gradients of everything that it depends on."""
    logits = function()
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(7))
    names = [*dict(decoder.named_parameters()), *(f"level {i}" for i in range(4))]
    gradients = torch.autograd.grad((logits * weights).sum(), [*decoder.parameters(), *features.levels])
    return {"logits": logits.detach(), **dict(zip(names, gradients, strict=True))}


def check_equal(ours: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    # a gradient that is tiny beside all others (a bias at the border) is compared on their scale
    floor = 1e-3 * max(float(value.abs().max()) for value in plain.values())
    for name, expected in plain.items():
        assert ours[name].shape == expected.shape
        scale = max(float(expected.abs().max()), floor)
        assert float((ours[name] - expected).abs().max()) <= RELATIVE * scale, name


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("upsample", [True, False])
def test_v1_equals_its_plain_form(upsample: bool, outputs: int, grid: tuple[int, int]) -> None:
    decoder = SegDINOv1((12,) * 4, outputs, features=6, widths=(4, 5, 6, 7), upsample=upsample)
    randomise(decoder)
    features = make_features(grid)
    ours = results(lambda: decoder(features), decoder, features)
    check_equal(ours, results(lambda: plain_v1(decoder, features), decoder, features))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_v2_equals_its_plain_form(norm: Any, outputs: int, grid: tuple[int, int]) -> None:
    decoder = SegDINOv2((12,) * 4, outputs, width=8, norm=norm)
    randomise(decoder)
    decoder.eval()
    features = make_features(grid)
    ours = results(lambda: decoder(features), decoder, features)
    check_equal(ours, results(lambda: plain_v2(decoder, features), decoder, features))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_v2_equals_its_plain_form_in_training(norm: Any) -> None:
    decoder = SegDINOv2((12,) * 4, 2, width=8, norm=norm).train()
    randomise(decoder)
    features = make_features((3, 5))
    ours = results(lambda: decoder(features), decoder, features)
    check_equal(ours, results(lambda: plain_v2(decoder, features), decoder, features))


@pytest.mark.parametrize("size", [(3, 5), (6, 10), (7, 11), (2, 3), (24, 40)])
def test_convolving_before_resizing_equals_after(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 4, 3, 5, generator=generator)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    resized = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    expected = F.conv2d(resized, weight, padding=1)
    torch.testing.assert_close(conv3x3_after_resize(maps, weight, size), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolving_before_doubling_equals_after(grid: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, width, *grid, requires_grad=True) for width in (5, 3)]
    doublings = [torch.nn.ConvTranspose2d(5, 4, 2, 2), torch.nn.ConvTranspose2d(3, 6, 2, 2)]
    conv = torch.nn.Conv2d(10, 7, 3, padding=1, bias=bias)
    plain = conv(torch.cat([each(part) for each, part in zip(doublings, parts, strict=True)], dim=1))
    ours = conv3x3_after_doubling(parts, doublings, conv.weight, conv.bias)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    inputs = [*parts, *conv.parameters(), *doublings[0].parameters(), *doublings[1].parameters()]
    weights = torch.randn(plain.shape)
    for found, expected in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((plain * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def make_dino_unet() -> tuple[DinoUNet, Features, Tensor]:
    decoder = DinoUNet((16,) * 4, 2, features_per_stage=(4, 6, 8, 10), fapm_rank=8, spm_width=4, heads=2)
    randomise(decoder)
    generator = torch.Generator().manual_seed(3)
    levels = tuple(torch.randn(2, 16, 4, 6, generator=generator).requires_grad_() for _ in range(4))
    image = torch.randn(2, 3, 64, 96, generator=generator)
    return decoder, Features(levels, (16,) * 4, (64, 96), (64, 96)), image


def make_dino_augseg() -> tuple[DinoAugSeg, Features]:
    decoder = DinoAugSeg((8, 16, 24, 32), 2, final_width=6, heads=2)
    randomise(decoder)
    generator = torch.Generator().manual_seed(3)
    levels = tuple(
        torch.randn(2, width, 128 // stride, 64 // stride, generator=generator).requires_grad_()
        for width, stride in ((8, 4), (16, 8), (24, 16), (32, 32))
    )
    return decoder, Features(levels, (4, 8, 16, 32), (120, 64), (128, 64))


def test_dino_unet_equals_its_plain_form() -> None:
    decoder, features, image = make_dino_unet()
    decoder.eval().double()
    # in float64: a network of twenty norms multiplies the last digits of float32
    features, image = features.map(Tensor.double), image.double()
    torch.testing.assert_close(decoder(features, image), plain_dino_unet(decoder, features, image))
    ours = results(lambda: decoder(features, image), decoder, features)
    check_equal(ours, results(lambda: plain_dino_unet(decoder, features, image), decoder, features))


def test_dino_augseg_equals_its_plain_form() -> None:
    decoder, features = make_dino_augseg()
    decoder.eval()
    torch.testing.assert_close(decoder(features), plain_dino_augseg(decoder, features), rtol=1e-4, atol=1e-4)
    ours = results(lambda: decoder(features), decoder, features)
    check_equal(ours, results(lambda: plain_dino_augseg(decoder, features), decoder, features))


def test_dino_augseg_equals_its_plain_form_in_training() -> None:
    decoder, features = make_dino_augseg()
    decoder.double().train()
    features = features.map(Tensor.double)
    torch.testing.assert_close(decoder(features), plain_dino_augseg(decoder, features))


@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_is_torch_s_own_wherever_the_channels_lie(batch: int, memory: Any) -> None:
    """Also far from zero, where a sum of squares would lose what is left of it."""
    norm = InstanceNorm(6)
    randomise(norm)  # type: ignore[arg-type]
    maps = 20 + torch.randn(batch, 6, 40, 30, generator=torch.Generator().manual_seed(1))
    found = norm(maps.contiguous(memory_format=memory))
    expected = F.instance_norm(
        maps.double(), weight=norm.weight.double(), bias=norm.bias.double(), eps=norm.eps
    )
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)
    assert found.is_contiguous(memory_format=memory)

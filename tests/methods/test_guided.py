"""Guided: what it is made of, that it starts as its probe, and that it sees lines thinner than a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.backbones.features import Features
from dinoseg.methods import decoder_settings
from dinoseg.methods.assembly import create_decoder
from dinoseg.methods.blocks.rewrites import enlarge
from dinoseg.methods.decoder import Decoder
from dinoseg.methods.guided.decoder import START, Guided, Probe
from dinoseg.methods.linear.decoder import Linear
from dinoseg.training.learning.losses import create_loss

SIDE = 64


def make_features(*, batch: int = 1, width: int = 8, side: int = SIDE) -> Features:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, width, side // 16, side // 16)
    levels = tuple(torch.randn(shape, generator=generator) for _ in range(4))
    return Features(levels, (16,) * 4, (side, side), (side, side))


def test_parameters_at_two_input_sizes_of_a_vit_tiny() -> None:
    decoder = Guided((2 * 192,) * 4, 1)
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in decoder.named_children()}
    widths = 96 + 192 + 384 + 640
    assert found["probe"] == 385 * widths + 9 * 128 * widths + 16 * 128**2 + 4 * 128 + 1
    assert found["image"] < 100_000
    assert sum(p.numel() for p in decoder.parameters()) < 2_500_000


def plain_probe(probe: Probe, levels: Sequence[Tensor]) -> Tensor:
    """Layer by layer, as its docstring says."""
    first, *rest = [mix(narrow(x)) for x, narrow, mix in zip(levels, probe.narrow, probe.mix, strict=True)]
    finest = probe.enlarge(first)
    maps = [finest, *[F.interpolate(each, finest.shape[-2:], mode="bilinear") for each in rest]]
    logits: Tensor = probe.classify(torch.cat(maps, dim=1))
    return logits


@torch.no_grad()
def test_it_starts_as_its_probe() -> None:
    decoder, features = Guided((8,) * 4, 2).eval(), make_features()
    image = torch.randn(1, 3, SIDE, SIDE)
    wanted = plain_probe(decoder.probe, features.levels)
    for size in ((SIDE // 2, SIDE // 2), (SIDE, SIDE)):
        wanted = F.interpolate(wanted, size=size, mode="bilinear")
    assert (decoder(features, image) - wanted).abs().max() < 50 * START
    decoder.gamma.zero_()
    torch.testing.assert_close(decoder(features, image), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_in_training_the_image_branch_sees_some_of_a_batch() -> None:
    features = make_features(batch=4).map(lambda maps: maps.expand(4, -1, -1, -1))
    images = torch.randn(4, 3, SIDE, SIDE)
    decoder, seen = Guided((8,) * 4, 1, image_share=0.3), []
    decoder.image.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    decoder.train()(features, images)
    decoder.eval()(features, images)
    assert seen == [2, 4]


@pytest.mark.parametrize("size", [(5, 7), (9, 7), (40, 56)])
def test_enlarging_by_products_is_bilinear(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 5, 7, requires_grad=True)
    plain = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(maps, size), plain)
    weights = torch.randn(plain.shape)
    (ours,) = torch.autograd.grad((enlarge(maps, size) * weights).sum(), maps)
    (theirs,) = torch.autograd.grad((plain * weights).sum(), maps)
    torch.testing.assert_close(ours, theirs)


def draw_vessels(seed: int, *, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Crossing curved lines of 1 to 5 px, dark on a cloudy ground: (3, S, S) and uint8 (S, S)."""
    generator = torch.Generator().manual_seed(seed)
    ground = F.interpolate(torch.rand(1, 3, 4, 4, generator=generator), size=(side, side), mode="bilinear")[0]
    along = torch.arange(side).float()
    mask = torch.zeros(side, side, dtype=torch.bool)
    for width in (1, 2, 3, 5):
        start, bend, turn = torch.rand(3, generator=generator).tolist()
        centre = side * (0.2 + 0.6 * start) + 6 * torch.sin(along / side * math.pi * (1 + 2 * bend))
        line = (along[None] - centre[:, None]).abs() <= width / 2
        mask |= line if turn < 0.5 else line.T
    image = torch.where(mask, 0.6 * ground - 0.2, ground)
    return image + 0.05 * torch.randn(image.shape, generator=generator), mask.to(torch.uint8)


def learn_vessels(decoder: Decoder) -> float:
    """Dice on drawn vessels that were not learned from; the features hold nothing."""
    pairs = [draw_vessels(seed) for seed in range(8)]
    images, masks = torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])
    features = make_features(batch=8).map(torch.zeros_like)
    loss = create_loss("dice_cross_entropy", ignore=False)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    learned = features.map(lambda maps: maps[:6])
    for _ in range(50):
        optimizer.zero_grad()
        logits = decoder(learned, images[:6])
        loss(logits, masks[:6]).backward()
        optimizer.step()
    with torch.no_grad():
        found = decoder.eval()(features.map(lambda maps: maps[6:]), images[6:])[:, 0] > 0
    target = masks[6:] > 0
    return float(2 * (found & target).sum() / (found.sum() + target.sum()))


def test_it_sees_lines_that_are_thinner_than_a_cell() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = decoder_settings("guided", width=8, image_widths=(8, 8, 8))
        ours = learn_vessels(create_decoder(settings, (8,) * 4, 1))
        linear = learn_vessels(Linear((8,) * 4, 1))
    assert ours > 0.75
    assert linear < 0.35  # one answer for all pixels

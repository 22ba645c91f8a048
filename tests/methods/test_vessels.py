"""Thin branching lines of 1 to 5 px: every method learns something of them, and ours sees them."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from dinoseg.data.checks.regions import measure_regions
from dinoseg.methods import decoder_settings
from dinoseg.methods.assembly import create_decoder
from tests.methods.contract import KINDS
from tests.methods.small import SMALL
from tests.methods.vessels import draw_vessels, look_coarsely

BATCH = 4


@lru_cache
def _learn(
    method: str, kind: str = "vit", *, steps: int = 8, rate: float = 5e-3
) -> tuple[tuple[float, ...], float]:
    """The losses of some steps, and Dice on vessels that were not learned."""
    _, strides, channels = KINDS[kind]
    images, labels = draw_vessels(0, 12)
    features = look_coarsely(images, strides=strides, channels=channels)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = create_decoder(decoder_settings(method, **SMALL[method]), channels, 1).train()
        optimizer = torch.optim.AdamW(decoder.parameters(), lr=rate)
        for step in range(steps):
            rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(images)
            seen = features.map(lambda maps, rows=rows: maps[rows])
            logits = decoder(seen, images[rows] if decoder.needs_image else None)
            target = labels[rows, None].float()
            overlap = (logits.sigmoid() * target).sum() / (logits.sigmoid() + target).sum()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target) + 1 - 2 * overlap
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        decoder.eval()
        others, wanted = draw_vessels(1, 6)
        seen = look_coarsely(others, strides=strides, channels=channels)
        with torch.no_grad():
            shown = decoder(seen, others if decoder.needs_image else None)[:, 0] > 0
    return tuple(losses), float(2 * (shown & (wanted > 0)).sum() / (shown.sum() + wanted.sum()))


def test_the_lines_are_thin() -> None:
    _, labels = draw_vessels(0, 12)
    regions = [measure_regions(label.numpy() > 0) for label in labels]
    widths = torch.cat([torch.from_numpy(each.widths) for each in regions])
    assert [float(widths.quantile(share)) for share in (0.05, 0.95)] == pytest.approx([1, 5], abs=0.5)
    assert sum(each.thin_area for each in regions) > 0.7 * int(labels.sum())


@pytest.mark.parametrize("kind", ["vit", "convnext"])
@pytest.mark.parametrize("method", SMALL)
def test_every_method_trains_on_vessels(method: str, kind: str) -> None:
    losses, _ = _learn(method, kind)
    assert all(loss == loss and abs(loss) < 100 for loss in losses)
    assert min(losses[-3:]) < losses[0]


def test_ours_sees_lines_that_a_linear_probe_cannot() -> None:
    ours, probe = (_learn(method, steps=60, rate=0.02)[1] for method in ("guided", "linear"))
    assert ours > probe + 0.2
    assert ours > 0.4

"""Cells of remembered features with the share of each class in them: what a linear probe learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.data.case import IGNORE_ID
from dinoseg.training.features.bank import Sample, ViewBank

STRIDE = 16  # px: of a pyramid, the deepest level that is at least so fine


@dataclass(frozen=True)
class Cells:
    """Some cells of the unaugmented views of a bank.

    Attributes:
        features: (N, C), float32, of one level.
        shares: (N, K) of each class but the background in the cell, 0..1.
        owners: (N,) case that the cell belongs to, as an index of the bank's cases.
    """

    features: Tensor
    shares: Tensor
    owners: Tensor


@dataclass(frozen=True)
class Map:
    """One image or slice: features (C, h, w), label (S, S) of class ids, and its case."""

    features: Tensor
    label: Tensor
    subject: int


def read_map(bank: ViewBank, sample: Sample) -> Map:
    """A view of an image or slice, from what is remembered."""
    batch = bank.batch([sample])
    strides = batch.features.strides
    fine = [level for level, stride in enumerate(strides) if stride <= STRIDE] or [0]
    return Map(batch.features.levels[fine[-1]][0], batch.label[0], bank.subject(sample.position))


def collect_cells(
    bank: ViewBank, positions: Sequence[int], *, classes: int, budget: int, generator: torch.Generator
) -> Cells:
    """Cells of some images or slices, as many of each, drawn where they are more than there is room for.

    Args:
        bank: whose features are there.
        positions: of the images or slices.
        classes: K, without the background.
        budget: how many cells there is room for.
        generator: of the draw.
    """
    share = max(1, budget // max(1, len(positions)))
    parts = []
    for position in positions:
        seen = read_map(bank, Sample(position, 0))
        features = seen.features.flatten(1).T  # (C, h, w) -> (h·w, C)
        shares = find_shares(seen.label, seen.features.shape[-2:], classes)
        chosen = torch.randperm(len(features), generator=generator)[:share]
        chosen = chosen[shares[chosen].isfinite().all(dim=1)]
        owners = torch.full((len(chosen),), seen.subject)
        parts.append(Cells(features[chosen], shares[chosen], owners))
    features, shares, owners = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("features", "shares", "owners")
    )
    return Cells(features, shares, owners)


def find_shares(label: Tensor, grid: Sequence[int], classes: int) -> Tensor:
    """Share of each class in every cell, (h·w, K); NaN where most of a cell is undecided.

    Args:
        label: (S, S), uint8 class ids.
        grid: h and w.
        classes: K, without the background.
    """
    shown = torch.stack([label == index for index in (*range(1, classes + 1), IGNORE_ID)]).float()
    *shares, undecided = F.interpolate(shown[None], size=tuple(grid), mode="area")[0].flatten(1)
    return torch.where(undecided[:, None] > 0.5, torch.nan, torch.stack(shares, dim=1))

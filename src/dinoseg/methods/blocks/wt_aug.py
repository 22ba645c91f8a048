"""WT-Aug of DINO-AugSeg: frozen features augmented in the wavelet domain; any method can use it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dinoseg.backbones.features import Features
from dinoseg.methods.blocks.haar import Bands, analyse, synthesise


def wt_aug(
    features: Features, generator: torch.Generator, *, probability: float = 0.7, drop: float = 0.3
) -> Features:
    """Drop Haar coefficients of all maps of some images; for training only.

    Works on remembered features as on fresh ones. What is kept is not scaled up.

    Args:
        features: maps of a batch; the class tokens stay as they are.
        generator: where the draws come from; the maps may be on another device.
        probability: of changing an image of the batch at all.
        drop: probability of zeroing each coefficient, in each of the four bands independently.

    Returns:
        Features of the same geometry; images that are not drawn are unchanged bit for bit.

    Source:
        arXiv 2601.08078, section on WT-Aug.
    """
    batch = int(features.levels[0].shape[0])
    chosen = torch.rand(batch, generator=generator, device=generator.device) < probability
    levels = tuple(_drop_coefficients(level, chosen, generator, drop) for level in features.levels)
    return replace(features, levels=levels)


def _drop_coefficients(maps: Tensor, chosen: Tensor, generator: torch.Generator, drop: float) -> Tensor:
    """(B, C, h, w) with coefficients of the chosen images (B,) zeroed."""
    bands = analyse(maps)
    low = bands.low * _draw_kept(bands.low, generator, drop)
    high = bands.high * _draw_kept(bands.high, generator, drop)
    changed = synthesise(Bands(low, high, bands.size))
    return torch.where(chosen.to(maps.device).view(-1, 1, 1, 1), changed, maps)


def _draw_kept(coefficients: Tensor, generator: torch.Generator, drop: float) -> Tensor:
    """1 where a coefficient stays, 0 where it goes."""
    draws = torch.rand(coefficients.shape, generator=generator, device=generator.device)
    return (draws >= drop).to(coefficients)

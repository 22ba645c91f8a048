"""A seeded random ViT, so that demo and tests need no download; it has learned nothing, and is named so."""

from __future__ import annotations

import torch
from torch import Tensor

from dinoseg.backbones.architecture import read_settings
from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.published import PublishedWeights, list_shapes

SEED = 0
_GRIDS = (1, 2, 4)  # cells per side of a random patch kernel: colours, edges, coarse texture
_SHARPNESS = 2.0  # on query and key each: random attention that looks somewhere


def draw_weights(spec: BackboneSpec, *, seed: int = SEED) -> PublishedWeights:
    """Draw random weights for the ViT of `spec` that are the same on every machine.

    The numbers are uniform and come from integers of a generator of their own: neither the processor
    nor the caller's random state plays a part. Matrices keep the variance of what they multiply.
    Patch kernels are coarse random grids, because white noise as a kernel hardly sees what varies
    slowly, and images do.

    Args:
        spec: a `dinov3_vit`.
        seed: another seed gives another network.
    """
    settings = read_settings(spec)
    generator = torch.Generator().manual_seed(seed)
    shapes = sorted(list_shapes(settings).items())
    return PublishedWeights(
        settings, {name: _draw(name, torch.Size(shape), generator) for name, shape in shapes}
    )


def _draw(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    if name.endswith(("bias", "mask_token")):
        return torch.zeros(shape)
    if "norm" in name or "layer_scale" in name:
        return torch.ones(shape)
    if len(shape) == 4:
        return _draw_kernels(shape, generator)
    fan_in = shape[1] if len(shape) == 2 else 1
    scale = _SHARPNESS if "q_proj" in name or "k_proj" in name else 1.0
    return scale * _uniform(shape, generator, fan_in=fan_in)


def _draw_kernels(shape: torch.Size, generator: torch.Generator) -> Tensor:
    kernels = torch.empty(shape)
    for index, kernel in enumerate(kernels):
        cells = _GRIDS[index % len(_GRIDS)]
        grid = _uniform(torch.Size((shape[1], cells, cells)), generator, fan_in=shape[1:].numel())
        # (3, cells, cells) -> (3, patch, patch)
        kernel.copy_(grid.repeat_interleave(shape[2] // cells, 1).repeat_interleave(shape[3] // cells, 2))
    return kernels


def _uniform(shape: torch.Size, generator: torch.Generator, *, fan_in: int) -> Tensor:
    """Uniform numbers of variance 1 / fan_in."""
    bound: float = (3.0 / fan_in) ** 0.5
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound

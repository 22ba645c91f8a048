"""Frozen backbones: image -> Features. Importing this package does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dinoseg.backbones.catalog import BACKBONES, BackboneSpec, find_spec
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters

if TYPE_CHECKING:
    from dinoseg.backbones.backbone import Backbone

__all__ = ["BACKBONES", "BackboneSpec", "create_backbone", "find_spec"]


@keeping_filters()
def create_backbone(
    name_or_path: str | Path,
    *,
    layers: tuple[int, ...] | None = None,
    accept_license: bool = False,
    weights: str | Path | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    scales: tuple[float, ...] = (1.0,),
    progress: Progress | None = None,
) -> Backbone:
    """Build a frozen backbone with its weights.

    Args:
        name_or_path: a catalog name (`dinoseg info backbones`), or a local Hugging Face folder
            (config.json and model.safetensors) of type dinov3_vit, dinov3_convnext, dinov2 or
            dinov2_with_registers.
        layers: blocks or stages to tap, ascending, counted from 0; the published ones if not given.
        accept_license: accept the licence of the weights; needed once.
        weights: a file to load instead of looking for one: Meta's .pth, or the .safetensors of
            timm or Hugging Face. For catalog names only.
        precision: what the network computes in; features are float32 either way.
        scales: sizes in which it looks at an image, relative to the image; the first is 1. Each level
            then holds the channels of all, on the grid of the first.
        progress: shows source, checksum, licence and downloads.

    Raises:
        UsageError: the name is unknown or ambiguous, or an argument does not fit.
        LicenseError: the licence has not been accepted.
        WeightsError: the weights cannot be found, fetched or loaded completely.
    """
    from dinoseg.backbones.assembly import assemble

    backbone = assemble(
        name_or_path,
        layers=layers,
        accept_license=accept_license,
        weights=weights,
        precision=precision,
        progress=progress if progress is not None else Silent(),
    )
    if tuple(scales) == (1.0,):
        return backbone
    from dinoseg.backbones.scales import ScaledBackbone

    return ScaledBackbone(backbone, scales)

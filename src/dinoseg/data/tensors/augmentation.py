"""The augmentation bank: a fixed number of random views per image, each replayable from its seed.

Features of a frozen backbone are computed once per view, so augmentation is drawn from a
bank instead of anew every epoch. View 0 is the image as it is.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.config import AugmentationSettings

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the grey of colour jitter


@dataclass(frozen=True)
class View:
    """One augmentation, fully described.

    Attributes:
        horizontal_flip: mirror left and right.
        vertical_flip: mirror top and bottom.
        rotation: degrees, counter-clockwise.
        zoom: factor; above 1 enlarges.
        brightness: factor on intensities.
        contrast: factor on the distance from the mean grey.
        saturation: factor on the distance from grey.
        hue: turn of the colour circle, -0.5..0.5.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float = 0.0
    zoom: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


IDENTITY = View()


def draw_view(settings: AugmentationSettings | None, *, case: str, index: int, seed: int) -> View:
    """The view number `index` of a case; the same arguments always give the same view.

    Args:
        settings: ranges and probabilities; None means no augmentation.
        case: any text that names the image, such as its content digest.
        index: 0 is the identity.
        seed: seed of the run.
    """
    if settings is None or index == 0:
        return IDENTITY
    digest = hashlib.sha256(f"{case}:{index}:{seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    draws = torch.rand(11, generator=generator, dtype=torch.float64).tolist()
    rotate = draws[2] < settings.rotation_probability
    zoom = draws[4] < settings.zoom_probability
    colour = draws[6] < settings.colour_probability
    return View(
        horizontal_flip=draws[0] < settings.horizontal_flip,
        vertical_flip=draws[1] < settings.vertical_flip,
        rotation=_spread(draws[3], settings.rotation) if rotate else 0.0,
        zoom=1 + _spread(draws[5], settings.zoom) if zoom else 1.0,
        brightness=1 + _spread(draws[7], settings.brightness) if colour else 1.0,
        contrast=1 + _spread(draws[8], settings.contrast) if colour else 1.0,
        saturation=1 + _spread(draws[9], settings.saturation) if colour else 1.0,
        hue=_spread(draws[10], settings.hue) if colour else 0.0,
    )


def apply_to_image(view: View, pixels: Tensor) -> Tensor:
    """Apply a view to an RGB image (3, H, W) in 0..1; the size stays."""
    moved = _move(view, pixels, mode="bilinear", outside="reflection")
    return _recolour(view, moved)


def apply_to_label(view: View, label: Tensor) -> Tensor:
    """Apply the geometry of a view to class ids (H, W), uint8, by nearest neighbour."""
    return _move(view, label.unsqueeze(0).float(), mode="nearest", outside="reflection")[0].to(label.dtype)


def _spread(draw: float, width: float) -> float:
    return (2 * draw - 1) * width


def _move(view: View, pixels: Tensor, *, mode: str, outside: str) -> Tensor:
    """Flip, rotate and zoom (C, H, W); what comes in from outside is mirrored, image and label alike."""
    axes = [axis for axis, flip in ((-1, view.horizontal_flip), (-2, view.vertical_flip)) if flip]
    moved = pixels.flip(axes) if axes else pixels
    if view.rotation == 0.0 and view.zoom == 1.0:
        return moved
    height, width = pixels.shape[-2:]
    cos, sin = math.cos(math.radians(view.rotation)), math.sin(math.radians(view.rotation))
    # Output to input, in coordinates -1..1 of each axis: the aspect ratio keeps circles round.
    matrix = torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]) / view.zoom
    grid = F.affine_grid(matrix.unsqueeze(0), [1, 1, height, width], align_corners=False)
    return F.grid_sample(moved.unsqueeze(0), grid, mode=mode, padding_mode=outside, align_corners=False)[0]


def _recolour(view: View, pixels: Tensor) -> Tensor:
    """Brightness, contrast, saturation, hue, in this order; the result stays in 0..1."""
    luma = torch.tensor(LUMA).view(3, 1, 1)
    if view.brightness != 1.0:
        pixels = (pixels * view.brightness).clamp(0, 1)
    if view.contrast != 1.0:
        mean = (pixels * luma).sum(dim=0).mean()
        pixels = (mean + (pixels - mean) * view.contrast).clamp(0, 1)
    if view.saturation != 1.0:
        grey = (pixels * luma).sum(dim=0, keepdim=True)
        pixels = (grey + (pixels - grey) * view.saturation).clamp(0, 1)
    if view.hue != 0.0:
        pixels = torch.einsum("ij,jhw->ihw", _hue_rotation(view.hue), pixels).clamp(0, 1)
    return pixels


def _hue_rotation(turn: float) -> Tensor:
    """Matrix (3, 3) that turns RGB about the grey axis by `turn` of a circle (Rodrigues' formula)."""
    angle = 2 * math.pi * turn
    cos, sin = math.cos(angle), math.sin(angle) / math.sqrt(3)
    mean = (1 - cos) / 3
    return torch.tensor(
        [
            [cos + mean, mean - sin, mean + sin],
            [mean + sin, cos + mean, mean - sin],
            [mean - sin, mean + sin, cos + mean],
        ]
    )

"""Images and label maps on another grid, and as a network takes them; NumPy and Pillow, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import Image, LabelMap

Pixels = NDArray[np.float32]

PREPARATION = 2
"""Version of what `prepare_pixels` computes: part of the key of all that is remembered of it."""

_LARGE = 3  # times as many rows as wanted: from here on Pillow's way through memory takes longer than ours


def prepare_pixels(
    image: Image, size: tuple[int, int], *, mean: Sequence[float], std: Sequence[float]
) -> Pixels:
    """An image as a network takes it: (3, *size), resized and normalised.

    Args:
        image: intensities in 0..1, grey or RGB.
        size: (H, W); the image's own size skips resizing.
        mean: of R, G and B.
        std: of R, G and B.
    """
    return normalise(to_rgb(resize_image(image, size)), mean, std)


def to_rgb(image: Image) -> Pixels:
    """The image as (3, H, W), float32; grey is repeated, as a view."""
    pixels = np.asarray(image.array, np.float32)
    return np.broadcast_to(pixels, (3, *pixels.shape[1:])) if len(pixels) == 1 else pixels[:3]


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """Bilinear resize to (H, W), averaging over the covered area when shrinking.

    Equal to torch's antialiased bilinear interpolation but for the rounding of single numbers (2e-7).
    """
    if image.size == size:
        return image
    many = image.size[0] > _LARGE * size[0]
    pixels = _shrink_rows(image.array, size[0]) if many else image.array
    resized = np.empty((len(pixels), *size), np.float32)
    for target, channel in zip(resized, pixels, strict=True):
        # Floats, one channel at a time: Pillow has no other type of more than 8 bits and several channels.
        picture = PillowImage.fromarray(np.ascontiguousarray(channel, np.float32))
        target[:] = np.asarray(picture.resize((size[1], size[0]), PillowImage.Resampling.BILINEAR))
    return Image(resized)


def resize_label(label: LabelMap, size: tuple[int, int]) -> LabelMap:
    """Look up the nearest class id for every cell of the new grid (H, W)."""
    if label.size == size:
        return label
    rows = _nearest(label.size[0], size[0])
    columns = _nearest(label.size[1], size[1])
    return LabelMap(np.ascontiguousarray(label.array[..., rows[:, None], columns[None, :]]))


def normalise(pixels: Pixels, mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """(pixels - mean) / std over the channel axis of (..., 3, H, W); a new array."""
    offset, scale = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (mean, std))
    normal: Pixels = pixels - offset
    normal /= scale
    return normal


def _shrink_rows(pixels: Pixels, height: int) -> Pixels:
    """(C, H, W) to (C, height, W) as Pillow does it; of large photographs in an eighth of its time."""
    shrunk = np.empty((len(pixels), height, pixels.shape[2]), np.float32)
    scale = pixels.shape[1] / height
    for row in range(height):
        centre = (row + 0.5) * scale
        start, stop = max(0, int(centre - scale + 0.5)), min(pixels.shape[1], int(centre + scale + 0.5))
        weights = np.maximum(1 - np.abs(np.arange(start, stop) + 0.5 - centre) / scale, 0)
        weights = (weights / weights.sum()).astype(np.float32)
        np.einsum("k,ckw->cw", weights, pixels[:, start:stop], out=shrunk[:, row])
    return shrunk


def _nearest(size: int, target: int) -> NDArray[np.int64]:
    # The centre of each new cell, in old cells: the same convention as half-pixel bilinear resizing.
    centres = (np.arange(target) + 0.5) * size / target
    return np.minimum(centres.astype(np.int64), size - 1)

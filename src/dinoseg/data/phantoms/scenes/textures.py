"""Random fields and strokes that the scenes are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Canvas:
    """Where a scene is drawn.

    Attributes:
        size: height and width in pixels.
        subject: generator of what all frames of one subject share (tone, layers, lesion type).
        frame: generator of what differs from frame to frame.
    """

    size: tuple[int, int]
    subject: np.random.Generator
    frame: np.random.Generator

    @property
    def unit(self) -> int:
        """The shorter side in pixels: lengths of a scene are given in it."""
        return min(self.size)

    def grid(self) -> tuple[Field, Field]:
        """(y, x) of every pixel in units, 0 at the centre; each (H, W)."""
        height, width = self.size
        y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self.unit
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.unit
        return np.broadcast_to(y[:, None], self.size), np.broadcast_to(x[None, :], self.size)


@dataclass(frozen=True)
class Drawing:
    """A finished scene: intensities 0..1 of (H, W) or (H, W, 3), and the lesions as a mask (H, W)."""

    pixels: Field
    mask: NDArray[np.bool_]


def smooth_noise(generator: np.random.Generator, size: tuple[int, int], cell: tuple[float, float]) -> Field:
    """Smooth random field (H, W) of mean 0 and deviation about 1.

    Args:
        generator: source of randomness.
        size: height and width in pixels.
        cell: height and width in pixels of one bump.
    """
    rows, columns = (int(np.ceil(side / max(step, 1))) + 3 for side, step in zip(size, cell, strict=True))
    coarse = PillowImage.fromarray(generator.standard_normal((rows, columns), dtype=np.float32))
    left, top = generator.uniform(0, 1, 2)
    box = (left, top, left + size[1] / max(cell[1], 1), top + size[0] / max(cell[0], 1))
    field = np.asarray(coarse.resize((size[1], size[0]), PillowImage.Resampling.BICUBIC, box=box))
    return np.asarray(field / 0.75, dtype=np.float32)


def fractal_noise(
    generator: np.random.Generator,
    size: tuple[int, int],
    cell: tuple[float, float],
    *,
    octaves: int = 4,
    gain: float = 0.5,
) -> Field:
    """Sum of smooth fields, each half as coarse and `gain` times as strong; deviation about 1."""
    total = np.zeros(size, dtype=np.float32)
    power = 0.0
    for octave in range(octaves):
        weight = gain**octave
        total += weight * smooth_noise(generator, size, (cell[0] / 2**octave, cell[1] / 2**octave))
        power += weight**2
    return np.asarray(total / np.float32(np.sqrt(power)), dtype=np.float32)


def blur(field: Field, sigma: float | tuple[float, float]) -> Field:
    """Gaussian blur of (H, W)."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(field, sigma, mode="nearest", truncate=3), dtype=np.float32)


def smoothstep(low: float, high: float, field: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger one."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def draw_strokes(
    size: tuple[int, int], strokes: Sequence[NDArray[np.float64]], widths: Sequence[float]
) -> Field:
    """Antialiased polylines: coverage 0..1 (H, W).

    Args:
        size: height and width in pixels.
        strokes: each (N, 2), columns x and y in pixels.
        widths: in pixels, one for each stroke.
    """
    scale = 2
    picture = PillowImage.new("L", (size[1] * scale, size[0] * scale))
    pen = ImageDraw.Draw(picture)
    for points, width in zip(strokes, widths, strict=True):
        corners = [(float(x) * scale, float(y) * scale) for x, y in points]
        pen.line(corners, fill=255, width=max(1, round(width * scale)), joint="curve")
    small = picture.resize((size[1], size[0]), PillowImage.Resampling.BOX)
    return np.asarray(np.asarray(small) / np.float32(255), dtype=np.float32)


def add_grain(generator: np.random.Generator, pixels: Field, strength: float) -> Field:
    """Sensor noise of the given deviation, independent in every value."""
    grain = generator.standard_normal(pixels.shape, dtype=np.float32)
    return np.asarray(pixels + np.float32(strength) * grain, dtype=np.float32)


def bend_curve(
    generator: np.random.Generator, start: Sequence[float], angle: float, length: float, curl: float
) -> NDArray[np.float64]:
    """A curve of 24 points that begins at (x, y) in direction `angle` and turns as it goes; (24, 2)."""
    steps = 24
    along = np.linspace(0, 1, steps)
    sway = generator.normal(0, curl, 3)
    turning = (
        angle
        + sway[0] * along
        + 0.35
        * sum(sway[order] * np.sin(2 * np.pi * order * (along + generator.random())) for order in (1, 2))
    )
    moves = np.stack([np.cos(turning), np.sin(turning)], axis=1) * (length / steps)
    return np.asarray(np.asarray(start) + np.cumsum(moves, axis=0))

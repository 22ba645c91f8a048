"""Lesions: where they are, how large, and an irregular outline that is known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.phantoms.scenes.textures import Canvas, Field, smooth_noise

_COUNTS = (0, 1, 2, 3, 4)
_COUNT_CHANCES = (0.12, 0.6, 0.16, 0.08, 0.04)


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes:
        depth: (H, W); 1 in the middle, 0 on the outline, negative outside.
        radius: mean radius in units of the shorter side.
        centre: (y, x) in units.
    """

    depth: Field
    radius: float
    centre: tuple[float, float]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W): inside the outline."""
        return np.asarray(self.depth > 0)


def place_lesions(
    canvas: Canvas,
    *,
    radii: tuple[float, float],
    reach: tuple[float, float],
    aspect: tuple[float, float] = (0.6, 1.0),
    roughness: float = 0.18,
) -> list[Lesion]:
    """Place none to four lesions that do not overlap.

    Args:
        canvas: where.
        radii: smallest and largest mean radius in units; small ones are as frequent per octave.
        reach: half height and half width in units of the field that centres lie in.
        aspect: smallest and largest ratio of the axes.
        roughness: strength of the harmonics and of the ragged edge.
    """
    generator = canvas.frame
    lesions: list[Lesion] = []
    for _ in range(int(generator.choice(_COUNTS, p=_COUNT_CHANCES))):
        largest = radii[1] if not lesions else (radii[0] * radii[1]) ** 0.5
        radius = float(np.exp(generator.uniform(np.log(radii[0]), np.log(largest))))
        for _attempt in range(8):
            centre = (
                float(generator.uniform(-reach[0], reach[0])),
                float(generator.uniform(-reach[1], reach[1])),
            )
            if all(_distance(centre, other.centre) > 1.6 * (radius + other.radius) for other in lesions):
                ratio = float(generator.uniform(*aspect))
                lesions.append(draw_lesion(canvas, centre, radius, ratio, roughness))
                break
    return lesions


def draw_lesion(
    canvas: Canvas, centre: tuple[float, float], radius: float, aspect: float, roughness: float
) -> Lesion:
    """An ellipse deformed by harmonics of its angle and by noise along its edge."""
    generator = canvas.frame
    y, x = canvas.grid()
    angle = generator.uniform(0, np.pi)
    across, down = x - np.float32(centre[1]), y - np.float32(centre[0])
    along = across * np.float32(np.cos(angle)) + down * np.float32(np.sin(angle))
    beside = down * np.float32(np.cos(angle)) - across * np.float32(np.sin(angle))
    along, beside = along * np.float32(aspect**0.5), beside / np.float32(aspect**0.5)
    distance = np.hypot(along, beside) / np.float32(radius)
    direction = np.arctan2(beside, along)
    edge = np.ones(canvas.size, dtype=np.float32)
    for order in range(2, 7):
        strength = generator.normal(0, roughness / order)
        edge += np.float32(strength) * np.cos(order * direction + np.float32(generator.uniform(0, 2 * np.pi)))
    cell = max(2.0, 0.35 * radius * canvas.unit)
    ragged = smooth_noise(generator, canvas.size, (cell, cell)) * np.float32(0.35 * roughness)
    return Lesion(1 - distance / np.maximum(edge + ragged, 0.35), radius, centre)


def merge_masks(canvas: Canvas, lesions: list[Lesion]) -> NDArray[np.bool_]:
    """The union of all lesions, (H, W)."""
    mask = np.zeros(canvas.size, dtype=bool)
    for lesion in lesions:
        mask |= lesion.mask
    return mask


def _distance(first: tuple[float, float], second: tuple[float, float]) -> float:
    return float(np.hypot(first[0] - second[0], first[1] - second[1]))

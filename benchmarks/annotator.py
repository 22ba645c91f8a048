"""A person who paints, drawn from true masks: a few strokes inside each class and in the background."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dinoseg.teaching.strokes import Stroke

Mask = NDArray[np.bool_]
NEAR = (4.0, 30.0)  # px from the nearest object, of the stroke beside it
LENGTH = 100  # px of a stroke at most
_TRIES = 8  # directions, of which the longest stroke is taken
_WIDEST = 5.0  # px, radius of the brush


def draw_strokes(label: NDArray[np.uint8], *, seed: int) -> list[Stroke]:
    """Strokes on an image: one in each of the two largest objects of each class, and two in the background.

    One of the latter runs beside an object, one anywhere. No stroke leaves what it paints.

    Args:
        label: (H, W) class ids.
        seed: of where they begin and how they bend.
    """
    generator = np.random.default_rng(seed)
    return [
        _draw(pixels, class_id, generator) for pixels, class_id in _list_places(label) if _is_wide(pixels)
    ]


def _list_places(label: NDArray[np.uint8]) -> Iterator[tuple[Mask, int]]:
    for class_id in np.unique(label[label > 0]).tolist():
        parts, _ = ndimage.label(label == class_id)
        sizes = np.bincount(parts.ravel())[1:]
        for part in np.argsort(-sizes, kind="stable")[:2]:
            yield parts == part + 1, class_id
    away = ndimage.distance_transform_edt(label == 0)
    yield (away > NEAR[0]) & (away < NEAR[1]), 0
    yield away > NEAR[1] - 5, 0


def _measure(pixels: Mask) -> NDArray[np.float64]:
    """Distance of each pixel to what is not painted; the border of the image counts as such."""
    found: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(pixels, 1))[1:-1, 1:-1]
    return found


def _is_wide(pixels: Mask) -> bool:
    return bool(_measure(pixels).max() >= 1)


def _draw(pixels: Mask, class_id: int, generator: np.random.Generator) -> Stroke:
    depth = _measure(pixels)
    core = np.argwhere(depth >= max(1.0, 0.4 * depth.max()))
    begin = core[generator.integers(len(core))].astype(float)
    line = max((_walk(begin, depth, generator) for _ in range(_TRIES)), key=len)
    rows, columns = np.rint(line).astype(int).T
    radius = float(np.clip(0.5 * depth[rows, columns].min(), 0.7, _WIDEST))
    return Stroke(
        "brush", class_id, radius=radius, points=tuple((float(x) + 0.5, float(y) + 0.5) for y, x in line)
    )


def _walk(
    place: NDArray[np.float64], depth: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """A bent line that stays inside: (points, 2), rows and columns."""
    least = min(max(1.0, 0.25 * depth.max()), 4.0)
    direction, line = generator.uniform(0, 2 * np.pi), [place]
    for _ in range(LENGTH):
        direction += generator.normal(0, 0.12)
        place = place + np.array([np.sin(direction), np.cos(direction)])
        row, column = np.rint(place).astype(int)
        inside = 0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]
        if not inside or depth[row, column] < least:
            break
        line.append(place)
    return np.array(line)

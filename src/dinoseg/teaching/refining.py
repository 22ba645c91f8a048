"""From scores of cells to a mask of an image: cells that look alike agree, and edges follow the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy.ndimage import uniform_filter

from dinoseg.data.case import Image
from dinoseg.teaching.learner import Floats, Model

TEMPERATURE = 0.1  # of the cosine between two cells
_LONGEST = 1024  # px, of the grid on which edges are followed
_REACH = 0.4  # of a cell
_EDGE = 1e-3  # variance of grey levels (0..1) below which there is no edge


def agree(scores: Floats, maps: NDArray[np.float16]) -> Floats:
    """Every cell takes the mean of the scores of those that look like it.

    Args:
        scores: (cells, C).
        maps: (cells, D).
    """
    cells = maps.astype(np.float32)
    cells /= np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-6)
    alike = np.exp((cells @ cells.T - 1) / TEMPERATURE)
    agreed: Floats = (alike @ scores) / alike.sum(axis=1, keepdims=True)
    return agreed


def to_mask(scores: Floats, model: Model, image: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class ids (H, W) of an image.

    Args:
        scores: (cells, C), of a square grid.
        model: whose classes they are.
        image: that the edges are followed of.
        size: of the mask, that of the image.
    """
    grid = round(len(scores) ** 0.5)
    factor = min(1.0, _LONGEST / max(size))
    inner = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    guide = _resize(image.array.mean(axis=0), inner)
    reach = max(1, round(_REACH * max(inner) / grid))
    layers = [_follow(_resize(layer.reshape(grid, grid), inner), guide, reach) for layer in scores.T]
    best = np.stack([_resize(layer, size) for layer in layers]).argmax(axis=0)
    ids: NDArray[np.uint8] = np.array(model.classes, np.uint8)[best]
    return ids


def _follow(layer: Floats, guide: Floats, reach: int) -> Floats:
    """The guided filter: in each neighbourhood the layer is a linear function of the image."""

    def mean(values: Floats) -> Floats:
        averaged: Floats = uniform_filter(values, 2 * reach + 1, mode="reflect")
        return averaged

    middle, level = mean(guide), mean(layer)
    slope = (mean(guide * layer) - middle * level) / (mean(guide * guide) - middle**2 + _EDGE)
    return mean(slope) * guide + mean(level - slope * middle)


def _resize(layer: Floats, size: tuple[int, int]) -> Floats:
    if layer.shape == size:
        return layer
    picture = PillowImage.fromarray(np.ascontiguousarray(layer, np.float32))
    return np.asarray(picture.resize((size[1], size[0]), PillowImage.Resampling.BILINEAR))

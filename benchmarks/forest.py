"""The peer of teaching: pixels classified by a random forest on Gaussian features, as ilastik does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

Floats = NDArray[np.float32]
SIGMAS = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
TREES = 100
COARSE = 3.0  # px: from here on a scale is computed on half of the pixels along each side, to save time
STRIDE = 2  # px: every other one is predicted, to save time


def describe_coarsely(image: Floats) -> NDArray[np.float16]:
    """As `describe`, of every `STRIDE`th pixel."""
    return np.ascontiguousarray(describe(image)[:, ::STRIDE, ::STRIDE])


def describe(image: Floats) -> NDArray[np.float16]:
    """(C, H, W) in 0..1 -> (F, H, W): colour, edges and texture at seven scales of every channel."""
    found = []
    for channel in image:
        found.append(channel)
        half = ndimage.zoom(
            ndimage.gaussian_filter(channel, 0.7), 0.5, order=1, grid_mode=True, mode="nearest"
        )
        for sigma in SIGMAS:
            if sigma < COARSE:
                found += _describe(channel, sigma)
            else:
                found += [_enlarge(layer, channel.shape) for layer in _describe(half, sigma / 2)]
    return np.stack(found).astype(np.float16)


def _enlarge(layer: Floats, size: tuple[int, ...]) -> Floats:
    rows, columns = (
        np.minimum(np.arange(side) // 2, half - 1) for side, half in zip(size, layer.shape, strict=True)
    )
    return layer[rows[:, None], columns]


def _describe(channel: Floats, sigma: float) -> list[Floats]:
    smooth = ndimage.gaussian_filter(channel, sigma)
    (yy, yx), (_, xx) = _second(smooth)
    gradient = np.gradient(smooth)
    outer = [
        ndimage.gaussian_filter(one * other, sigma / 2 + 0.5)
        for one, other in ((gradient[0], gradient[0]), (gradient[0], gradient[1]), (gradient[1], gradient[1]))
    ]
    return [
        smooth,
        np.hypot(*gradient),
        yy + xx,
        smooth - ndimage.gaussian_filter(channel, 0.66 * sigma),
        *_eigenvalues(yy, yx, xx),
        *_eigenvalues(*outer),
    ]


def _second(smooth: Floats) -> list[list[Floats]]:
    return [list(np.gradient(first)) for first in np.gradient(smooth)]


def _eigenvalues(yy: Floats, yx: Floats, xx: Floats) -> tuple[Floats, Floats]:
    middle, spread = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    return middle + spread, middle - spread


class Forest:
    """Learns from painted pixels, anew each time.

    Args:
        seed: of the trees.
    """

    def __init__(self, seed: int = 0) -> None:
        self._trees = RandomForestClassifier(TREES, random_state=seed, n_jobs=-1, class_weight="balanced")

    def learn(self, features: list[NDArray[np.float16]], canvases: list[NDArray[np.uint8]]) -> None:
        """From images (F, H, W) and what is painted on them (H, W), 255 where nothing is."""
        painted = [canvas != 255 for canvas in canvases]
        pixels = [each[:, where].T for each, where in zip(features, painted, strict=True)]
        values = [canvas[where] for canvas, where in zip(canvases, painted, strict=True)]
        self._trees.fit(np.concatenate(pixels).astype(np.float32), np.concatenate(values))

    def segment(self, features: NDArray[np.float16], size: tuple[int, int]) -> NDArray[np.uint8]:
        """(H, W) class ids of an image, of whose features every `STRIDE`th pixel is given."""
        found = self._trees.predict(features.reshape(len(features), -1).T.astype(np.float32))
        small = found.reshape(features.shape[1:]).astype(np.uint8)
        return small.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)[: size[0], : size[1]]

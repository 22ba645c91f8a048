"""The perceptual hash of a picture: what of it survives another size, format or brightness."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

THUMBNAIL = 32  # side in pixels
FLAT_LEVELS = 2.0  # of 255: a thumbnail that deviates less shows nothing
_FREQUENCIES = 16
HASH_BITS = _FREQUENCIES**2 - 1
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def hash_image(thumbnail: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Perceptual hash of a (32, 32) grey thumbnail: 255 bits.

    They are the signs of the low DCT frequencies, without the mean, against their median.
    """
    cosines = _cosines()
    frequencies = cosines @ thumbnail @ cosines.T  # (32, 32) -> (16, 16)
    without_mean = frequencies.ravel()[1:]
    return np.asarray(without_mean > np.median(without_mean))


def to_grey(array: NDArray[Any]) -> NDArray[Any]:
    """(1 or 3, H, W) -> (H, W), in the range of the input."""
    return array[0] if array.shape[0] == 1 else np.tensordot(_LUMA, array, axes=1)


def shrink(grey: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W) -> (32, 32), by the mean of each part."""
    picture = PillowImage.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    small = picture.resize((THUMBNAIL, THUMBNAIL), PillowImage.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float32]:
    """(16, 32): the first rows of the orthonormal DCT-II."""
    row, column = np.mgrid[:_FREQUENCIES, :THUMBNAIL]
    waves = np.cos(np.pi * row * (2 * column + 1) / (2 * THUMBNAIL)) * np.sqrt(2 / THUMBNAIL)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, dtype=np.float32)

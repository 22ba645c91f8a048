"""Drawn shifts of images and volumes: what another camera or scanner may change, with masks in step.

Each takes intensities and class ids with the image's two axes last, and a generator for what it draws, and
gives new arrays of the same shapes. Images are 0..1, volumes in the units of their file.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage

Array = NDArray[np.float32]
Ids = NDArray[np.uint8]
Shift = Callable[[Array, Ids, np.random.Generator], tuple[Array, Ids]]

BLUR = 0.008  # of the image's side: standard deviation
NOISE = 0.06  # of the range
QUALITY = 15  # of JPEG


def draw_generator(case: str, shift: str) -> np.random.Generator:
    """The same numbers for the same case and shift, whichever model is scored."""
    return np.random.default_rng(zlib.crc32(f"{shift}/{case}".encode()))


def cast_colour(image: Array, ids: Ids, random: np.random.Generator) -> tuple[Array, Ids]:
    """Each of R, G and B times a factor of its own, 0.7 to 1.3; grey (1, H, W) becomes tinted (3, H, W)."""
    coloured = np.repeat(image, 3, axis=0) if len(image) == 1 else image
    return _clip(coloured * random.uniform(0.7, 1.3, (3, 1, 1))), ids


def change_brightness(image: Array, ids: Ids, random: np.random.Generator) -> tuple[Array, Ids]:
    """Darker (0.6 to 0.75 times) or brighter (1.3 to 1.5 times)."""
    darker, brighter = random.uniform(0.6, 0.75), random.uniform(1.3, 1.5)
    return _clip(image * (darker if random.random() < 0.5 else brighter)), ids


def blur(image: Array, ids: Ids, _: np.random.Generator) -> tuple[Array, Ids]:
    """Out of focus: a Gaussian, in the image's plane."""
    sigma = BLUR * float(np.sqrt(image.shape[-2] * image.shape[-1]))
    widths = [0.0] * (image.ndim - 2) + [max(sigma, 0.7)] * 2
    return ndimage.gaussian_filter(image, widths).astype(np.float32), ids


def compress(image: Array, ids: Ids, _: np.random.Generator) -> tuple[Array, Ids]:
    """JPEG of low quality."""
    pixels = np.round(255 * _clip(image)).astype(np.uint8).transpose(1, 2, 0)
    data = io.BytesIO()
    PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        data, "JPEG", quality=QUALITY
    )
    found = np.asarray(PillowImage.open(data), np.float32) / 255
    return found.reshape(pixels.shape).transpose(2, 0, 1), ids


def add_noise(image: Array, ids: Ids, random: np.random.Generator) -> tuple[Array, Ids]:
    """Gaussian noise, relative to the range of the image's own values."""
    low, high = np.percentile(image, (0.5, 99.5))
    noise = random.standard_normal(image.shape, dtype=np.float32)
    return (image + NOISE * float(high - low) * noise).astype(np.float32), ids


def add_grain(image: Array, ids: Ids, random: np.random.Generator) -> tuple[Array, Ids]:
    """The noise of an image, which cannot leave 0..1."""
    noisy, _ = add_noise(image, ids, random)
    return _clip(noisy), ids


def bend_slope(image: Array, ids: Ids, random: np.random.Generator) -> tuple[Array, Ids]:
    """Another slope of intensities: a gamma of 0.5 to 0.7, or 1.4 to 2, between the volume's percentiles."""
    gamma = random.uniform(0.5, 0.7) if random.random() < 0.5 else random.uniform(1.4, 2.0)
    low, high = np.percentile(image, (0.5, 99.5))
    span = max(float(high - low), 1e-6)
    return (low + span * np.clip((image - low) / span, 0, 1) ** gamma).astype(np.float32), ids


def shade(image: Array, ids: Ids, random: np.random.Generator) -> tuple[Array, Ids]:
    """A field of sensitivity across the plane, 0.6 to 1.4 times, as of a coil at one side."""
    height, width = image.shape[-2:]
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    ramp = np.clip(np.cos(angle) * rows + np.sin(angle) * columns, -1, 1)
    low = float(image.min())
    return (low + (image - low) * (1 + 0.4 * ramp)).astype(np.float32), ids


def zoom_out(image: Array, ids: Ids, _: np.random.Generator) -> tuple[Array, Ids]:
    """Everything 0.7 times as large; beyond the border it is mirrored, in the mask too."""
    return zoom(image, ids, 0.7)


def zoom_in(image: Array, ids: Ids, _: np.random.Generator) -> tuple[Array, Ids]:
    """The middle, 1.4 times as large."""
    return zoom(image, ids, 1.4)


def zoom(image: Array, ids: Ids, factor: float) -> tuple[Array, Ids]:
    """Image and mask `factor` times as large about their middle, at the same size."""
    size = (int(image.shape[-2]), int(image.shape[-1]))
    window = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
    return (
        _each_plane(_cut(image, window), lambda plane: _resize(plane, size, PillowImage.Resampling.BILINEAR)),
        _each_plane(_cut(ids, window), lambda plane: _resize(plane, size, PillowImage.Resampling.NEAREST)),
    )


OF_IMAGES: Mapping[str, Shift] = {
    "colour cast": cast_colour,
    "brightness": change_brightness,
    "blur": blur,
    "zoom 0.7": zoom_out,
    "zoom 1.4": zoom_in,
    "jpeg": compress,
    "noise": add_grain,
}
OF_VOLUMES: Mapping[str, Shift] = {
    "slope": bend_slope,
    "shading": shade,
    "blur": blur,
    "zoom 0.7": zoom_out,
    "zoom 1.4": zoom_in,
    "noise": add_noise,
}


def _clip(image: NDArray[Any]) -> Array:
    return np.clip(image, 0, 1).astype(np.float32)


def _cut(array: NDArray[Any], window: tuple[int, int]) -> NDArray[Any]:
    """The window (h, w) about the middle of the last two axes, mirrored where it is larger than they are."""
    for axis, wanted in zip((-2, -1), window, strict=True):
        length = array.shape[axis]
        before = (wanted - length) // 2
        if wanted > length:
            pads = [(0, 0)] * array.ndim
            pads[axis] = (before, wanted - length - before)
            array = np.pad(array, pads, mode="symmetric")
        else:
            array = np.take(array, range(-before, -before + wanted), axis=axis)
    return array


def _each_plane(array: NDArray[Any], change: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    planes = array.reshape(-1, *array.shape[-2:])
    found = np.stack([change(plane) for plane in planes])
    return found.reshape(*array.shape[:-2], *found.shape[-2:])


def _resize(plane: NDArray[Any], size: tuple[int, int], how: PillowImage.Resampling) -> NDArray[Any]:
    picture = PillowImage.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize((size[1], size[0]), how), plane.dtype)

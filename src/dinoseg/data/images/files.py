"""2D images and masks in PNG, JPEG, TIFF and BMP.

How pixels become an `Image` (float32, 0..1):

- 8 bits are divided by 255 and 16 bits by 65535, always: the scale never depends on the content.
  (12-bit content in 16 bits is therefore dark; `check_dataset` says so.)
- Floats must be within 0..1 already, without NaN or infinity.
- Palette and CMYK become RGB; transparent pixels are laid on black; grey stays one channel.
- The EXIF orientation is applied, to images and masks alike.

A mask is read without any scaling: palette files give their indices, 1-bit files 0 and 1,
fully transparent pixels 0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.images import decoding
from dinoseg.errors import FileFormatError, UsageError
from dinoseg.outputs import atomic_path

_PLAIN_MODES = ("L", "RGB", "F", "I", "I;16", "I;16B", "I;16L")
_PACKED_GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow stretches 2- and 4-bit grey to 0..255


@dataclass(frozen=True)
class ImageInfo:
    """What the header of a file says.

    Attributes:
        size: height and width in pixels, after the EXIF orientation.
        mode: Pillow's name of the pixel type ("L", "RGB", "P", "I;16", …), or a NumPy dtype
            for a TIFF that only tifffile reads.
        format: "PNG", "JPEG", "TIFF" or "BMP".
        bytes: size of the file.
        oriented: the file is stored turned or mirrored and its EXIF block says so.
    """

    size: tuple[int, int]
    mode: str
    format: str
    bytes: int
    oriented: bool


def read_image(path: Path) -> Image:
    """Read an image as float32 in 0..1 with one channel (grey) or three (RGB).

    Raises:
        FileFormatError: the file is missing, damaged, has several pages, or holds values
            that are no intensities (NaN, infinity, floats outside 0..1).
    """
    pixels = decoding.decode(path, _convert_image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]  # (H, W) -> (H, W, 1)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise FileFormatError(f"{path} has the shape {pixels.shape}; an image has height and width")
    scaled = _merge_alpha(_scale(pixels, path), path)
    return Image(np.ascontiguousarray(scaled.transpose(2, 0, 1)))  # (H, W, C) -> (C, H, W)


def read_label(path: Path) -> NDArray[Any]:
    """Read a mask as stored, without scaling.

    Returns:
        (H, W) integers (grey values, palette indices, 0 and 1 of a 1-bit file), or (H, W, 3)
        uint8 for a mask in colour.

    Raises:
        FileFormatError: as for `read_image`, or values that are no whole numbers.
    """
    pixels = decoding.decode(path, _convert_label)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1] * (pixels[..., -1:] > 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise FileFormatError(f"{path} has the shape {pixels.shape}; a mask has height and width")
    return _whole_numbers(pixels, path)


def image_info(path: Path) -> ImageInfo:
    """Size, pixel type and format from the header, without decoding.

    Raises:
        FileFormatError: the file is missing or not an image.
    """
    with decoding.reading(path):
        if decoding.is_foreign_tiff(path):
            shape, dtype = decoding.tiff_header(path)
            return ImageInfo(shape, dtype, "TIFF", path.stat().st_size, oriented=False)
        with decoding.open_image(path) as image:
            name = "JPEG" if image.format == "MPO" else str(image.format)
            oriented = decoding.orientation(image) != 1
            size = decoding.header_size(image)
            return ImageInfo(size, image.mode, name, path.stat().st_size, oriented)


def content_digest(path: Path | str) -> str:
    """sha256 of the file's bytes, as 64 hexadecimal digits.

    Raises:
        FileFormatError: the file is missing or cannot be opened.
    """
    path = Path(path)
    with decoding.reading(path), path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def write_mask(path: Path, mask: LabelMap, *, overwrite: bool = False) -> None:
    """Write class ids (H, W) as an 8-bit grey PNG.

    Raises:
        UsageError: `path` does not end in .png.
        OutputError: the file exists already or cannot be written.
    """
    _write_png(path, mask.array, overwrite=overwrite)


def write_image(path: Path, image: Image, *, overwrite: bool = False) -> None:
    """Write an image in 0..1 (one or three channels) as an 8-bit PNG.

    Raises:
        UsageError: `path` does not end in .png, or the image has other than 1 or 3 channels.
        OutputError: the file exists already or cannot be written.
    """
    if image.array.shape[0] not in (1, 3):
        raise UsageError(f"{path}: an image of {image.array.shape[0]} channels; PNG takes 1 or 3")
    pixels = np.rint(image.array.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    _write_png(path, pixels[..., 0] if pixels.shape[2] == 1 else pixels, overwrite=overwrite)


def _write_png(path: Path, pixels: NDArray[np.uint8], *, overwrite: bool) -> None:
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path} must end in .png, the format it is written in")
    with atomic_path(path, overwrite=overwrite) as temporary:
        PillowImage.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG")


def _convert_image(image: PillowImage.Image, _packing: str = "") -> NDArray[Any]:
    if image.mode in (*_PLAIN_MODES, "LA", "RGBA"):
        return np.asarray(image)
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("CMYK", "YCbCr", "RGBX"):
        return np.asarray(image.convert("RGB"))
    if image.mode in ("1", "La", "RGBa"):
        return np.asarray(image.convert({"1": "L", "La": "LA", "RGBa": "RGBA"}[image.mode]))
    raise NotImplementedError(f"is in the colour mode {image.mode}; save it as RGB")


def _convert_label(image: PillowImage.Image, packing: str) -> NDArray[Any]:
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode == "P":
        return np.asarray(image)  # the indices, not the colours
    if image.mode == "PA":
        return np.asarray(image)[..., 0]
    pixels = _convert_image(image)
    step = _PACKED_GREY_STEPS.get(packing)
    return pixels // step if step else pixels


def _scale(pixels: NDArray[Any], path: Path) -> NDArray[np.float32]:
    kind = pixels.dtype.kind
    if kind == "b":
        return pixels.astype(np.float32)
    if kind == "f":
        return _check_floats(pixels, path)
    if kind not in "iu":
        raise FileFormatError(
            f"{path} holds values of type {pixels.dtype}; an image has 8 or 16 bits, or floats"
        )
    top = 255 if pixels.dtype == np.uint8 else 65535
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > top:
        raise FileFormatError(
            f"{path} holds the values {low} to {high}; 16 bits hold 0 to 65535, save it as 16-bit"
        )
    scaled: NDArray[np.float32] = np.divide(pixels, np.float32(top), dtype=np.float32)
    return scaled


def _check_floats(pixels: NDArray[Any], path: Path) -> NDArray[np.float32]:
    bad = int(pixels.size - np.isfinite(pixels).sum())
    if bad:
        raise FileFormatError(
            f"{path} holds NaN or infinite values ({bad} of {pixels.size}); replace them and save it again"
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise FileFormatError(
            f"{path} holds floats from {low:g} to {high:g}; accepted are 0 to 1: rescale, or save as 16-bit"
        )
    return pixels.astype(np.float32)


def _merge_alpha(pixels: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    channels = pixels.shape[2]
    if channels in (1, 3):
        return pixels
    if channels in (2, 4):
        return pixels[..., :-1] * pixels[..., -1:]
    raise FileFormatError(f"{path} has {channels} channels; accepted are grey, RGB, and either with alpha")


def _whole_numbers(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all() or (pixels != np.rint(pixels)).any():
            raise FileFormatError(f"{path} holds values that are no whole numbers; a mask holds class ids")
        return pixels.astype(np.int32)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

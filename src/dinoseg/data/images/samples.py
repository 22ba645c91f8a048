"""`Samples`: what a file of a 2D image or mask stores, whatever its depth and form, before any meaning.

Pillow shows pictures, and changes samples on the way: it stretches 2 and 4 bits to 8, inverts some TIFF
files whose 0 is white and not others, and cuts colours of 16 bits to 8. All that is undone or avoided here,
so that images and masks follow one rule each (see `files`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.images.decoding import open_image, orientation, reading, refuse_pages, upright
from dinoseg.data.images.tiff import is_foreign_tiff, read_tiff, refuse_extra_channels
from dinoseg.errors import FileFormatError

_STORED_MODES = ("L", "LA", "RGB", "RGBA", "F", "I", "I;16", "I;16B", "I;16L")
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_OTHER_COLOURS = ("CMYK", "YCbCr")
_PACKED_TOPS = {"L;2": 3, "L;4": 15}
# 16 bits a channel: Pillow keeps the high bytes. These packings hand out the low ones, or both as channels.
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_GREY_ALPHA_16 = "LA;16B"
_PHOTOMETRIC, _EXTRA_SAMPLES, _CHANNELS, _COMPRESSION = 262, 338, 277, 259
_MOST_DEFLATED = 1040  # bytes from one; deflate makes at most 1032
_TIFF_JPEG = (6, 7, 34892)


@dataclass(frozen=True)
class Samples:
    """The samples of one file, upright.

    Attributes:
        array: (H, W), or (H, W, C) with C = 2 (grey, alpha), 3 (RGB) or 4 (RGBA); of a palette file
            (H, W) indices. In the number type of the file; 1 bit gives 0 and 1, 2 bits 0 to 3.
        top: the sample of full intensity (1, 3, 15, 255, 65535); None for floats.
        white_is_zero: a TIFF that is shown inverted.
        palette: (K, 4) uint8, red, green, blue, alpha of each index; None without a palette.
        colour_space: "CMYK" or "YCbCr" where the file stores these and `array` is what they look like
            in RGB, else "".
    """

    array: NDArray[Any]
    top: int | None
    white_is_zero: bool = False
    palette: NDArray[np.uint8] | None = None
    colour_space: str = ""


def read_samples(path: Path) -> Samples:
    """Read the samples of `path`, turned upright by its EXIF orientation.

    Args:
        path: a PNG, JPEG, TIFF or BMP file with one page.

    Raises:
        FileFormatError: missing, empty, truncated, not an image, several pages, too many pixels, or
            channels that are neither colour nor alpha.
    """
    with reading(path):
        if is_foreign_tiff(path):
            array, white_is_zero, turned = read_tiff(path)
            return Samples(upright(array, turned), _top(array), white_is_zero)
        with open_image(path) as image:
            refuse_pages(path, image)
            _refuse_channels(path, image)
            samples = _load(path, image)
            turned = orientation(image)  # now: Pillow turns a TIFF while it loads it, and drops the tag
        return Samples(**{**vars(samples), "array": upright(samples.array, turned)})


def is_lossy(image: PillowImage.Image) -> bool:
    """Whether an opened image is compressed as JPEG, also inside a TIFF: its values are not as drawn."""
    if image.format == "TIFF":
        return image.tag_v2.get(_COMPRESSION) in _TIFF_JPEG  # type: ignore[attr-defined]
    return image.format in ("JPEG", "MPO")


def read_depth(image: PillowImage.Image) -> int:
    """Bits of one sample of an opened image: 1, 2, 4, 8, 16, or 32."""
    packing = _packing(image)
    if packing in _LOW_BYTES or packing == _GREY_ALPHA_16 or image.mode.startswith("I;16"):
        return 16
    if image.mode in ("I", "F"):
        return 32
    top = _PACKED_TOPS.get(_plain(packing))
    return 1 if image.mode == "1" else top.bit_length() if top else 8


def _load(path: Path, image: PillowImage.Image) -> Samples:
    packing = _packing(image)
    _refuse_hollow(path, image)
    transparent = image.info.get("transparency")
    if packing in _LOW_BYTES or packing == _GREY_ALPHA_16:
        return Samples(_hide(_load_wide(path, image, packing), transparent), 65535)
    image.load()
    if image.mode == "P":
        return Samples(np.asarray(image), 255, palette=_read_palette(image, transparent))
    if image.mode in _OTHER_COLOURS:
        return Samples(np.asarray(image.convert("RGB")), 255, colour_space=image.mode)
    array = _stored(image, packing)
    top = {"1": 1}.get(image.mode) or _PACKED_TOPS.get(_plain(packing)) or _top(array)
    white_is_zero = _is_white_zero(image)
    if white_is_zero and "I" in packing.partition(";")[2]:
        array = (np.uint8(top or 0) - array).astype(np.uint8)  # Pillow inverted this one
    return Samples(_hide(array, transparent, bits=image.mode == "1"), top, white_is_zero)


def _stored(image: PillowImage.Image, packing: str) -> NDArray[Any]:
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in _PREMULTIPLIED:
        return np.asarray(image.convert(_PREMULTIPLIED[image.mode]))
    if image.mode not in _STORED_MODES:
        raise NotImplementedError(f"is in the colour mode {image.mode}; save it as RGB")
    top = _PACKED_TOPS.get(_plain(packing))
    pixels = np.asarray(image)
    return pixels // np.uint8(255 // top) if top else pixels  # Pillow stretched 2 or 4 bits to 0..255


def _plain(packing: str) -> str:
    """The packing without the marks of inverted values and of reversed bits: "L;2IR" -> "L;2"."""
    return packing.rstrip("IR") if ";" in packing else packing


def _load_wide(path: Path, image: PillowImage.Image, packing: str) -> NDArray[np.uint16]:
    """(H, W, C) of a PNG with 16 bits a channel; decoded twice, once for each half of the bits."""
    if packing == _GREY_ALPHA_16:
        halves = _load_as(image, "RGBA").astype(np.uint16)  # high and low byte of grey, then of alpha
        return np.asarray(halves[..., 0::2] * np.uint16(256) + halves[..., 1::2])
    high = _load_as(image, packing).astype(np.uint16)
    with open_image(path) as again:
        return np.asarray(high * np.uint16(256) + _load_as(again, _LOW_BYTES[packing]))


def _load_as(image: PillowImage.Image, packing: str) -> NDArray[np.uint8]:
    holder: Any = image
    holder.tile = [tile._replace(args=packing) for tile in holder.tile]
    image.load()
    return np.asarray(image)


def _read_palette(image: PillowImage.Image, transparent: Any) -> NDArray[np.uint8]:
    palette: Any = image.palette
    channels = len(palette.mode)
    colours = np.frombuffer(bytes(palette.palette), dtype=np.uint8)
    colours = colours[: len(colours) // channels * channels].reshape(-1, channels)
    table = np.full((len(colours), 4), 255, dtype=np.uint8)
    table[:, : min(channels, 4)] = colours
    if isinstance(transparent, bytes):  # the alpha of the first entries
        table[: len(transparent), 3] = np.frombuffer(transparent, dtype=np.uint8)[: len(table)]
    elif isinstance(transparent, int) and transparent < len(table):
        table[transparent, 3] = 0
    return table


def _hide(array: NDArray[Any], transparent: Any, *, bits: bool = False) -> NDArray[Any]:
    """Make the pixels of the one colour 0 that a PNG without alpha declares as transparent."""
    if not isinstance(transparent, int | tuple):
        return array
    value = np.asarray(bool(transparent) if bits else transparent)
    same = (array == value).all(axis=-1) if array.ndim == 3 else array == value
    return np.where(same[..., None] if array.ndim == 3 else same, array.dtype.type(0), array)


def _top(array: NDArray[Any]) -> int | None:
    if array.dtype.kind == "b":
        return 1
    return None if array.dtype.kind not in "iu" else 255 if array.dtype == np.uint8 else 65535


def _packing(image: PillowImage.Image) -> str:
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _refuse_hollow(path: Path, image: PillowImage.Image) -> None:
    """Raise where a PNG cannot hold as many pixels as it promises; Pillow would make the missing ones 0."""
    bits = image.width * image.height * read_depth(image) * len(image.getbands())
    if image.format == "PNG" and bits / 8 > _MOST_DEFLATED * path.stat().st_size:
        raise FileFormatError(f"{path} is truncated (too short for its size); copy it again from its source")


def _is_white_zero(image: PillowImage.Image) -> bool:
    return image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]


def _refuse_channels(path: Path, image: PillowImage.Image) -> None:
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        refuse_extra_channels(path, int(tags.get(_CHANNELS, 1)), tags.get(_EXTRA_SAMPLES, ()))
    elif image.mode == "RGBX":
        raise FileFormatError(f"{path} has a fourth channel that is no alpha; save it as RGB")

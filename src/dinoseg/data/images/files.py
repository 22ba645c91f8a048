"""2D images and masks in PNG, JPEG, TIFF and BMP: one rule for every depth and form.

How samples become an `Image` (float32, 0..1):

- A sample is divided by the largest that its depth can hold (1, 3, 15, 255, 65535), always: the scale never
  depends on the content. (12-bit content in 16 bits is therefore dark; `check_dataset` says so.)
- Floats must be within 0..1 already, without NaN or infinity.
- A TIFF whose 0 is white is inverted, at every depth, as it is shown.
- Palettes become their colours, CMYK becomes RGB; transparent pixels are laid on black; grey stays grey.
- The EXIF orientation is applied, to images and masks alike.

A mask is its samples as stored, at every depth: nothing is scaled or inverted. Palette files give their
indices, or their colours where the masks of a data set ask for them (see `labels.palettes`). Fully
transparent pixels are 0. What holds no such samples (CMYK, fractions, a shape that only the alpha channel
shows) is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.images import decoding
from dinoseg.data.images.samples import Samples, is_lossy, read_depth, read_samples
from dinoseg.data.images.tiff import is_foreign_tiff, tiff_header
from dinoseg.errors import FileFormatError, UsageError
from dinoseg.outputs import atomic_path

PaletteReading = Literal["indices", "colours"]


@dataclass(frozen=True)
class ImageInfo:
    """What the header of a file says.

    Attributes:
        size: height and width in pixels, after the EXIF orientation.
        mode: Pillow's name of the pixel type ("L", "RGB", "P", "I;16", …), or a NumPy dtype
            for a TIFF that only tifffile reads.
        format: "PNG", "JPEG", "TIFF" or "BMP".
        bytes: size of the file.
        orientation: 1 to 8, as EXIF counts; 1 is upright.
        lossy: compressed as JPEG, so that values are only near what was drawn.
        bits: of one sample, 1 to 64.
    """

    size: tuple[int, int]
    mode: str
    format: str
    bytes: int
    orientation: int = 1
    lossy: bool = False
    bits: int = 8

    @property
    def oriented(self) -> bool:
        """Whether the file is stored turned or mirrored and its EXIF block says so."""
        return self.orientation != 1


def read_image(path: Path) -> Image:
    """Read an image as float32 in 0..1 with one channel (grey) or three (RGB).

    Raises:
        FileFormatError: the file is missing, damaged, has several pages, or holds values
            that are no intensities (NaN, infinity, floats outside 0..1).
    """
    samples = read_samples(path)
    if samples.palette is not None:
        return _show_palette(samples.array, _find_colours(samples, path))
    pixels = samples.array
    if pixels.ndim == 2:
        pixels = pixels[..., None]  # (H, W) -> (H, W, 1)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise FileFormatError(f"{path} has the shape {pixels.shape}; an image has height and width")
    scaled = _merge_alpha(_scale(pixels, samples, path), path)
    return Image(np.ascontiguousarray(scaled.transpose(2, 0, 1)))  # (H, W, C) -> (C, H, W)


def read_label(path: Path, *, palette: PaletteReading = "indices") -> NDArray[Any]:
    """Read a mask as stored, without scaling.

    Args:
        path: the file.
        palette: what a palette file gives.

    Returns:
        (H, W) integers (grey values, palette indices, 0 and 1 of a 1-bit file), or (H, W, 3)
        unsigned integers for a mask in colour.

    Raises:
        FileFormatError: as for `read_image`, or samples that are no values of classes: fractions, CMYK,
            a shape that stands in the alpha channel only.
    """
    samples = read_samples(path)
    if samples.colour_space:
        raise FileFormatError(
            f"{path} is in the colour mode {samples.colour_space}; save the mask as grey or RGB"
        )
    pixels = samples.array
    if samples.palette is not None:
        if palette == "indices":
            return _hide_transparent(samples)
        colours = _find_colours(samples, path)
        pixels = (colours[:, :3] * (colours[:, 3:] > 0))[pixels]
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = _drop_alpha(pixels, path)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise FileFormatError(f"{path} has the shape {pixels.shape}; a mask has height and width")
    return _whole_numbers(pixels, path)


def read_palette(path: Path) -> dict[int, int | None] | None:
    """The colours that the indices of a palette file stand for; None for a file without a palette.

    Returns:
        Every index that occurs -> 0xRRGGBB, 0 where it is fully transparent, or None where the palette
        ends before it.

    Raises:
        FileFormatError: as for `read_label`.
    """
    samples = read_samples(path)
    if samples.palette is None:
        return None
    return {index: _colour_of(samples.palette, index) for index in np.unique(samples.array).tolist()}


def image_info(path: Path) -> ImageInfo:
    """Size, pixel type and format from the header, without decoding.

    Raises:
        FileFormatError: the file is missing or not an image.
    """
    with decoding.reading(path):
        if is_foreign_tiff(path):
            shape, dtype, turned = tiff_header(path)
            bits = np.dtype(dtype).itemsize * 8
            return ImageInfo(shape, dtype, "TIFF", path.stat().st_size, turned, bits=bits)
        with decoding.open_image(path) as image:
            name = "JPEG" if image.format == "MPO" else str(image.format)
            turned = decoding.orientation(image)
            size = decoding.header_size(image)
            mode, bits, lossy = image.mode, read_depth(image), is_lossy(image)
        return ImageInfo(size, mode, name, path.stat().st_size, turned, lossy, bits)


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


def _scale(pixels: NDArray[Any], samples: Samples, path: Path) -> NDArray[np.float32]:
    if pixels.dtype.kind == "f":
        floats = _check_floats(pixels, path)
        return np.float32(1) - floats if samples.white_is_zero else floats
    if pixels.dtype.kind not in "biu" or samples.top is None:
        raise FileFormatError(
            f"{path} holds values of type {pixels.dtype}; an image has 8 or 16 bits, or floats"
        )
    low, high, top = int(pixels.min()), int(pixels.max()), samples.top
    if low < 0 or high > top:
        raise FileFormatError(
            f"{path} holds the values {low} to {high}; 16 bits hold 0 to 65535, save it as 16-bit"
        )
    shown = top - pixels.astype(np.int32) if samples.white_is_zero else pixels
    scaled: NDArray[np.float32] = np.divide(shown, np.float32(top), dtype=np.float32)
    return scaled


def _find_colours(samples: Samples, path: Path) -> NDArray[np.uint8]:
    """(K, 4): the palette, which must have a colour for every index."""
    palette = np.zeros((0, 4), np.uint8) if samples.palette is None else samples.palette
    last = int(samples.array.max(initial=0))
    if last >= len(palette):
        raise FileFormatError(
            f"{path} uses the palette index {last}, but its palette has {len(palette)} colours; "
            "save it again as RGB"
        )
    return palette


def _show_palette(indices: NDArray[Any], colours: NDArray[np.uint8]) -> Image:
    """The colours of a palette file, laid on black; channel by channel, which takes a third of the memory."""
    shown = colours[:, :3] / np.float32(255) * (colours[:, 3:] / np.float32(255))
    return Image(np.stack([np.take(shown[:, channel].copy(), indices) for channel in range(3)]))


def _colour_of(palette: NDArray[np.uint8], index: int) -> int | None:
    if index >= len(palette):
        return None
    red, green, blue, alpha = palette[index].tolist()
    return int(red << 16 | green << 8 | blue) if alpha else 0


def _hide_transparent(samples: Samples) -> NDArray[Any]:
    """The indices, 0 where their colour is fully transparent."""
    table = np.arange(256, dtype=np.uint8)
    if samples.palette is not None:
        table[np.flatnonzero(samples.palette[:, 3] == 0)] = 0
    hidden: NDArray[Any] = table[samples.array]
    return hidden


def _drop_alpha(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The values, 0 where they are fully transparent; refuses a shape that only the alpha channel shows."""
    values, opaque = pixels[..., :-1], pixels[..., -1:] > 0
    shown = values * opaque
    if not shown.any() and (values.any() or not (opaque.all() or not opaque.any())):
        raise FileFormatError(
            f"{path} shows nothing but black and transparency, so that its shape may stand in the alpha "
            "channel; save the mask as grey, 0 and 255"
        )
    return shown


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
        if not pixels[..., -1].any() and pixels.any():
            raise FileFormatError(f"{path} is transparent everywhere; save it without its alpha channel")
        return pixels[..., :-1] * pixels[..., -1:]
    raise FileFormatError(f"{path} has {channels} channels; accepted are grey, RGB, and either with alpha")


def _whole_numbers(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind == "f":
        if (
            not np.isfinite(pixels).all()
            or (pixels != np.rint(pixels)).any()
            or float(np.abs(pixels).max()) >= 2**31
        ):
            raise FileFormatError(
                f"{path} holds values that are no whole numbers ({_describe_range(pixels)}); a mask holds "
                "class ids: are these probabilities? Save what is from 0.5 up as 1"
            )
        return pixels.astype(np.int32)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _describe_range(pixels: NDArray[Any]) -> str:
    finite = pixels[np.isfinite(pixels)]
    return f"{finite.min():g} to {finite.max():g}" if finite.size else "none is finite"

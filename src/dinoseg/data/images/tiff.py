"""TIFF files that Pillow cannot read, or would change without a word; tifffile reads them.

Pillow would cut 16-bit colours to 8 bits and take signed bytes for unsigned ones.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from dinoseg.data.images.decoding import open_image
from dinoseg.errors import FileFormatError

# Damage that tifffile warns of in a log is an error of ours, or does not matter.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS, _SAMPLE_FORMAT = 258, 339
_SIGNED = 2
_NO_ALPHA = 0  # "unspecified": any further measurement, such as near infrared
_WIDE_MODES = ("I;16", "I;16B", "I", "F")


def is_foreign_tiff(path: Path) -> bool:
    """Whether `path` is a TIFF that Pillow cannot read, or not without loss."""
    with path.open("rb") as file:
        if file.read(4) not in _MAGIC:
            return False
    try:
        with open_image(path) as image:
            tags = image.tag_v2  # type: ignore[attr-defined]
            bits = tags.get(_BITS, (8,))
            signed_bytes = max(bits) == 8 and _SIGNED in tags.get(_SAMPLE_FORMAT, (1,))
            return bool(signed_bytes or (image.mode not in _WIDE_MODES and max(bits) > 8))
    except UnidentifiedImageError:
        return True


def tiff_header(path: Path) -> tuple[tuple[int, int], str, int]:
    """(Height, width) once upright, the NumPy type and the orientation (1 to 8) of a foreign TIFF."""
    import tifffile  # here and below: most images are no TIFF

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        height, width = int(page.imagelength), int(page.imagewidth)
        turned = _orientation(page)
        return ((width, height) if turned >= 5 else (height, width)), str(page.dtype), turned


def read_tiff(path: Path) -> tuple[NDArray[Any], bool, int]:
    """Samples (H, W) or (H, W, C) as stored, whether 0 is white, and the orientation of a foreign TIFF.

    Raises:
        FileFormatError: several pages, or a channel that is neither colour nor alpha.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.pages) > 1:
            raise FileFormatError(f"{path} holds {len(file.pages)} pages; save each one as its own file")
        page: Any = file.pages[0]
        pixels = int(page.imagelength) * int(page.imagewidth)
        if pixels > (PillowImage.MAX_IMAGE_PIXELS or pixels):
            raise PillowImage.DecompressionBombError
        refuse_extra_channels(path, int(page.samplesperpixel), [int(kind) for kind in page.extrasamples])
        array: NDArray[Any] = np.asarray(page.asarray())
        if array.ndim == 3 and page.axes.startswith("S"):
            array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
        return array, int(page.photometric) == 0, _orientation(page)


def refuse_extra_channels(path: Path, channels: int, extra: Sequence[int]) -> None:
    """Raise a FileFormatError if a TIFF has channels beside grey or RGB that are no alpha.

    Args:
        path: the file.
        channels: how many there are.
        extra: what the tag ExtraSamples says of those beyond grey or RGB.
    """
    if len(extra) > 1 or _NO_ALPHA in extra:
        raise FileFormatError(
            f"{path} has {channels} channels; accepted are grey, RGB, and either with alpha "
            "(the others are not marked as alpha: save what you need as grey or RGB)"
        )


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    value = int(tag.value) if tag else 1
    return value if 1 <= value <= 8 else 1

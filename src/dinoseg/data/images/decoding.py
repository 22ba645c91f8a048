"""From a file to upright pixels as stored; every failure becomes one line that names file and reason.

Pillow decodes, tifffile takes the TIFF files that Pillow cannot read or would silently cut to
8 bits (16-bit colour, floats of other widths). What a file is, its first bytes say; its
extension is not trusted.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from dinoseg.errors import FileFormatError
from dinoseg.streams import ignoring_warnings

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

_ORIENTATION = 0x0112
_TIFF_WIDTH = 256
_TIFF_HEIGHT = 257
_TIFF_BITS = 258
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FOREIGN_MAGIC = {
    b"GIF8": "a GIF image",
    b"RIFF": "a WebP or other RIFF file",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file (volumes end in .nii.gz)",
    b"\x89HDF": "an HDF5 file",
    b"<": "text (HTML, XML or SVG)",
}

# Makes an array of a loaded image; the second argument is how the file packs its pixels ("L;4").
Convert = Callable[[PillowImage.Image, str], NDArray[Any]]


def decode(path: Path, convert: Convert) -> NDArray[Any]:
    """Read the pixels of `path`, turned upright by its EXIF orientation.

    A damaged EXIF block counts as no orientation, as in the viewers that people draw masks with.

    Args:
        path: a PNG, JPEG, TIFF or BMP file with one page.
        convert: makes an array of a loaded Pillow image of any mode and its packing.

    Returns:
        (H, W) or (H, W, C) in the dtype of the file.

    Raises:
        FileFormatError: missing, empty, truncated, not an image, several pages, or too many pixels.
    """
    with reading(path):
        if is_foreign_tiff(path):
            return _decode_tiff(path)
        with open_image(path) as image:
            _refuse_pages(path, image)
            packing = _packing(image)
            image.load()
            return upright(convert(image, packing), orientation(image))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Check that `path` is a file with content; turn every exception of the block into a FileFormatError."""
    _refuse_non_file(path)
    try:
        with ignoring_warnings():  # Pillow warns about damaged metadata
            yield
    except FileFormatError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise FileFormatError(f"{path} {_explain(path, error)}") from error


def _refuse_bomb(image: PillowImage.Image) -> None:
    # Pillow relies on warning filters, which are shared by all reader threads.
    limit = PillowImage.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise PillowImage.DecompressionBombError(f"{image.width * image.height} pixels, limit {limit}")


@contextmanager
def open_image(path: Path) -> Iterator[PillowImage.Image]:
    """Open `path` with Pillow without decoding it; only the formats of `FORMATS`."""
    # Given a name, Pillow memory-maps an uncompressed TIFF and forgets its orientation.
    with path.open("rb") as file, PillowImage.open(file, formats=FORMATS) as image:
        _refuse_bomb(image)
        yield image


def orientation(image: PillowImage.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none, or the block is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def is_foreign_tiff(path: Path) -> bool:
    """Whether `path` is a TIFF that Pillow cannot read, or would cut from 16 bits to 8."""
    with path.open("rb") as file:
        if file.read(4) not in _TIFF_MAGIC:
            return False
    try:
        with open_image(path) as image:
            bits = image.tag_v2.get(_TIFF_BITS, (8,))  # type: ignore[attr-defined]
            return bool(image.mode not in ("I;16", "I;16B", "I", "F") and max(bits) > 8)
    except UnidentifiedImageError:
        return True


def tiff_header(path: Path) -> tuple[tuple[int, int], str]:
    """(Height, width) and the NumPy type of a TIFF that only tifffile reads."""
    import tifffile  # here and below: most images are no TIFF

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        height, width = int(page.imagelength), int(page.imagewidth)
        turned = _tiff_orientation(page) >= 5
        return ((width, height) if turned else (height, width)), str(page.dtype)


def header_size(image: PillowImage.Image) -> tuple[int, int]:
    """(Height, width) of an opened image once it is upright."""
    width, height = image.size
    if image.format == "TIFF":  # some versions of Pillow turn the size of a TIFF already, others don't
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
    return (width, height) if orientation(image) >= 5 else (height, width)


def _packing(image: PillowImage.Image) -> str:
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _decode_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.pages) > 1:
            raise FileFormatError(f"{path} holds {len(file.pages)} pages; save each one as its own file")
        page = file.pages[0]
        pixels = int(page.imagelength) * int(page.imagewidth)
        if pixels > (PillowImage.MAX_IMAGE_PIXELS or pixels):
            raise PillowImage.DecompressionBombError
        array = page.asarray()
        if array.ndim == 3 and page.axes.startswith("S"):
            array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
        return upright(array, _tiff_orientation(page))


def _tiff_orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag else 1


def upright(array: NDArray[Any], turned: int) -> NDArray[Any]:
    """Undo the EXIF orientation `turned` (1 to 8) of (H, W) or (H, W, C)."""
    if turned in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if turned in (2, 3, 6, 7):
        array = array[:, ::-1]
    if turned in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def _refuse_non_file(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise FileFormatError(f"{path} {explain_access(path, error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise FileFormatError(f"{path} is a folder, not an image file")
    if not stat.S_ISREG(status.st_mode):
        raise FileFormatError(f"{path} is not a regular file")
    if status.st_size == 0:
        raise FileFormatError(f"{path} is empty (0 bytes); copy it again from its source")


def _refuse_pages(path: Path, image: PillowImage.Image) -> None:
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # the other pictures of an MPO are previews
        raise FileFormatError(f"{path} holds {pages} pages or frames; save each one as its own file")


def explain_access(path: Path, error: OSError) -> str:
    """Why a file or folder cannot be opened, as the end of a sentence that begins with its name."""
    if error.errno == errno.ELOOP:
        return "is a symbolic link that leads back to itself"
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return "is a link to a file that does not exist"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, NotADirectoryError):
        return "is not a folder"
    if isinstance(error, PermissionError):
        return "cannot be opened: permission denied"
    return f"cannot be opened: {error.strerror or error}"


def _explain(path: Path, error: Exception) -> str:
    bombs = (PillowImage.DecompressionBombWarning, PillowImage.DecompressionBombError)
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, bombs):
        return f"has more than {PillowImage.MAX_IMAGE_PIXELS:,} pixels; cut it into smaller images"
    if isinstance(error, UnidentifiedImageError):
        return f"is {_guess_content(path)}, not a PNG, JPEG, TIFF or BMP image"
    if isinstance(error, PermissionError):
        return explain_access(path, error)
    if isinstance(error, NotImplementedError):
        return text
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"is truncated ({text}); copy it again from its source"
    return f"cannot be decoded ({text}); is it damaged?"


def _guess_content(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(256)
    for magic, name in _FOREIGN_MAGIC.items():
        if head.startswith(magic):
            return name
    if b"\0" not in head and (head.isascii() or head.decode("utf-8", errors="replace").isprintable()):
        return "text"
    return "of an unknown or damaged format"

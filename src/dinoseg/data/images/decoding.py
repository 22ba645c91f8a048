"""Opening a file with Pillow; every failure becomes one line that names file and reason.

What a file is, its first bytes say; its extension is not trusted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
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
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})  # where a PNG may say how it is turned
_FOREIGN_MAGIC = {
    b"GIF8": "a GIF image",
    b"RIFF": "a WebP or other RIFF file",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file (volumes end in .nii.gz)",
    b"\x89HDF": "an HDF5 file",
    b"<": "text (HTML, XML or SVG)",
}


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
    """EXIF orientation 1 to 8; 1 where there is none, or the block is damaged.

    A damaged EXIF block counts as none, as in the viewers that people draw masks with.
    """
    try:
        if image.format == "PNG" and not _has_metadata(image):
            return 1  # Pillow would decode the whole file to learn that
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def header_size(image: PillowImage.Image) -> tuple[int, int]:
    """(Height, width) of an opened image once it is upright."""
    width, height = image.size
    if image.format == "TIFF":  # some versions of Pillow turn the size of a TIFF already, others don't
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])
    return (width, height) if orientation(image) >= 5 else (height, width)


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


def _has_metadata(image: Any) -> bool:
    file = image.fp
    if file is None:  # the file was read to its end
        return True
    place = file.tell()
    try:
        file.seek(len(_PNG_MAGIC))
        while len(head := file.read(8)) == 8:
            if head[4:] in _PNG_METADATA:
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)  # the content and its check sum
        return False
    finally:
        file.seek(place)


def refuse_pages(path: Path, image: PillowImage.Image) -> None:
    """Raise a FileFormatError if an opened image has more than one page or frame."""
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

"""Writers of files that common libraries read differently: deep colours, packed bits, palettes, EXIF."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

GREY_ALPHA, RGB, RGBA = 4, 2, 6
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_deep_png(
    path: Path,
    pixels: NDArray[np.uint16],
    kind: int,
    *,
    interlaced: bool = False,
    transparent: tuple[int, ...] = (),
) -> Path:
    """A PNG with 16 bits in each of (H, W, C); `transparent` is a tRNS chunk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape[:2]
    passes = [pixels[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [pixels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes if part.size for row in part)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, int(interlaced))
    extra = _chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    body = _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def write_packed_tiff(path: Path, pixels: NDArray[np.uint8], bits: int, *, white_is_zero: bool) -> Path:
    """A TIFF with 1, 2, 4 or 8 bits a pixel, without compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    per = 8 // bits
    height, width = pixels.shape
    packed = np.zeros((height, -(-width // per)), np.uint8)
    for column in range(width):
        packed[:, column // per] |= (pixels[:, column] << (8 - bits * (column % per + 1))).astype(np.uint8)
    data = packed.tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, int(not white_is_zero))]
    tags += [(273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory)
    return path


def write_palette(
    path: Path, indices: NDArray[np.uint8], colours: list[tuple[int, int, int]], **options: Any
) -> Path:
    """A palette PNG with these indices and colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PillowImage.fromarray(indices, mode="L").copy()
    image.putpalette([channel for colour in colours for channel in colour])
    image.save(path, **options)
    return path


def save_turned(path: Path, pixels: NDArray[Any], orientation: int) -> Path:
    """A picture whose EXIF block says that it is stored turned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = PillowImage.Exif()
    exif[274] = orientation
    PillowImage.fromarray(pixels).save(path, exif=exif)
    return path

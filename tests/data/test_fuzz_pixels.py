"""Mutated image files: a value or one line that names the file, never a crash, a hang, or much memory."""

from __future__ import annotations

import random
import resource
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinoseg.data.images import image_info, read_image, read_label, read_palette
from dinoseg.errors import FileFormatError
from tests.data.odd_files import (
    GREY_ALPHA,
    RGB,
    save_turned,
    write_deep_png,
    write_packed_tiff,
    write_palette,
)
from tests.data.samples import blob, picture, save

SECONDS = 10
MEGABYTES = 2048
READERS: tuple[Callable[[Path], object], ...] = (
    read_image,
    read_label,
    lambda path: read_label(path, palette="colours"),
    read_palette,
    image_info,
)


def _write_valid(folder: Path) -> list[Path]:
    rgb, bits = picture(0, (40, 48)), PillowImage.fromarray(blob() > 0)
    deep = np.random.default_rng(0).integers(0, 65536, (20, 20, 3), dtype=np.uint16)
    for suffix in ("png", "jpg", "tif", "bmp"):
        save(folder / f"a.{suffix}", rgb)
        bits.save(folder / f"b.{suffix}")
    for name in ("group4", "tiff_lzw", "jpeg", "tiff_deflate"):
        (bits if name == "group4" else PillowImage.fromarray(rgb)).save(
            folder / f"{name}.tif", compression=name
        )
    write_palette(folder / "p.png", blob(value=1), [(0, 0, 0), (255, 0, 0)], transparency=1)
    write_deep_png(folder / "d.png", deep, RGB)
    write_deep_png(folder / "l.png", deep[..., :2], GREY_ALPHA, interlaced=True)
    tifffile.imwrite(folder / "w.tif", deep, photometric="rgb")
    tifffile.imwrite(folder / "h.tif", np.zeros((20, 20), np.float16))
    save_turned(folder / "e.jpg", rgb, 6)
    save_turned(folder / "e.png", rgb, 6)
    write_packed_tiff(folder / "k.tif", np.ones((9, 9), np.uint8), 4, white_is_zero=True)
    return sorted(folder.iterdir())


def _mutate(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        place = chance.randrange(len(changed))
        kind = chance.random()
        if kind < 0.6:
            changed[place] = chance.randrange(256)
        elif kind < 0.7:
            del changed[place : place + chance.randrange(1, 40)]
        elif kind < 0.8:
            changed[place:place] = chance.randbytes(chance.randrange(1, 9))
        elif kind < 0.9:
            del changed[max(place, 4) :]
        else:
            place = chance.randrange(min(len(changed), 200))
            changed[place : place + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        changed = changed or bytearray(b"x")
    return bytes(changed)


def _mend_check_sums(content: bytes) -> bytes:
    """A PNG whose chunks are believed, so that damage gets past the check sums."""
    mended, place = content[:8], 8
    while place + 8 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : end]
        mended += content[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place = end + 4
    return mended


def _mutations(folder: Path, seed: int) -> Iterator[Path]:
    chance = random.Random(seed)
    valid = [(path.read_bytes(), path.suffix) for path in _write_valid(folder)]
    while True:
        content, suffix = chance.choice(valid)
        content = _mutate(content, chance)
        if suffix == ".png" and chance.random() < 0.5:
            content = _mend_check_sums(content)
        path = folder / f"mutated{suffix}"
        path.write_bytes(content)
        yield path


def _read_all(path: Path) -> None:
    for read in READERS:
        start, message = time.monotonic(), path.name
        try:
            read(path)
        except FileFormatError as error:
            message = str(error)
        assert "\n" not in message
        assert path.name in message
        assert time.monotonic() - start < SECONDS


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_some_mutations(tmp_path: Path) -> None:
    for _, path in zip(range(300), _mutations(tmp_path, 0), strict=False):
        _read_all(path)


@pytest.mark.slow
def test_mutations_for_five_minutes(tmp_path: Path) -> None:
    end = time.monotonic() + 300
    for path in _mutations(tmp_path, 1):
        _read_all(path)
        if time.monotonic() > end:
            break
    assert _peak_megabytes() < MEGABYTES

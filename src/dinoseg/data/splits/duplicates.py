"""Images that are the same, or nearly: what must not stand in two splits.

Exact: the same bytes, or the same decoded pixels (a copy in another format).
Near: a perceptual hash of 255 bits (signs of the low DCT frequencies of a 32×32 grey thumbnail
against their median) that differs in at most `NEAR_BITS`. The threshold comes from real data:
consecutive frames of thyroid videos differ by 22 bits (median), the repeated frames of Kvasir-SEG
and fundus photographs of one eye by 2 to 28; the most alike different lesions of Kvasir-SEG
and ISIC differ by 38 and 44.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.images import content_digest, image_info, read_image
from dinoseg.data.images.decoding import open_image, orientation, reading, upright
from dinoseg.data.images.hashing import FLAT_LEVELS, HASH_BITS, THUMBNAIL, hash_image, shrink, to_grey
from dinoseg.data.memory import FileMemory
from dinoseg.progress import Progress, Silent

NEAR_BITS = 32
_COARSE = 8
_COARSE_LEVELS = 3.0
_BLOCK = 1024  # rows compared with all images at once, ...
_BLOCK_PAIRS = 2**22  # ... fewer where there are many images: memory stays as it is


@dataclass(frozen=True)
class Fingerprint:
    """What two images are compared by.

    Attributes:
        id: of the case.
        path: the image.
        size: height and width.
        digest: sha256 of the file.
        coarse: (64,) grey levels 0..255 of an 8×8 thumbnail.
        bits: (255,) the perceptual hash.
        flat: the image shows nothing, so that its hash means nothing.
    """

    id: str
    path: Path
    size: tuple[int, int]
    digest: str
    coarse: NDArray[np.float32] = field(repr=False)
    bits: NDArray[np.bool_] = field(repr=False)
    flat: bool


@dataclass(frozen=True)
class DuplicatePair:
    """Two cases that show the same; `bits` is how many of 255 hash bits differ."""

    first: str
    second: str
    bits: int


def read_fingerprints(
    cases: Sequence[CaseFiles], *, progress: Progress | None = None
) -> tuple[Fingerprint, ...]:
    """Fingerprint the images of `cases` (about a millisecond for a JPEG of common size).

    Raises:
        FileFormatError: an image cannot be read.
    """
    steps = (progress or Silent()).track(cases, total=len(cases), label="Comparing images")
    with FileMemory("fingerprint 1", _read_fingerprint, pack=_pack, unpack=_unpack) as memory:
        return tuple(replace(memory.find(case.image), id=case.id, path=case.image) for case in steps)


def read_fingerprint(case_id: str, path: Path) -> Fingerprint:
    """Fingerprint one image.

    Raises:
        FileFormatError: it cannot be read.
    """
    info = image_info(path)
    thumbnail = _thumbnail_jpeg(path) if info.format == "JPEG" else _thumbnail_any(path)
    side = THUMBNAIL // _COARSE
    coarse = thumbnail.reshape(_COARSE, side, _COARSE, side).mean(axis=(1, 3)).ravel()
    flat = bool(thumbnail.std() < FLAT_LEVELS)
    return Fingerprint(case_id, path, info.size, content_digest(path), coarse, hash_image(thumbnail), flat)


def _read_fingerprint(path: Path) -> Fingerprint:
    return read_fingerprint("", path)


def _pack(print_: Fingerprint) -> list[Any]:
    coarse, bits = print_.coarse.astype("<f4").tobytes(), np.packbits(print_.bits).tobytes()
    return [*print_.size, print_.digest, coarse.hex(), bits.hex(), print_.flat]


def _unpack(path: Path, packed: Any) -> Fingerprint:
    height, width, digest, coarse, bits, flat = packed
    levels = np.frombuffer(bytes.fromhex(coarse), dtype="<f4").astype(np.float32)
    hash_bits = np.unpackbits(np.frombuffer(bytes.fromhex(bits), dtype=np.uint8), count=HASH_BITS)
    return Fingerprint("", path, (height, width), digest, levels, hash_bits.astype(bool), flat)


def find_exact(prints: Sequence[Fingerprint], parts: Mapping[str, str]) -> tuple[DuplicatePair, ...]:
    """Pairs with the same bytes or the same pixels whose cases are in different parts.

    Args:
        prints: the images to compare.
        parts: case id -> split, or group; pairs within one part are not reported.
    """
    pixels: dict[Path, str] = {}
    found = []
    for first, second in _candidates(prints, parts):
        same = first.digest == second.digest or (
            first.size == second.size
            and _digest_pixels(first.path, pixels) == _digest_pixels(second.path, pixels)
        )
        if same:
            found.append(DuplicatePair(first.id, second.id, 0))
    return tuple(found)


def find_near(
    prints: Sequence[Fingerprint], parts: Mapping[str, str], *, limit: int = NEAR_BITS
) -> tuple[DuplicatePair, ...]:
    """Pairs that differ by at most `limit` of 255 bits, most alike first; exact ones are among them."""
    shown = [print_ for print_ in prints if not print_.flat]
    if not shown:
        return ()
    signs = np.stack([print_.bits for print_ in shown]).astype(np.float32) * 2 - 1
    part = _number_parts(shown, parts)
    pairs = []
    for start, block in _list_blocks(len(shown)):
        distance = (signs.shape[1] - signs[block] @ signs.T) / 2
        for row, column in _pick(distance <= limit, part, start):
            pair = DuplicatePair(shown[row].id, shown[column].id, round(float(distance[row - start, column])))
            pairs.append(pair)
    return tuple(sorted(pairs, key=lambda pair: pair.bits))


def _candidates(
    prints: Sequence[Fingerprint], parts: Mapping[str, str]
) -> Iterator[tuple[Fingerprint, Fingerprint]]:
    """Pairs in different parts whose 8×8 thumbnails agree, as those of equal pixels must."""
    if not prints:
        return
    coarse = np.stack([print_.coarse for print_ in prints]).astype(np.float64)
    squares = (coarse**2).sum(axis=1)
    part = _number_parts(prints, parts)
    for start, block in _list_blocks(len(prints)):
        squared = squares[block, None] + squares - 2 * coarse[block] @ coarse.T
        for row, column in _pick(squared / coarse.shape[1] <= _COARSE_LEVELS**2, part, start):
            yield prints[row], prints[column]


def _list_blocks(count: int) -> Iterator[tuple[int, slice]]:
    rows = max(1, min(_BLOCK, _BLOCK_PAIRS // count))
    return ((start, slice(start, start + rows)) for start in range(0, count, rows))


def _pick(close: NDArray[np.bool_], part: NDArray[np.int64], start: int) -> list[tuple[int, int]]:
    """(Row, column) of the close pairs in different parts, each pair once; rows begin at `start`."""
    rows = np.arange(start, start + close.shape[0])
    crossing = close & (part[rows, None] != part) & (rows[:, None] < np.arange(close.shape[1]))
    found, columns = np.nonzero(crossing)
    return list(zip((found + start).tolist(), columns.tolist(), strict=True))


def _number_parts(prints: Sequence[Fingerprint], parts: Mapping[str, str]) -> NDArray[np.int64]:
    names = {name: number for number, name in enumerate(sorted(set(parts.values())))}
    return np.array([names[parts[print_.id]] for print_ in prints], dtype=np.int64)


def _digest_pixels(path: Path, known: dict[Path, str]) -> str:
    if path not in known:
        array = read_image(path).array
        levels = np.rint(array * 65535).astype(np.uint16)  # 8- and 16-bit files meet here
        rgb = np.broadcast_to(levels, (3, *levels.shape[1:]))  # a grey file equals its RGB copy
        known[path] = sha256(rgb.tobytes()).hexdigest()
    return known[path]


def _thumbnail_jpeg(path: Path) -> NDArray[np.float32]:
    with reading(path), open_image(path) as image:
        image.draft("L", (2 * THUMBNAIL, 2 * THUMBNAIL))  # decodes a fraction of the coefficients
        image.load()
        grey = np.asarray(image.convert("L"), dtype=np.float32)
        return shrink(upright(grey, orientation(image)))


def _thumbnail_any(path: Path) -> NDArray[np.float32]:
    array = read_image(path).array * 255
    return shrink(to_grey(array))

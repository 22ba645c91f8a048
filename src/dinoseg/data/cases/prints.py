"""What a model keeps of its training cases to know them again: digests, of which no image can be made.

Of each case two things are kept, and neither its name nor its place among the others:

- a digest of the pixels (or voxels), the same under any file name or lossless format, and however the image
  is mirrored or turned by quarters: it adds up what every pixel's value and distance to the centre give;
- marks: the perceptual hash of the picture (255 bits; of a volume that of its mean along the first axis),
  of which 96 fixed choices of 56 bits each are hashed once more and cut to 32 bits. Two pictures that share
  some marks differ in few bits, and the bits, which a blurred sketch could be drawn from, are not kept. An
  image at hand is compared in all eight orientations.

Whoever has an image can ask whether it is among the training cases; nobody can list them, or see one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.images.hashing import FLAT_LEVELS, HASH_BITS, hash_image, shrink, to_grey

FORMAT = 1
MARKS = 96
SHARED_MARKS = 3  # at least so many: up to about 12 of the 255 bits differ (benchmarks/leakage.py)
_CHOSEN_BITS = 56
_MARK_BYTES = 4
_DIGEST_BYTES = 16
_ODD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

Likeness = Literal["same", "alike"]


@dataclass(frozen=True)
class CasePrint:
    """What is kept of one case.

    Attributes:
        digest: 16 bytes, of the pixels or voxels.
        marks: 96 × 4 bytes, of what it looks like; empty where it shows nothing.
    """

    digest: bytes
    marks: bytes

    def to_array(self) -> NDArray[np.uint8]:
        """All of it as numbers in a row, for the feature cache."""
        return np.array(bytearray(self.digest + self.marks), dtype=np.uint8)

    @classmethod
    def from_array(cls, values: NDArray[np.uint8]) -> CasePrint:
        """What `to_array` wrote."""
        content = values.tobytes()
        return cls(content[:_DIGEST_BYTES], content[_DIGEST_BYTES:])


def print_case(array: NDArray[Any]) -> CasePrint:
    """The print of an image (C, H, W) in 0..1, or of a volume (C, D, H, W) in canonical orientation."""
    thumbnail = _draw_thumbnail(array)
    marks = b"" if _is_flat(thumbnail) else b"".join(_make_marks(thumbnail))
    return CasePrint(digest_content(array), marks)


@dataclass(frozen=True)
class TrainingCases:
    """The prints of the cases that a model was trained on, in no order that means anything."""

    prints: tuple[CasePrint, ...]

    @classmethod
    def of(cls, prints: Iterable[CasePrint]) -> TrainingCases:
        """Sorted, so that the order of training is not kept."""
        return cls(tuple(sorted(set(prints), key=lambda each: each.digest)))

    def find(self, array: NDArray[Any]) -> Likeness | None:
        """Whether the model was trained on an image or volume as `print_case` takes it.

        Returns:
            "same" for the same pixels, turned or mirrored or not; "alike" for a picture that looks the same,
            such as one encoded or sized anew; None for neither.
        """
        if digest_content(array) in self._digests:
            return "same"
        thumbnail = _draw_thumbnail(array)
        if _is_flat(thumbnail):
            return None
        return "alike" if any(map(self._knows, _turn(thumbnail))) else None

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        cases = [{"digest": each.digest.hex(), "marks": each.marks.hex()} for each in self.prints]
        return {"format": FORMAT, "cases": cases}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> TrainingCases:
        """What `describe` gave.

        Raises:
            ValueError: it has another format or a damaged case.
        """
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']}, known is {FORMAT}")
        pairs = [(bytes.fromhex(each["digest"]), bytes.fromhex(each["marks"])) for each in described["cases"]]
        if any(len(digest) != _DIGEST_BYTES or len(marks) % _MARK_BYTES for digest, marks in pairs):
            raise ValueError("a digest is cut off")
        return cls.of(CasePrint(digest, marks) for digest, marks in pairs)

    def _knows(self, thumbnail: NDArray[np.float32]) -> bool:
        shared: Counter[int] = Counter()
        for place, mark in enumerate(_make_marks(thumbnail)):
            shared.update(self._index.get((place, mark), ()))
        return any(count >= SHARED_MARKS for count in shared.values())

    @cached_property
    def _digests(self) -> frozenset[bytes]:
        return frozenset(each.digest for each in self.prints)

    @cached_property
    def _index(self) -> Mapping[tuple[int, bytes], Sequence[int]]:
        found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        for number, each in enumerate(self.prints):
            for place in range(len(each.marks) // _MARK_BYTES):
                found[place, each.marks[place * _MARK_BYTES : (place + 1) * _MARK_BYTES]].append(number)
        return found


def digest_content(array: NDArray[Any]) -> bytes:
    """16 bytes of the values of (C, *shape) and how far from the centre they lie.

    Mirroring and turning by quarters change nothing; nor does the type of the numbers, or a grey image
    stored as RGB.
    """
    shape = array.shape[1:]
    places = _measure_distances(shape)
    total = 0
    for channel in _distinct(array):
        for plane, distances in zip(_planes(channel), _planes(places), strict=True):
            total += int(_mix(_to_words(plane) ^ distances).sum(dtype=np.uint64))
    text = repr((sorted(shape), total % 2**64))
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()


def _planes(grid: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (D, H, W) -> (1 or D, H, W), so that little is in memory at once."""
    return grid.reshape(-1, *grid.shape[-2:])


def _distinct(array: NDArray[Any]) -> NDArray[Any]:
    """One channel where all are equal."""
    same = all(np.array_equal(array[0], other) for other in array[1:])
    return array[:1] if same else array


def _to_words(values: NDArray[Any]) -> NDArray[np.uint64]:
    # +0 makes one zero of two; whole numbers below 2^24 are the same as float32
    words: NDArray[np.uint32] = (values.astype(np.float32) + np.float32(0)).view(np.uint32)
    return words.astype(np.uint64)


def _measure_distances(shape: Sequence[int]) -> NDArray[np.uint64]:
    """Four times the squared distance of each cell to the centre, mixed."""
    total = np.zeros(shape, np.uint64)
    for axis, length in enumerate(shape):
        squares = (2 * np.arange(length, dtype=np.int64) - (length - 1)) ** 2
        total += squares.astype(np.uint64).reshape([-1 if each == axis else 1 for each in range(len(shape))])
    return _mix(total)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of a counter-based generator: every bit of the input changes half of the output's."""
    add, first, second = map(np.uint64, _ODD)
    words = words + add
    words = (words ^ (words >> np.uint64(30))) * first
    words = (words ^ (words >> np.uint64(27))) * second
    mixed: NDArray[np.uint64] = words ^ (words >> np.uint64(31))
    return mixed


def _draw_thumbnail(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.ndim == 3:
        return shrink(to_grey(array) * 255)
    flat = array[0].mean(axis=0, dtype=np.float32)  # (D, H, W) -> (H, W)
    low, high = float(flat.min()), float(flat.max())
    return shrink((flat - low) * (255 / max(high - low, 1e-6)))


def _is_flat(thumbnail: NDArray[np.float32]) -> bool:
    return bool(thumbnail.std() < FLAT_LEVELS)


def _turn(thumbnail: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The eight orientations."""
    for quarters in range(4):
        turned = np.rot90(thumbnail, quarters)
        yield turned
        yield turned[:, ::-1]


def _make_marks(thumbnail: NDArray[np.float32]) -> list[bytes]:
    bits = np.packbits(hash_image(np.ascontiguousarray(thumbnail))[_choose_bits()], axis=1)
    return [
        blake2b(row.tobytes(), digest_size=_MARK_BYTES, salt=place.to_bytes(2, "big")).digest()
        for place, row in enumerate(bits)
    ]


@lru_cache(maxsize=1)
def _choose_bits() -> NDArray[np.int64]:
    """(96, 56): which bits each mark is made of; the same for all models and for ever."""
    generator = np.random.Generator(np.random.PCG64(2024))
    keys = generator.integers(0, 2**63, size=(MARKS, HASH_BITS))
    return np.asarray(keys.argsort(axis=1, kind="stable")[:, :_CHOSEN_BITS])

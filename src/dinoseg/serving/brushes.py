"""Masks as Label Studio keeps brush labels: run lengths of an image of four equal channels, packed in bits.

Source: the format `rle-pack` of thi.ng, which Label Studio's editor reads. A stream begins with the number of
values (32 bits), the bits of a value less one (5), and four sizes of counts less one (4 each). A run follows
as one bit that is 1, two bits that choose a size, its length less one in so many bits, and the value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHANNELS = 4
_VALUE_BITS = 8
_SIZES = (3, 4, 8, 16)
_LONGEST = 1 << _SIZES[-1]
_PAINTED = 255


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of `rle`.

    Args:
        mask: (H, W).
    """
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *starts.tolist(), flat.size]) * _CHANNELS
    bits = [
        f"{flat.size * _CHANNELS:032b}",
        f"{_VALUE_BITS - 1:05b}",
        *(f"{size - 1:04b}" for size in _SIZES),
    ]
    is_painted = bool(flat[0])
    for length in lengths.tolist():
        bits += _encode_run(length, _PAINTED if is_painted else 0)
        is_painted = not is_painted
    packed = np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0"))
    return [int(byte) for byte in packed]


def _encode_run(length: int, value: int) -> list[str]:
    runs = []
    while length:
        part = min(length, _LONGEST)
        chosen = next(index for index, size in enumerate(_SIZES) if part <= 1 << size)
        runs.append(f"1{chosen:02b}{part - 1:0{_SIZES[chosen]}b}{value:0{_VALUE_BITS}b}")
        length -= part
    return runs

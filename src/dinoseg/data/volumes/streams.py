"""Voxels as a stream: raw, compressed or text, read slice by slice and checked to the last byte.

NIfTI, NRRD and MetaImage differ in their headers only; behind those, all store one long row of numbers.
Reading it slice by slice keeps memory at the array that is wanted plus one slice, and reading a
compressed stream to its end checks the sum that the compressor wrote there.
"""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.access import refuse_too_small
from dinoseg.errors import FileFormatError

Encoding = Literal["raw", "gzip", "bzip2", "zlib", "text"]

_CHUNK = 1 << 16
_ANY_HEADER = 47  # zlib's window bits: a zlib or a gzip header


@dataclass(frozen=True)
class Block:
    """A few slices on their way from a file into an array.

    Attributes:
        channel: index along the first axis of the array that is being filled.
        start: index of the first slice along D.
        array: (n, H, W) as stored.
    """

    channel: int
    start: int
    array: NDArray[Any]


@dataclass(frozen=True)
class VoxelStream:
    """Where and how the voxels of a volume are stored.

    Attributes:
        header: the file that describes them.
        path: the file that holds them, often the same.
        encoding: how.
        dtype: type of one number, with its byte order.
        shape: (D, H, W).
        count: volumes along the fourth axis; 1 where there is none.
        interleaved: the fourth axis runs fastest (colours beside each other) instead of slowest.
        start: bytes of the file before the stream.
        skip: bytes of the stream, once decompressed, before the first voxel.
        exact: nothing may follow the last voxel.
    """

    header: Path
    path: Path
    encoding: Encoding
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    count: int = 1
    interleaved: bool = False
    start: int = 0
    skip: int = 0
    exact: bool = True

    @property
    def name(self) -> str:
        """The file for messages."""
        return str(self.header) if self.header == self.path else f"{self.header} (voxels in {self.path.name})"

    @property
    def size(self) -> int:
        """Numbers in the stream."""
        depth, height, width = self.shape
        return depth * height * width * self.count

    def refuse_too_small(self) -> None:
        """Raise where the file cannot hold what its header promises.

        Raises:
            FileFormatError: it cannot.
        """
        text = self.encoding == "text"  # a digit and a separator each
        needed = 2 * self.size - 1 if text else self.size * self.dtype.itemsize
        available = self.path.stat().st_size - self.start - (self.skip if self.encoding == "raw" else 0)
        refuse_too_small(self.name, needed=needed, available=available, encoding=self.encoding)

    def blocks(self, chosen: Sequence[int]) -> Iterator[Block]:
        """Read the volumes `chosen` of the fourth axis, one slice at a time.

        Raises:
            EOFError: the stream ends early.
            FileFormatError: it goes on behind the last voxel although `exact`.
        """
        with self._open() as stream:
            stream.skip(self.skip)
            yield from (
                self._interleaved(stream, chosen) if self.interleaved else self._in_turn(stream, chosen)
            )
            stream.finish(exact=self.exact)

    def _in_turn(self, stream: _Numbers, chosen: Sequence[int]) -> Iterator[Block]:
        depth, height, width = self.shape
        for volume in range(self.count):
            channels = [channel for channel, wanted in enumerate(chosen) if wanted == volume]
            for index in range(depth):
                if not channels:
                    stream.skip_numbers(height * width)
                    continue
                plane = stream.take(height * width).reshape(1, height, width)
                yield from (Block(channel, index, plane) for channel in channels)

    def _interleaved(self, stream: _Numbers, chosen: Sequence[int]) -> Iterator[Block]:
        depth, height, width = self.shape
        for index in range(depth):
            plane = stream.take(height * width * self.count).reshape(1, height, width, self.count)
            yield from (Block(channel, index, plane[..., wanted]) for channel, wanted in enumerate(chosen))

    @contextmanager
    def _open(self) -> Iterator[_Numbers]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            with _decompress(file, self.encoding) as stream:
                numbers = _Text if self.encoding == "text" else _Binary
                yield numbers(stream, self.dtype, self.name)


class _Numbers:
    """A stream of numbers; `_Binary` and `_Text` say how a number is spelt."""

    def __init__(self, stream: IO[bytes], dtype: np.dtype[Any], name: str) -> None:
        self._stream = stream
        self._dtype = dtype
        self._name = name

    def skip(self, size: int) -> None:
        """Pass `size` bytes."""
        while size > 0:
            chunk = self._stream.read(min(size, _CHUNK))
            if not chunk:
                raise EOFError("it ends before its voxels")
            size -= len(chunk)

    def take(self, count: int) -> NDArray[Any]:
        """The next `count` numbers."""
        raise NotImplementedError

    def skip_numbers(self, count: int) -> None:
        """Pass `count` numbers."""
        self.take(count)

    def finish(self, *, exact: bool) -> None:
        """Read to the end, where compressed streams hold their check sum."""
        while chunk := self._stream.read(_CHUNK):
            if exact and self._is_content(chunk):
                raise FileFormatError(
                    f"{self._name} holds more voxels than its header says; correct the sizes in the header"
                )

    def _is_content(self, chunk: bytes) -> bool:
        return bool(chunk)


class _Binary(_Numbers):
    def take(self, count: int) -> NDArray[Any]:
        """The next `count` numbers."""
        buffer = bytearray(count * self._dtype.itemsize)
        view, filled = memoryview(buffer), 0
        while filled < len(buffer):
            size = self._stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not size:
                raise EOFError("it ends before its last voxel")
            filled += size
        return np.frombuffer(buffer, self._dtype)


class _Text(_Numbers):
    def __init__(self, stream: IO[bytes], dtype: np.dtype[Any], name: str) -> None:
        super().__init__(stream, dtype, name)
        self._words: list[bytes] = []
        self._rest = b""

    def take(self, count: int) -> NDArray[Any]:
        """The next `count` numbers."""
        while len(self._words) < count:
            self._fill()
        words, self._words = self._words[:count], self._words[count:]
        wide = np.dtype(np.float64 if self._dtype.kind == "f" else np.int64)
        numbers = np.array([float(word) if wide.kind == "f" else int(word) for word in words], dtype=wide)
        narrow = numbers.astype(self._dtype)
        if wide.kind == "i" and not np.array_equal(narrow, numbers):
            raise ValueError(f"numbers that are no {self._dtype.name}")
        return narrow

    def _fill(self) -> None:
        chunk = self._stream.read(_CHUNK)
        text = self._rest + chunk
        if not chunk and not text:
            raise EOFError("it ends before its last voxel")
        cut = max(text.rfind(separator) for separator in b" \n\t\r") + 1 if chunk else len(text)
        self._words += text[:cut].split()
        self._rest = text[cut:]

    def _is_content(self, chunk: bytes) -> bool:
        return bool(chunk.strip())

    def finish(self, *, exact: bool) -> None:
        """Read to the end."""
        if exact and (self._words or self._rest.strip()):
            raise FileFormatError(
                f"{self._name} holds more voxels than its header says; correct the sizes in the header"
            )
        super().finish(exact=exact)


class _Inflating(io.RawIOBase):
    """A zlib stream (zlib or gzip header) as a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(_ANY_HEADER)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with what can be had; 0 at the end."""
        view = memoryview(buffer).cast("B")
        while not self._inflate.eof:
            waiting = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            content = self._inflate.decompress(waiting, len(view))
            if content:
                view[: len(content)] = content
                return len(content)
            if not waiting:
                raise EOFError("its compressed voxels end early")
        return 0


def _decompress(file: IO[bytes], encoding: Encoding) -> IO[bytes]:
    if encoding == "gzip":
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if encoding == "bzip2":
        return bz2.BZ2File(file)
    if encoding == "zlib":
        return io.BufferedReader(_Inflating(file), _CHUNK)
    return file

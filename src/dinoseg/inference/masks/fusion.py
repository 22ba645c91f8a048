"""Averaging the class probabilities of several planes without holding them in memory.

Each plane's probabilities go to a file of its own, slice after slice, one byte for each voxel and
foreground class (steps of 1/255). At the end blocks of axial slices are read back from all files, added,
and turned into class ids. Files are read and written, not mapped, so memory is that of one block.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes import Plane
from dinoseg.data.volumes.slices import plane_axis
from dinoseg.errors import DiskFullError, OutputError

_BLOCK_BYTES = 32 << 20
_FULL = 255  # what probability 1 is stored as


class Fusion:
    """Collects the slices of several planes of one canonical volume, and then gives the mask.

    A context: its files are gone afterwards.

    Args:
        shape: (D, H, W).
        planes: those that will be added.
        classes: with the background.
        scratch: folder for the files; default: the system's.

    Raises:
        OutputError: the disk is too small.
    """

    def __init__(
        self, shape: tuple[int, int, int], *, planes: Sequence[Plane], classes: int, scratch: Path | None
    ) -> None:
        self._shape = shape
        self._planes = tuple(planes)
        self._foreground = classes - 1
        self._scratch = Path(tempfile.gettempdir()) if scratch is None else scratch
        self._stack = ExitStack()
        self._files: dict[Plane, BinaryIO] = {}

    def __enter__(self) -> Fusion:
        with self._explaining():
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._refuse_small_disk()
            for plane in self._planes:
                file = tempfile.TemporaryFile(dir=self._scratch, prefix=".dinoseg-")
                self._files[plane] = self._stack.enter_context(file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, plane: Plane, probabilities: NDArray[np.float32]) -> None:
        """Take the next slice of a plane: (classes, rows, columns), background first."""
        stored = np.rint(probabilities[1:] * _FULL).astype(np.uint8)
        with self._explaining():
            self._files[plane].write(stored.tobytes())

    def write_mask(
        self,
        target: NDArray[np.uint8],
        uncertainty: NDArray[np.float32] | None = None,
        measure: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> None:
        """Write the most probable class of every voxel into `target`, (D, H, W); ties go to the lower id.

        All slices of all planes must have been added.

        Args:
            target: to be filled.
            uncertainty: to be filled as well, with what `measure` makes of the averaged probabilities
                (classes, d, H, W); None for nothing.
            measure: of a block.
        """
        depth, height, width = self._shape
        # Two bytes for the sums and one for what is being added; class ids come on top.
        step = max(1, _BLOCK_BYTES // (height * width * (self._foreground + 1) * 3))
        with self._explaining():
            for file in self._files.values():
                file.flush()
            for start in range(0, depth, step):
                stop = min(start + step, depth)
                totals = self._total(start, stop)
                target[start:stop] = self._classify(totals)
                if uncertainty is not None and measure is not None:
                    uncertainty[start:stop] = measure(self._average(totals))

    def _total(self, start: int, stop: int) -> NDArray[np.uint16]:
        """Sums over the planes of what was stored of axial slices, (classes - 1, d, H, W)."""
        _, height, width = self._shape
        totals = np.zeros((self._foreground, stop - start, height, width), np.uint16)
        for plane in self._planes:
            self._add_block(plane, start, stop, totals)
        return totals

    def _average(self, totals: NDArray[np.uint16]) -> NDArray[np.float32]:
        """Class probabilities (classes, d, H, W), background first."""
        scores = totals.astype(np.float32) / np.float32(_FULL * len(self._planes))
        rest = np.clip(1 - scores.sum(axis=0, keepdims=True), 0, 1)  # each was rounded by itself
        return np.concatenate([rest, scores])

    def _classify(self, totals: NDArray[np.uint16]) -> NDArray[np.uint8]:
        best = np.full(totals.shape[1:], _FULL * len(self._planes), np.int32)
        best -= totals.sum(axis=0, dtype=np.int32)  # what is left is the background's
        ids = np.zeros(best.shape, np.uint8)
        for index, total in enumerate(totals, start=1):
            more = total > best
            ids[more] = index
            best[more] = total[more]
        return ids

    def _add_block(self, plane: Plane, start: int, stop: int, totals: NDArray[np.uint16]) -> None:
        """Add axial slices `start` to `stop` of a plane to `totals`, (classes - 1, D, H, W)."""
        depth, height, width = self._shape
        axis = plane_axis(plane)
        if axis == 0:
            stored = self._read(plane, start * self._foreground * height * width, stop - start, height, width)
            totals += stored.swapaxes(0, 1)  # (D, classes, H, W) -> (classes, D, H, W)
            return
        columns = width if axis == 1 else height
        for index in range(self._shape[axis]):
            for number in range(self._foreground):
                offset = ((index * self._foreground + number) * depth + start) * columns
                stored = self._read_rows(plane, offset, stop - start, columns)
                row = totals[number, :, index] if axis == 1 else totals[number, :, :, index]
                row += stored  # (D, W) or (D, H), a view

    def _read(self, plane: Plane, offset: int, count: int, height: int, width: int) -> NDArray[np.uint8]:
        rows = self._read_rows(plane, offset, count * self._foreground * height, width)
        return rows.reshape(count, self._foreground, height, width)

    def _read_rows(self, plane: Plane, offset: int, rows: int, columns: int) -> NDArray[np.uint8]:
        file = self._files[plane]
        file.seek(offset)
        return np.frombuffer(file.read(rows * columns), np.uint8).reshape(rows, columns)

    def _refuse_small_disk(self) -> None:
        needed = len(self._planes) * self._foreground * int(np.prod(self._shape, dtype=np.int64))
        free = shutil.disk_usage(self._scratch).free
        if needed > free:
            raise DiskFullError(
                f"averaging {len(self._planes)} planes needs {needed / 1e9:.1f} GB on the disk of "
                f"{self._scratch}, {free / 1e9:.1f} GB are free; free some space or choose one plane"
            )

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno == errno.ENOSPC
            reason = "the disk is full" if full else str(error)
            raise (DiskFullError if full else OutputError)(
                f"temporary files in {self._scratch} could not be written: {reason}; free some space or "
                "choose one plane"
            ) from error

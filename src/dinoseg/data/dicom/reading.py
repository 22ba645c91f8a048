"""A DICOM series as a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.dicom.entries import Entry, open_place
from dinoseg.data.dicom.headers import Header, Plane, read_dataset
from dinoseg.data.dicom.libraries import explaining
from dinoseg.data.dicom.pixels import decode_frame, read_encoding
from dinoseg.data.dicom.reference import SeriesReference, build_reference, series_name, slim_header
from dinoseg.data.dicom.series import choose_series, sort_headers, stack_series
from dinoseg.data.dicom.stacks import Stack
from dinoseg.data.volumes.volume import Volume
from dinoseg.errors import FileFormatError


@dataclass(frozen=True, eq=False)
class DicomVolume(Volume):
    """A volume with what a DICOM label of it has to point to.

    Attributes:
        reference: headers of the series on the grid it was read on; swapping or reversing the axes of
            the volume leaves it as it is.
    """

    reference: SeriesReference


def read_series(
    place: Path | str, *, series: str | None = None, files: Sequence[Path | str] = ()
) -> DicomVolume:
    """Read a series of a folder or zip as a volume (1, D, H, W), slices sorted by their position.

    D runs along the normal of the slices (row direction × column direction), H counts rows, W columns.
    Values are stored × slope + intercept of each slice: integers where all slopes are 1 and all
    intercepts whole, else float32. Where lower values are brighter (MONOCHROME1), values are turned
    round, except where they are quantities (CT, MR, PET, NM, or a rescale type).

    Args:
        place: a folder (with sub-folders), a zip, or one multi-frame file.
        series: UID of the series; needed where there are several.
        files: read these files of the folder only.

    Raises:
        DinosegError: pydicom is not installed.
        UsageError: several series and no choice, or no such series.
        FileFormatError: nothing to read, damaged files, no decoder, colour, or slices that make no
            volume: `stack_planes` lists the reasons.
    """
    place = Path(place)
    with open_place(place, files=[Path(file) for file in files]) as entries:
        found = sort_headers(place, entries)
        uid = choose_series(place, found, series=series)
        headers = found.groups[uid]
        stack = stack_series(series_name(place, uid), headers)
        pixels = _SeriesPixels(stack)
        with explaining(series_name(place, uid)):
            array = pixels.load(headers)
    reference = build_reference(place, uid, headers, stack, pixels.headers)
    return DicomVolume(array[None], stack.geometry, place, _case_id(place), reference)


def read_series_shape(place: Path | str, *, series: str | None = None) -> tuple[int, int, int]:
    """(D, H, W) of the volume that `read_series` would read; headers only.

    Raises:
        DinosegError: pydicom is not installed.
        UsageError: several series and no choice, or no such series.
        FileFormatError: as `read_series`, but for what only the pixels show.
    """
    place = Path(place)
    with open_place(place) as entries:
        found = sort_headers(place, entries)
    uid = choose_series(place, found, series=series)
    return stack_series(series_name(place, uid), found.groups[uid]).geometry.shape


def _case_id(place: Path) -> str:
    return place.name if place.is_dir() else place.stem


class _SeriesPixels:
    """Fills the array of a series file by file; no file is read twice, and none is kept."""

    def __init__(self, stack: Stack) -> None:
        self.headers: dict[Path, Any] = {}
        self._stack = stack
        self._array: NDArray[Any] | None = None

    def load(self, files: Sequence[Header]) -> NDArray[Any]:
        """Values (D, H, W)."""
        planes: dict[Path, list[tuple[int, Plane]]] = {}
        for depth, plane in enumerate(self._stack.planes):
            planes.setdefault(plane.entry.path, []).append((depth, plane))
        for file in files:
            self._load_file(file.entry, planes[file.entry.path])
        if self._array is None:
            raise FileFormatError("a series without files")
        return self._array

    def _load_file(self, entry: Entry, planes: Sequence[tuple[int, Plane]]) -> None:
        dataset = read_dataset(entry, pixels=True)
        if dataset is None:
            raise FileFormatError(f"{entry.path} changed while it was read")
        for depth, plane in planes:
            name = f"{entry.path} frame {plane.frame + 1}" if len(planes) > 1 else entry.path
            encoding = read_encoding(name, dataset, plane.frame)
            self._put(depth, decode_frame(name, dataset, plane.frame, encoding))
        del dataset.PixelData
        self.headers[entry.path] = slim_header(entry.path, dataset)

    def _put(self, depth: int, values: NDArray[Any]) -> None:
        if self._array is None:
            # Only now, when the first slice has shown that the header's size is no lie.
            self._array = np.empty(self._stack.geometry.shape, dtype=values.dtype)
        common = _common_type(self._array.dtype, values.dtype)
        if common != self._array.dtype:
            self._array = self._array.astype(common)
        self._array[depth] = values


def _common_type(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    """The smallest type that holds both; float32 where one is a float or too large."""
    common = np.promote_types(first, second)
    return np.dtype(np.float32) if common.kind == "f" or common.itemsize > 4 else common

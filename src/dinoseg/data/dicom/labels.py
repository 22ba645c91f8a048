"""Label objects of DICOM as a data set has them: what they refer to, what they name, and their class ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dinoseg.data.dicom.entries import Entry
from dinoseg.data.dicom.headers import read_dataset, text
from dinoseg.data.dicom.libraries import explaining
from dinoseg.data.dicom.reading import DicomVolume, read_series
from dinoseg.data.dicom.reference import SeriesReference, read_reference
from dinoseg.data.dicom.segmentation_reader import list_segments, read_segmentation, referenced_series
from dinoseg.data.dicom.structures import list_structures, read_structures, structured_series
from dinoseg.data.volumes.geometry import Geometry
from dinoseg.data.volumes.volume import LabelVolume, smallest_id_type
from dinoseg.errors import FileFormatError, LabelError, UsageError

LABEL_MODALITIES = ("SEG", "RTSTRUCT")


@dataclass(frozen=True)
class LabelObject:
    """A DICOM SEG or RTSTRUCT, without its pixels.

    Attributes:
        path: the file.
        modality: "SEG" or "RTSTRUCT".
        series: UIDs of the series it was drawn on, as far as it names any.
        names: of its segments or structures, in their order.
    """

    path: Path
    modality: str
    series: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class LabelledSeries:
    """An image series, and what the names in its label stand for.

    Attributes:
        uid: Series Instance UID.
        folder: that holds all files, itself or in sub-folders.
        files: of the series, sorted.
        names: (name of a segment or structure, class id from 1) of what is wanted; all else is background.
    """

    uid: str
    folder: Path
    files: tuple[Path, ...]
    names: tuple[tuple[str, int], ...]

    def read(self) -> DicomVolume:
        """Read the image.

        Raises:
            FileFormatError: see `read_series`.
        """
        return read_series(self.folder, series=self.uid, files=self.files)

    def refer(self) -> SeriesReference:
        """Read the headers only.

        Raises:
            FileFormatError: see `read_reference`.
        """
        return read_reference(self.folder, series=self.uid, files=self.files)

    def read_geometry(self) -> Geometry:
        """The grid, from the headers alone.

        Raises:
            FileFormatError: see `read_reference`.
        """
        return self.refer().geometry

    def read_label(self, path: Path | str) -> LabelVolume:
        """Read a label of this series; see `read_series_label`.

        Raises:
            FileFormatError: the label or the series cannot be read.
            LabelError: the label belongs to another series, or what is wanted of it overlaps.
        """
        return read_series_label(path, self)


def read_label_object(path: Path | str) -> LabelObject:
    """Read what a SEG or RTSTRUCT refers to and names.

    Raises:
        FileFormatError: it is neither, or damaged.
    """
    path = Path(path)
    dataset: Any = read_dataset(Entry(path, path.stat().st_size))
    with explaining(path):
        modality = "" if dataset is None else text(dataset, "Modality")
        if modality == "SEG":
            return LabelObject(
                path, modality, tuple(referenced_series(dataset)), tuple(list_segments(dataset).values())
            )
        if modality == "RTSTRUCT":
            found = tuple(list_structures(dataset).values())
            return LabelObject(path, modality, tuple(structured_series(dataset)), found)
    raise FileFormatError(f"{path} has the modality {modality or 'unknown'}; labels are SEG or RTSTRUCT")


def read_series_label(path: Path | str, series: LabelledSeries) -> LabelVolume:
    """Class ids of a SEG or RTSTRUCT on the grid of its series.

    Args:
        path: the label object.
        series: it was drawn on; its names say the ids.

    Raises:
        FileFormatError: the label or the series cannot be read.
        LabelError: the label belongs to another series, or what is wanted of it overlaps.
    """
    path = Path(path)
    found, reference = read_label_object(path), series.refer()
    ids = dict(series.names)
    wanted = [name for name in found.names if name in ids]
    if not wanted:
        array = np.zeros(reference.geometry.shape, dtype=np.uint8)
        return LabelVolume(array, reference.geometry, path, path.stem)
    raw = _read_chosen(found, reference, wanted)
    dtype = smallest_id_type(max(ids.values()))
    table = np.array([0, *(ids[name] for name in wanted)], dtype=dtype)
    return LabelVolume(table[raw.array], raw.geometry, path, path.stem)


def _read_chosen(found: LabelObject, reference: SeriesReference, names: Sequence[str]) -> LabelVolume:
    try:
        if found.modality == "SEG":
            return read_segmentation(found.path, reference, names=names)
        return read_structures(found.path, reference, names)
    except UsageError as error:  # a name that stands twice: of the file, not of a call
        raise LabelError(str(error)) from error

"""What a label written later has to point to: the headers of the series it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinoseg.data.dicom.entries import open_place
from dinoseg.data.dicom.headers import Header, read_dataset
from dinoseg.data.dicom.libraries import explaining
from dinoseg.data.dicom.series import choose_series, sort_headers, stack_series
from dinoseg.data.dicom.stacks import Stack
from dinoseg.data.volumes.geometry import Geometry
from dinoseg.errors import FileFormatError

_LARGEST_ELEMENT = 1 << 14  # bytes


@dataclass(frozen=True)
class SliceReference:
    """One slice of the series.

    Attributes:
        sop_uid: SOP Instance UID of its file.
        sop_class: SOP Class UID of its file.
        frame: index of the frame in that file, from 0.
        dataset: position of that file's header in `SeriesReference.datasets`.
    """

    sop_uid: str
    sop_class: str
    frame: int
    dataset: int


@dataclass(frozen=True, eq=False)
class SeriesReference:
    """A series without its pixels.

    Attributes:
        uid: Series Instance UID; see `Series`.
        source: the folder or zip it was read from.
        geometry: grid of its volume.
        frame_of_reference: UID of the space that positions are in.
        slices: one for each index of D.
        datasets: pydicom headers of its files, without pixels, private and very long elements.
    """

    uid: str
    source: Path
    geometry: Geometry
    frame_of_reference: str
    slices: tuple[SliceReference, ...]
    datasets: tuple[Any, ...] = field(repr=False)


def read_reference(
    place: Path | str, *, series: str | None = None, files: Sequence[Path | str] = ()
) -> SeriesReference:
    """Read the headers of a series, so that labels can be put on its grid.

    Args:
        place: a folder or zip.
        series: UID of the series; needed where there are several.
        files: look at these files of the folder only.

    Raises:
        FileFormatError: as for `read_series`, except for pixels.
        UsageError: several series and no choice, or no such series.
    """
    place = Path(place)
    with open_place(place, files=[Path(file) for file in files]) as entries:
        found = sort_headers(place, entries)
        uid = choose_series(place, found, series=series)
        members = found.groups[uid]
        stack = stack_series(series_name(place, uid), members)
        headers = {}
        for file in members:
            dataset = read_dataset(file.entry)
            if dataset is None:
                raise FileFormatError(f"{file.entry.path} changed while it was read")
            headers[file.entry.path] = slim_header(file.entry.path, dataset)
    return build_reference(place, uid, members, stack, headers)


def build_reference(
    place: Path, uid: str, files: Sequence[Header], stack: Stack, headers: dict[Path, Any]
) -> SeriesReference:
    """Put together what `read_reference` returns.

    Args:
        place: a folder or zip.
        uid: of the series.
        files: its files.
        stack: its slices.
        headers: path of a file -> its dataset without pixels.
    """
    paths = list(headers)
    places = {path: index for index, path in enumerate(paths)}
    slices = tuple(
        SliceReference(plane.sop_uid, plane.sop_class, plane.frame, places[plane.entry.path])
        for plane in stack.planes
    )
    return SeriesReference(
        uid=uid,
        source=place,
        geometry=stack.geometry,
        frame_of_reference=files[0].frame_of_reference,
        slices=slices,
        datasets=tuple(headers[path] for path in paths),
    )


def slim_header(path: Path, dataset: Any) -> Any:
    """Drop what no reference needs: pixels, overlays, icons, private and very long elements."""
    with explaining(path):
        dataset.remove_private_tags()
        for element in list(dataset):
            long = isinstance(element.value, bytes) and len(element.value) > _LARGEST_ELEMENT
            if long or element.tag.group in range(0x6000, 0x6100) or element.keyword == "IconImageSequence":
                del dataset[element.tag]
    return dataset


def series_name(place: Path, uid: str) -> str:
    """What to call a series in a message."""
    return f"{place} (series {uid})"

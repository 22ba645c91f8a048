"""Which series a folder or zip holds, from the headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.dicom.entries import Entry, open_place
from dinoseg.data.dicom.headers import NOT_IMAGES, Header, read_header
from dinoseg.data.dicom.stacks import Stack, stack_planes
from dinoseg.errors import DataError, FileFormatError, UsageError

_NAMED = 5


@dataclass(frozen=True)
class Series:
    """One series of a folder or zip.

    Attributes:
        uid: Series Instance UID; where it was removed, "no-uid:" and the folder.
        description: what the scanner calls it.
        modality: "CT", "MR", "SEG" and so on.
        patient: eight hex digits that tell patients apart without naming them; empty where not said.
        files: the files; for a zip, its path followed by the member's name.
        count: slices; frames count. 0 where it is no image.
        shape: (D, H, W), or None where the slices make no volume.
        spacing: mm along (D, H, W), or None.
        problem: why the slices make no volume; empty where they do.
    """

    uid: str
    description: str
    modality: str
    patient: str
    files: tuple[Path, ...]
    count: int
    shape: tuple[int, int, int] | None
    spacing: tuple[float, float, float] | None
    problem: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it holds pictures, readable as a volume or not."""
        return self.modality not in NOT_IMAGES

    def describe(self) -> str:
        """UID, description, modality and number of slices in one phrase."""
        return f"{self.uid} ({self.description or 'no description'}, {self.modality}, {self.count} slices)"


@dataclass(frozen=True)
class DamagedFile:
    """A file that begins as DICOM, but cannot be read.

    Attributes:
        path: the file.
        reason: one line.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class SeriesSurvey:
    """What a folder or zip holds.

    Attributes:
        series: sorted by UID.
        ignored: number of files that are not DICOM.
        damaged: files that begin as DICOM, but cannot be read.
    """

    series: tuple[Series, ...]
    ignored: int
    damaged: tuple[DamagedFile, ...]


@dataclass(frozen=True)
class SortedHeaders:
    """Headers of every file of a place, by series.

    Attributes:
        groups: UID (see `Series`) -> its files.
        ignored: number of files that are not DICOM.
        damaged: files that cannot be read.
    """

    groups: dict[str, tuple[Header, ...]]
    ignored: int
    damaged: tuple[DamagedFile, ...]


def find_series(place: Path | str) -> tuple[Series, ...]:
    """List the series of a folder (with its sub-folders) or zip; reads headers only.

    Files that are not DICOM are passed over; `survey_series` counts them.

    Raises:
        DinosegError: pydicom is not installed.
        FileFormatError: nothing is there, or the zip is damaged or not safe.
    """
    place = Path(place)
    return survey_series(place).series


def survey_series(place: Path | str) -> SeriesSurvey:
    """List the series of a folder (with its sub-folders) or zip, and count what is none.

    Raises:
        DinosegError: pydicom is not installed.
        FileFormatError: nothing is there, or the zip is damaged or not safe.
    """
    place = Path(place)
    with open_place(place) as entries:
        found = sort_headers(place, entries)
    series = tuple(_summarise(uid, found.groups[uid]) for uid in sorted(found.groups))
    return SeriesSurvey(series, found.ignored, found.damaged)


@dataclass(frozen=True)
class GivenSeries:
    """A series of which the files were given one by one.

    Attributes:
        files: of one folder, at least two, sorted; objects that are no images lie among them.
        alone: whether no other series of that folder was given.
        uid: Series Instance UID; see `Series`.
    """

    files: tuple[Path, ...]
    alone: bool
    uid: str

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.files[0].parent


def group_files(paths: Sequence[Path | str]) -> tuple[GivenSeries, ...]:
    """The series among files that were given one by one: those of one folder with one Series Instance UID.

    Files that cannot be read, and a single file of a series, are in no group.

    Raises:
        DinosegError: pydicom is not installed.
    """
    groups: list[GivenSeries] = []
    given = [Path(path) for path in paths]
    for folder in dict.fromkeys(file.parent for file in given):
        entries = [Entry(file, file.stat().st_size) for file in given if file.parent == folder]
        found = sort_headers(folder, entries)
        images = {uid: files for uid, files in found.groups.items() if files[0].modality not in NOT_IMAGES}
        # A segmentation that lies among the slices is passed over, as it is in a folder.
        others = [file for uid, files in found.groups.items() if uid not in images for file in files]
        for uid, headers in images.items():
            members = [file.entry.place for file in (*headers, *others)]
            if len(members) > 1:
                groups.append(GivenSeries(tuple(sorted(members)), len(images) == 1, uid))
    return tuple(groups)


def sort_headers(place: Path, entries: Sequence[Entry]) -> SortedHeaders:
    """Read the headers of all files and sort them by series.

    Raises:
        DinosegError: pydicom is not installed.
    """
    groups: dict[str, list[Header]] = {}
    damaged: list[DamagedFile] = []
    ignored = 0
    for entry in entries:
        try:
            header = read_header(entry)
        except DataError as error:
            damaged.append(DamagedFile(entry.path, str(error)))
            continue
        if header is None:
            ignored += 1
        else:
            groups.setdefault(header.series_uid or _folder_uid(place, entry), []).append(header)
    return SortedHeaders({uid: tuple(files) for uid, files in groups.items()}, ignored, tuple(damaged))


def choose_series(place: Path, found: SortedHeaders, *, series: str | None) -> str:
    """UID of the series asked for or, where nothing was asked, of the only one.

    Raises:
        FileFormatError: a file is damaged, or there is no image.
        UsageError: there is no such series; or several, and none was chosen. They are listed.
    """
    if found.damaged:
        first = found.damaged[0]
        raise FileFormatError(
            f"{place} holds {len(found.damaged)} damaged DICOM files, which may belong to any series: "
            f"{first.reason}; mend them or take them away"
        )
    images = [_summarise(uid, files) for uid, files in sorted(found.groups.items())]
    images = [each for each in images if each.is_image]
    listed = "; ".join(each.describe() for each in images)
    if not images:
        others = sorted({files[0].modality for files in found.groups.values()})
        holds = f"only {', '.join(others)}" if others else f"no DICOM file ({found.ignored} other files)"
        raise FileFormatError(f"{place} holds no series of images, but {holds}")
    if series is None and len(images) > 1:
        raise UsageError(f"{place} holds {len(images)} series; choose one with --series UID: {listed}")
    if series is not None and series not in [each.uid for each in images]:
        raise UsageError(f"{place} has no series {series} of images; it holds {listed}")
    return images[0].uid if series is None else series


def stack_series(name: object, files: Sequence[Header]) -> Stack:
    """The slices of a series as one volume.

    Raises:
        FileFormatError: two patients, localizers, slices without a place, or whatever `stack_planes`
            refuses.
    """
    patients = {file.patient for file in files}
    if len(patients) > 1:
        shown = ", ".join(sorted(patient or "without a name" for patient in patients))
        raise FileFormatError(f"{name} holds slices of {len(patients)} patients ({shown}); part them first")
    scouts = [file for file in files if file.localizer]
    if scouts:
        raise FileFormatError(
            f"{name} has {len(scouts)} localizers among its {len(files)} images ({_names(scouts)}); "
            "take them away or choose another series"
        )
    for file in files:
        if file.problem:
            raise FileFormatError(f"{name}: {file.entry.path.name} has {file.problem}")
    if len({file.frame_of_reference for file in files}) > 1:
        raise FileFormatError(f"{name} mixes frames of reference: its positions cannot be compared")
    return stack_planes(name, [plane for file in files for plane in file.planes])


def _summarise(uid: str, files: Sequence[Header]) -> Series:
    first = files[0]
    shape, spacing, problem = None, None, ""
    if first.modality not in NOT_IMAGES:
        try:
            geometry = stack_series("this series", files).geometry
            shape, spacing = geometry.shape, geometry.spacing
        except FileFormatError as error:
            problem = str(error)
    return Series(
        uid=uid,
        description=first.description,
        modality=first.modality,
        patient=first.patient,
        files=tuple(file.entry.path for file in files),
        count=sum(len(file.planes) for file in files),
        shape=shape,
        spacing=spacing,
        problem=problem,
    )


def _folder_uid(place: Path, entry: Entry) -> str:
    # Anonymisers that remove UIDs leave nothing but the folder to tell series apart.
    folder = entry.path.parent
    return f"no-uid:{folder.relative_to(place).as_posix() if folder.is_relative_to(place) else folder.name}"


def _names(files: Sequence[Header]) -> str:
    named = ", ".join(file.entry.path.name for file in files[:_NAMED])
    return f"{named} and {len(files) - _NAMED} more" if len(files) > _NAMED else named

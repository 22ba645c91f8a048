"""The images and volumes of a folder, those with masks and those without, and their slices."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import IntensitySettings, PreprocessingSettings, WindowIntensity
from dinoseg.config.settings import PercentileIntensity
from dinoseg.data import CaseFiles, LabelMapping
from dinoseg.data.case import Image
from dinoseg.data.cases.images import read_mask
from dinoseg.data.cases.volumes import (
    VolumeSlices,
    intensity_rule,
    measure_slices,
    read_channels,
    read_volume_case,
)
from dinoseg.data.images import image_info, read_image
from dinoseg.data.labels.inference import read_masks
from dinoseg.data.layouts.dataset import choose_classes, choose_mapping, count_labels, declared_mapping
from dinoseg.data.layouts.surveys import MASK_FOLDERS, Survey, survey_data
from dinoseg.data.sources.channels import first_channel
from dinoseg.data.sources.source import find_sources, no_images, open_volume, refuse_ours
from dinoseg.data.volumes import Orientation, Plane, Volume, find_orientation, fit_ramps
from dinoseg.errors import DataError, LayoutError
from dinoseg.progress import Progress

_MASKS = MASK_FOLDERS | {"labelstr", "labelsts"}
_ID_LENGTH = 12
_KEPT_VOLUMES = 3
_PLANE: Plane = "axial"


@dataclass(frozen=True)
class Subject:
    """One image, or one volume.

    Attributes:
        id: short, of letters and digits, the same each time the folder is opened.
        name: where it lies in the folder.
        files: image and, where one lies there, mask.
        size: height and width of a slice, upright.
        slices: axial ones of a volume; 1 for an image.
        is_volume: whether it is one.
    """

    id: str
    name: str
    files: CaseFiles
    size: tuple[int, int]
    slices: int
    is_volume: bool


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        subjects: in the order of their names.
        classes: id -> name without the background, as masks or declarations say; may be empty.
        mapping: of masks that lie there.
        is_ct: whether volumes are said to be CT.
        problems: one line for each file that cannot be used.
    """

    subjects: tuple[Subject, ...]
    classes: dict[int, str]
    mapping: LabelMapping
    is_ct: bool
    problems: tuple[str, ...]


def find_subjects(folder: Path, progress: Progress) -> Found:
    """Look for images and volumes in a folder and all its sub-folders, and for masks of them.

    Args:
        folder: of images with or without masks, in any layout that `train` takes, or in none.
        progress: shows the reading of masks.

    Raises:
        LayoutError: there is none of them, or the folder is one that dinoseg wrote.
        LabelError: masks lie there whose values allow no safe reading.
    """
    refuse_ours([folder])
    survey = _survey(folder)
    labelled = [case for case in survey.cases if case.label is not None] if survey else []
    listing = find_sources(folder)
    files = [*labelled, *_list_bare(folder, listing.sources, labelled)]
    problems = [*listing.problems]
    subjects = []
    for case in files:
        try:
            subjects.append(_measure(folder, case))
        except DataError as error:  # the others can still be taught
            problems.append(str(error))
    if not subjects:
        raise LayoutError(problems[0] if problems else no_images(folder))
    mapping, classes = _read_meaning(survey, labelled, progress) if survey and labelled else _NOTHING
    names = survey.declaration.channel_names if survey else ()
    return Found(
        tuple(sorted(subjects, key=lambda each: each.name)),
        {id_: name for id_, name in classes.items() if id_},
        mapping,
        is_ct=any(name.strip().lower() == "ct" for name in names[:1]),
        problems=tuple(problems),
    )


_NOTHING: tuple[LabelMapping, dict[int, str]] = (LabelMapping(), {})


def _survey(folder: Path) -> Survey | None:
    """What `train` would see there; None where it would see nothing."""
    try:
        return survey_data(folder)
    except LayoutError:  # no layout with masks: images alone
        return None


def _list_bare(folder: Path, sources: Sequence[Path], labelled: Sequence[CaseFiles]) -> list[CaseFiles]:
    """Images and volumes that have no mask and are none."""
    used = {path for case in labelled for path in (*case.images, *case.labels, case.image)}
    masks = {path.parent for case in labelled for path in case.labels} - {
        path.parent for case in labelled for path in case.images
    }
    bare = []
    for path in sources:
        parts = {part.casefold() for part in path.relative_to(folder).parts[:-1]}
        if path in used or path.parent in masks or parts & _MASKS or first_channel(path) in sources:
            continue
        bare.append(CaseFiles(path.stem, path, None, path.stem, None))
    return bare


def _measure(folder: Path, files: CaseFiles) -> Subject:
    where = files.image.relative_to(folder).as_posix() if files.image != folder else folder.name
    if files.series is not None:
        where = files.id
    id_ = hashlib.sha256(where.encode()).hexdigest()[:_ID_LENGTH]
    if files.series is not None or files.is_volume:
        slices, *size = measure_slices(files, _PLANE)
        return Subject(id_, where, files, (size[0], size[1]), slices, is_volume=True)
    if files.image.is_dir() or files.image.suffix.lower() in (".zip", ".dcm"):
        volume = find_orientation((given := open_volume(files.image)).geometry).apply(given)
        slices, *size = volume.geometry.shape
        return Subject(id_, where, files, (size[0], size[1]), slices, is_volume=True)
    return Subject(id_, where, files, image_info(files.image).size, 1, is_volume=False)


def _read_meaning(
    survey: Survey, labelled: Sequence[CaseFiles], progress: Progress
) -> tuple[LabelMapping, dict[int, str]]:
    """What the values of the masks mean, and the names of their classes."""
    known = declared_mapping(survey)
    histogram = None
    if not (known and survey.is_volumes):
        paths = [path for case in labelled for path in case.labels]
        histogram = count_labels(survey.declaration, read_masks(paths, progress), known)
    mapping = choose_mapping(survey.declaration, histogram, known)
    return mapping, choose_classes(survey.declaration, mapping, survey.root)


@dataclass(eq=False)
class _Opened:
    """A volume in memory, upright."""

    volume: Volume
    orientation: Orientation
    settings: PreprocessingSettings

    @cached_property
    def slices(self) -> VolumeSlices:
        """As a network sees them; its percentiles are taken once."""
        return VolumeSlices(self.volume, self.settings)

    @cached_property
    def percentiles(self) -> tuple[float, float]:
        """Of its intensities: what becomes black and white where nothing else is said."""
        ramp = fit_ramps(intensity_rule(PercentileIntensity()), self.volume).ramps[0]
        return ramp.low, ramp.high


class Reader:
    """Reads slices; a few volumes stay in memory. May be called in any thread.

    Args:
        found: the folder's content.
    """

    def __init__(self, found: Found) -> None:
        self._mapping = found.mapping
        self._intensity: IntensitySettings = WindowIntensity() if found.is_ct else PercentileIntensity()
        self._settings = PreprocessingSettings(intensity=self._intensity, plane=_PLANE, context=1)
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = Lock()

    def describe(self) -> str:
        """How intensities of volumes are read."""
        return self._settings.model_dump_json()

    def image(self, subject: Subject, index: int) -> Image:
        """A slice as a network sees it, (1 or 3, H, W) in 0..1.

        Raises:
            DataError: it cannot be read.
        """
        if not subject.is_volume:
            return read_image(subject.files.image)
        return self._open(subject).slices.image(index)

    def stored(self, subject: Subject, index: int) -> NDArray[np.float32]:
        """A slice in the units of its file, (C, H, W); an image in 0..255, or 0..65535 with 16 bits."""
        if subject.is_volume:
            return np.asarray(self.volume(subject).array[:1, index], np.float32)
        top = 65535 if image_info(subject.files.image).bits > 8 else 255
        levels: NDArray[np.float32] = read_image(subject.files.image).array * np.float32(top)
        return levels

    def window(self, subject: Subject) -> tuple[float, float]:
        """What is shown as black and as white where nobody chose, in the units of `stored`."""
        if not subject.is_volume:
            return 0.0, 65535.0 if image_info(subject.files.image).bits > 8 else 255.0
        if isinstance(self._intensity, WindowIntensity):
            centre, width = self._intensity.windows[0]
            return centre - width / 2, centre + width / 2
        return self._open(subject).percentiles

    def range(self, subject: Subject) -> tuple[float, float]:
        """Smallest and largest value of the whole image or volume."""
        values = self.volume(subject).array if subject.is_volume else self.stored(subject, 0)
        return float(values.min()), float(values.max())

    def spacing(self, subject: Subject) -> tuple[float, float, float] | None:
        """Of rows, columns and slices in mm; None for an image."""
        if not subject.is_volume:
            return None
        depth, height, width = self.volume(subject).spacing
        return height, width, depth

    def volume(self, subject: Subject) -> Volume:
        """A volume, upright."""
        return self._open(subject).volume

    def given(self, subject: Subject) -> Volume:
        """A volume as its file has it."""
        opened = self._open(subject)
        return opened.orientation.undo(opened.volume)

    def orientation(self, subject: Subject) -> Orientation:
        """How a volume was turned upright."""
        return self._open(subject).orientation

    def mask(self, subject: Subject) -> NDArray[np.uint8]:
        """The mask that lies in the folder, upright: (D, H, W) class ids, D = 1 for an image.

        Raises:
            DataError: it cannot be read, or does not fit its image.
        """
        if not subject.is_volume:
            return read_mask(subject.files, self._mapping).array[None]
        label = read_volume_case(subject.files, self._mapping).canonical().label
        if label is None:
            raise LayoutError(f"{subject.name} has no mask")
        return np.ascontiguousarray(label.array)

    def _open(self, subject: Subject) -> _Opened:
        with self._lock:
            opened = self._opened.pop(subject.id, None)
            if opened is None:
                given = _read_volume(subject.files)
                turn = find_orientation(given.geometry)
                opened = _Opened(turn.apply(given), turn, self._settings)
            self._opened[subject.id] = opened
            while len(self._opened) > _KEPT_VOLUMES:
                self._opened.popitem(last=False)
            return opened


def _read_volume(files: CaseFiles) -> Volume:
    if files.series is not None or files.is_volume:
        return read_channels(files)
    return replace(open_volume(files.image), id=files.id)

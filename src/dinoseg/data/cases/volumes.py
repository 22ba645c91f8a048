"""`VolumeCase`: one subject of three dimensions, and its slices as a model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dinoseg.config import IntensitySettings, PreprocessingSettings, WindowIntensity
from dinoseg.config.settings import PercentileIntensity
from dinoseg.data.case import Image, LabelMap
from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.volumes import (
    AsStored,
    CTWindows,
    Geometry,
    IntensityRule,
    LabelVolume,
    MRPercentiles,
    Orientation,
    Plane,
    Ramps,
    Volume,
    apply_ramps,
    check_same_geometry,
    find_orientation,
    fit_ramps,
    read_label,
    read_volume,
    read_volume_info,
    take_slice,
)
from dinoseg.data.volumes.doubts import doubt_hounsfield
from dinoseg.data.volumes.geometry import refuse_other_geometry
from dinoseg.data.volumes.slices import plane_axis
from dinoseg.errors import ConfigError

DOUBTED = 8  # volumes that are read before a training to see whether their values are what they should be
_INPUTS = 3  # channels that a backbone takes


@dataclass(frozen=True, eq=False)
class VolumeCase:
    """One subject: a volume, and its label on the same grid where there is one.

    Attributes:
        id: name of the case, unique in its data set.
        image: the intensities.
        label: class ids, uint8 (`IGNORE_ID` where nobody decided), or None.
        group: patient; never split.
        source: the (first) image file.
    """

    id: str
    image: Volume
    label: LabelVolume | None
    group: str
    source: Path

    @property
    def orientation(self) -> Orientation:
        """How to turn the case upright, and back."""
        return find_orientation(self.image.geometry)

    def canonical(self) -> VolumeCase:
        """The case with its axes towards inferior, posterior, left; arrays are views."""
        turn = self.orientation
        label = None if self.label is None else turn.apply(self.label)
        return replace(self, image=turn.apply(self.image), label=label)


class VolumeSlices:
    """The slices of one volume as a model sees them, each made when it is asked for.

    Args:
        volume: in canonical orientation.
        settings: one plane, context and intensities.

    Raises:
        ConfigError: the settings are for images, or of several planes.
        DataError: the intensities do not fit the rule (a constant volume, values out of a fixed range).
    """

    def __init__(self, volume: Volume, settings: PreprocessingSettings) -> None:
        if settings.intensity is None:
            raise ConfigError(
                "the model is for images (model.preprocessing.intensity is null); a volume needs one "
                "that was trained on volumes"
            )
        if len(settings.planes) > 1:
            raise ConfigError(f"slices lie in one plane, given {', '.join(settings.planes)}; see in_plane")
        self._volume = volume
        self._plane, self._context = settings.planes[0], settings.context
        self._ramps = _fit_inputs(volume, settings.intensity, settings.context)
        self._axis = plane_axis(self._plane)

    def __len__(self) -> int:
        return self._volume.geometry.shape[self._axis]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a slice in voxels."""
        height, width = (n for place, n in enumerate(self._volume.geometry.shape) if place != self._axis)
        return height, width

    def image(self, index: int) -> Image:
        """Slice `index`, upright: (3, H, W), float32 in 0..1."""
        raw = take_slice(self._volume, index, plane=self._plane, context=self._context)
        return Image(apply_ramps(self._ramps, raw))


def read_volume_case(files: CaseFiles, mapping: LabelMapping) -> VolumeCase:
    """Read image and label of one case in the orientation of the image file.

    Raises:
        FileFormatError: image or label cannot be read.
        LabelError: the label does not lie on the image's grid, or holds a value without a class.
    """
    image = read_channels(files)
    label = None
    if files.label is not None:
        raw = files.series.read_label(files.label) if files.series else read_label(files.label)
        check_same_geometry(image, raw)
        label = mapping.apply_volume(raw)
    return VolumeCase(files.id, image, label, files.group, files.image)


def read_channels(files: CaseFiles) -> Volume:
    """Read the image of one case, its channels stacked from their files or chosen from a 4D one.

    Raises:
        FileFormatError: a file cannot be read, or the channels are on different grids.
    """
    if files.series is not None:
        return replace(files.series.read(), id=files.id)
    if len(files.images) == 1:
        image = read_volume(files.image, channel=files.channel_indices or None)
        return replace(image, id=files.id)
    first = read_volume(files.image)
    array = np.empty((len(files.images), *first.geometry.shape), dtype=first.array.dtype)
    array[0] = first.array[0]
    for number, path in enumerate(files.images[1:], start=1):
        channel = read_volume(path)
        refuse_other_geometry(
            first.geometry,
            channel.geometry,
            image_name=files.image,
            label_name=path,
        )
        if channel.array.dtype != array.dtype:
            array = array.astype(np.float32, copy=False)
        array[number] = channel.array[0]
    return Volume(array, first.geometry, files.image, files.id)


def measure_slices(files: CaseFiles, plane: Plane) -> tuple[int, int, int]:
    """How many slices a case has in this plane, and their height and width, from the header alone.

    Raises:
        FileFormatError: the file is missing, damaged, or no volume.
    """
    given = read_geometry(files)
    shape = [given.shape[axis] for axis in find_orientation(given).axes]
    count = shape.pop(plane_axis(plane))
    return count, shape[0], shape[1]


def measure_spacing(files: CaseFiles, plane: Plane) -> float | None:
    """Mm from one slice of a case to the next in this plane, from the header; None where it does not say.

    Raises:
        FileFormatError: the file is missing, damaged, or no volume.
    """
    given = read_geometry(files)
    axis = find_orientation(given).axes[plane_axis(plane)]
    return given.spacing[axis] if given.spacing_known else None


def read_geometry(files: CaseFiles) -> Geometry:
    """The grid of a case in the orientation of its file, from the header alone.

    Raises:
        FileFormatError: the file is missing, damaged, or no volume.
    """
    return files.series.read_geometry() if files.series else read_volume_info(files.image).geometry


def take_label_slice(label: LabelVolume, index: int, *, plane: Plane) -> LabelMap:
    """Slice `index` of a canonical label, as `take_slice` cuts its image."""
    array = label.array[(slice(None),) * plane_axis(plane) + (index,)]  # (D, H, W) -> (H, W)
    return LabelMap(np.ascontiguousarray(array))


def intensity_rule(settings: IntensitySettings) -> IntensityRule:
    """The rule that the settings describe."""
    if isinstance(settings, WindowIntensity):
        return CTWindows(settings.windows)
    if isinstance(settings, PercentileIntensity):
        return MRPercentiles(settings.low, settings.high, settings.region)
    return AsStored(settings.minimum, settings.maximum)


def note_channels(channels: int, settings: PreprocessingSettings) -> str:
    """One line that tells which of several channels a model sees, or ""."""
    if channels == 1:
        return ""
    used = sorted(set(_choose_channels(channels, settings.intensity, settings.context)))
    if len(used) == channels == _INPUTS:
        return ""
    why = "three slices" if settings.context > 1 else "three windows" if len(used) == 1 else "three inputs"
    return (
        f"the volumes have {channels} channels; the model has {why} and sees channel {_join(used)} (from 0)"
    )


def note_doubts(
    cases: Sequence[CaseFiles], settings: PreprocessingSettings, *, most: int = DOUBTED
) -> tuple[str, ...]:
    """What is doubtful about some volumes before a model learns from them; see `find_doubts`.

    Args:
        cases: of which at most `most`, evenly spread, are read.
        settings: say how intensities are read.
        most: volumes to read.

    Returns:
        One line for each kind of doubt, which names the volumes; none for images.
    """
    if settings.intensity is None or not cases:
        return ()
    rule = intensity_rule(settings.intensity)
    placement, values = {}, {}
    for index in sorted({int(n) for n in np.linspace(0, len(cases) - 1, most)}):
        volume = read_channels(cases[index])
        placement[volume.id] = volume.geometry.placement_doubt
        values[volume.id] = (doubt_hounsfield(volume, rule) if isinstance(rule, CTWindows) else "") or ""
    more = "" if len(values) == len(cases) else f" ({len(values)} of {len(cases)} were looked at)"
    found = (*summarise_doubts(placement), *summarise_doubts(values))
    return tuple(f"{line}; `dinoseg data check` looks at all{more}" for line in found)


def summarise_doubts(doubts: Mapping[str, str]) -> tuple[str, ...]:
    """One line for all volumes with a doubt of a kind (case id -> doubt or ""), with that of the first."""
    doubtful = [name for name, doubt in doubts.items() if doubt]
    if not doubtful:
        return ()
    named = f"{len(doubtful)} of {len(doubts)} volumes ({shorten(doubtful)})"
    return (f"{named}, {doubtful[0]}: {doubts[doubtful[0]]}",)


def _join(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _fit_inputs(volume: Volume, intensity: IntensitySettings, context: int) -> Ramps:
    """Ramps of exactly the three inputs; one where the context makes three of it."""
    fitted = fit_ramps(intensity_rule(intensity), volume)
    each = len(fitted.ramps) // volume.channels  # three where there are three windows
    chosen = _choose_channels(volume.channels, intensity, context)
    if each == _INPUTS:
        return Ramps(volume.channels, fitted.ramps[:_INPUTS])
    return Ramps(volume.channels, tuple(fitted.ramps[channel] for channel in chosen))


def _choose_channels(channels: int, intensity: IntensitySettings | None, context: int) -> list[int]:
    windows = len(intensity.windows) if isinstance(intensity, WindowIntensity) else 1
    if context > 1 or windows == _INPUTS:
        return [0]
    return [place % channels for place in range(_INPUTS)]

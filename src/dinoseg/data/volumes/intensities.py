"""Intensities by modality: from the units of a file to 0..1, by a rule that is stored with the model.

| rule | for | what it does |
|---|---|---|
| `CTWindows` | CT | Hounsfield units through one or three windows (centre, width) |
| `MRPercentiles` | MR | from a low to a high percentile of each volume and channel |
| `AsStored` | anything with fixed units | from a fixed minimum to a fixed maximum, 0 and 255 for 8 bits |

`fit_ramps` looks at a volume once, `apply_ramps` then turns any of its slices into float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.volume import Volume
from dinoseg.errors import ConfigError, DataError, UsageError

Region = Literal["foreground", "all"]

_SAMPLE = 1 << 22  # voxels that percentiles are taken from


@dataclass(frozen=True)
class CTWindows:
    """Windows in Hounsfield units; each makes one channel of every channel of the volume.

    Attributes:
        windows: one or three pairs (centre, width). Values below centre - width / 2 become 0,
            values above centre + width / 2 become 1.

    Raises:
        ConfigError: another number of windows, or a width that is not above 0.
    """

    windows: tuple[tuple[float, float], ...] = ((40.0, 400.0),)

    def __post_init__(self) -> None:
        if len(self.windows) not in (1, 3) or any(len(window) != 2 for window in self.windows):
            raise ConfigError(f"windows {self.windows} are not accepted; give one or three (centre, width)")
        for centre, width in self.windows:
            if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
                raise ConfigError(f"window ({centre}, {width}) is not accepted; the width must be above 0")


@dataclass(frozen=True)
class MRPercentiles:
    """Percentiles of each volume and channel, because MR signal has no unit.

    They are taken once per volume, never per slice, from at most some four million voxels on a regular
    grid of rows and columns of every slice.

    Attributes:
        low: percentile that becomes 0.
        high: percentile that becomes 1.
        region: "foreground" leaves out the voxels that have the volume's smallest value, which is the
            background of skull-stripped and padded volumes; "all" counts every voxel.

    Raises:
        ConfigError: percentiles that are not 0 <= low < high <= 100, or an unknown region.
    """

    low: float = 0.5
    high: float = 99.5
    region: Region = "foreground"

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ConfigError(f"percentiles {self.low} and {self.high}: accepted are 0 <= low < high <= 100")
        if self.region not in ("foreground", "all"):
            raise ConfigError(f"region {self.region!r} is unknown; accepted are foreground and all")


@dataclass(frozen=True)
class AsStored:
    """A fixed range for every volume: what is stored is kept, only the scale changes.

    Attributes:
        minimum: value that becomes 0.
        maximum: value that becomes 1.

    Raises:
        ConfigError: not minimum < maximum.
    """

    minimum: float = 0.0
    maximum: float = 255.0

    def __post_init__(self) -> None:
        if not -math.inf < self.minimum < self.maximum < math.inf:
            raise ConfigError(f"range {self.minimum} to {self.maximum} is not accepted; minimum < maximum")


IntensityRule = CTWindows | MRPercentiles | AsStored


@dataclass(frozen=True)
class Ramp:
    """One channel of a model's input: `low` and below becomes 0, `high` and above 1, linear between.

    Attributes:
        channel: channel of the volume that it looks at.
        low: in the units of the volume.
        high: in the units of the volume.
    """

    channel: int
    low: float
    high: float


@dataclass(frozen=True)
class Ramps:
    """What a rule makes of one volume.

    Attributes:
        channels: channels of the volume.
        ramps: channels of the result, in order.
    """

    channels: int
    ramps: tuple[Ramp, ...]


def fit_ramps(rule: IntensityRule, volume: Volume) -> Ramps:
    """Look at a volume and say how its intensities become 0..1.

    Args:
        rule: the rule of the modality.
        volume: the whole volume, in any orientation.

    Raises:
        DataError: percentiles that coincide (a constant volume), or values outside a fixed range.
    """
    ramps: list[Ramp] = []
    for channel in range(volume.channels):
        if isinstance(rule, CTWindows):
            ramps += [Ramp(channel, centre - width / 2, centre + width / 2) for centre, width in rule.windows]
        elif isinstance(rule, MRPercentiles):
            ramps.append(_fit_percentiles(rule, volume, channel))
        else:
            _refuse_outside(rule, volume, channel)
            ramps.append(Ramp(channel, rule.minimum, rule.maximum))
    return Ramps(volume.channels, tuple(ramps))


def apply_ramps(ramps: Ramps, slices: NDArray[Any]) -> NDArray[np.float32]:
    """Intensities of a slice, or of a slice and its neighbours, as 0..1.

    Args:
        ramps: of the volume that the slice is from.
        slices: (C * context, H, W), as `take_slice` gives it.

    Returns:
        (len(ramps.ramps) * context, H, W), float32 in 0..1; all channels of the first slice, then of
        the next.

    Raises:
        UsageError: the channels are no multiple of the volume's.
    """
    if slices.ndim != 3 or slices.shape[0] % ramps.channels:
        raise UsageError(f"slices of shape {slices.shape}; accepted are ({ramps.channels} x context, H, W)")
    context = slices.shape[0] // ramps.channels
    result = np.empty((context * len(ramps.ramps), *slices.shape[1:]), dtype=np.float32)
    for place, target in enumerate(result):
        neighbour, number = divmod(place, len(ramps.ramps))
        ramp = ramps.ramps[number]
        source = slices[neighbour * ramps.channels + ramp.channel]
        np.clip((source.astype(np.float32) - ramp.low) / (ramp.high - ramp.low), 0.0, 1.0, out=target)
    return result


def _fit_percentiles(rule: MRPercentiles, volume: Volume, channel: int) -> Ramp:
    values = sample_voxels(volume.array[channel : channel + 1])
    if rule.region == "foreground":
        values = values[values > values.min()]
    low, high = _percentiles(values, (rule.low, rule.high))
    if not low < high:
        raise DataError(
            f"{volume.source} has the percentiles {rule.low:g} and {rule.high:g} both at {low:g}; "
            "leave out this volume if it is empty, or set percentiles further apart"
        )
    return Ramp(channel, low, high)


def _percentiles(values: NDArray[Any], places: Sequence[float]) -> list[float]:
    if values.size == 0:  # a constant volume has no foreground
        return [0.0 for _ in places]
    return [float(value) for value in np.percentile(values, places)]


def sample_voxels(array: NDArray[Any]) -> NDArray[Any]:
    """At most some four million voxels of (C, D, H, W), on a regular grid of rows and columns."""
    step = max(1, math.ceil(math.sqrt(array.size / _SAMPLE)))
    return array[:, :, ::step, ::step].ravel()


def _refuse_outside(rule: AsStored, volume: Volume, channel: int) -> None:
    lowest, highest = float(volume.array[channel].min()), float(volume.array[channel].max())
    if lowest < rule.minimum or highest > rule.maximum:
        raise DataError(
            f"{volume.source} has values from {lowest:g} to {highest:g}, outside "
            f"{rule.minimum:g} to {rule.maximum:g}; set its minimum and maximum, or use percentiles"
        )

"""What a model saw in training, and whether an input is like it: size, spacing, colour and range of values.

`describe_image` and `describe_volume` measure one input, `Profile.of` brings those of the training cases
together, and `Profile.find_differences` says in words where another input lies far outside of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import Image

PERCENTILES = (1, 25, 50, 75, 99)
SIZE_FACTOR = 4.0
"""Times the largest (or part of the smallest) image of the training that are still like it."""
SPACING_FACTOR = 2.5
"""The same of the spacing, along each axis."""
SLACK, SLACK_OF_FEW, SLACK_OF_SPREAD = 0.2, 0.5, 0.5
"""How far a percentile may lie outside of all training cases, in parts of their range of values: the first,
plus the second over their number; or the third in parts of their own spread, where that is more."""

_SAMPLED = 1 << 16  # pixels that percentiles are taken from; four times as many voxels
_BORDER = 0.02  # of the range of values at either end: border, air, glare
_FEWEST = 16  # values between, for percentiles of their own
_GREY = 0.01  # mean distance of the channels, in 0..1: what JPEG leaves of a grey image


@dataclass(frozen=True)
class Facts:
    """What one input shows.

    Attributes:
        size: (H, W) in pixels, or (D, H, W) of a volume in canonical orientation.
        channels: of the file; 3 for colour.
        grey: an image whose channels are equal; false for volumes.
        levels: `PERCENTILES` of each channel, 0..1 for images, else in the units of the file; those
            between the first and the last are of the values between, so that no border counts.
        spacing: (D, H, W) in mm; None for images, and where the file does not say.
    """

    size: tuple[int, ...]
    channels: int
    grey: bool
    levels: tuple[tuple[float, ...], ...]
    spacing: tuple[float, ...] | None = None

    def to_array(self) -> NDArray[np.float64]:
        """All of it as numbers in a row, for the feature cache."""
        spacing = self.spacing or (math.nan,) * len(self.size)
        head = (len(self.size), *self.size, *spacing, self.channels, self.grey)
        return np.array([*head, *(value for channel in self.levels for value in channel)], np.float64)

    @classmethod
    def from_array(cls, values: NDArray[np.float64]) -> Facts:
        """What `to_array` wrote."""
        axes = int(values[0])
        size, spacing = values[1 : 1 + axes], values[1 + axes : 1 + 2 * axes]
        channels, grey = values[1 + 2 * axes : 3 + 2 * axes]
        rows = values[3 + 2 * axes :].reshape(-1, len(PERCENTILES))
        return cls(
            size=tuple(int(side) for side in size),
            channels=int(channels),
            grey=bool(grey),
            levels=tuple(tuple(row) for row in rows.tolist()),
            spacing=None if np.isnan(spacing).any() else tuple(spacing.tolist()),
        )


def describe_image(image: Image) -> Facts:
    """Facts of an image (1 or 3, H, W) in 0..1, from some 65,000 of its pixels."""
    height, width = image.size
    step = max(1, int(math.sqrt(height * width / _SAMPLED)))
    pixels = image.array[:, ::step, ::step].reshape(len(image.array), -1)
    grey = len(pixels) == 1 or float(np.ptp(pixels, axis=0).mean()) < _GREY
    return Facts((height, width), len(pixels), grey, _find_levels(pixels))


def describe_volume(array: NDArray[Any], *, spacing: tuple[float, ...] | None) -> Facts:
    """Facts of a volume (C, D, H, W) in canonical orientation, from some 260,000 of its voxels."""
    shape = array.shape[1:]
    step = max(1, int((math.prod(shape) / (4 * _SAMPLED)) ** (1 / 3)))
    voxels = array[:, ::step, ::step, ::step].reshape(len(array), -1)
    return Facts(tuple(shape), len(array), False, _find_levels(voxels), spacing)


@dataclass(frozen=True)
class Profile:
    """What the training cases of a model show.

    Attributes:
        cases: their number.
        sizes: smallest and largest extent along each axis.
        channels: every number that occurs.
        grey: how many are grey images.
        low: of each channel, the lowest value of each percentile; None where the cases differ in their
            number of channels.
        high: the highest.
        spacings: smallest and largest along each axis in mm; None where some do not say.
        relative: values have no unit: percentiles are parts of the way from the first to the last one.
    """

    cases: int
    sizes: tuple[tuple[int, ...], tuple[int, ...]]
    channels: tuple[int, ...]
    grey: int
    low: tuple[tuple[float, ...], ...] | None
    high: tuple[tuple[float, ...], ...] | None
    spacings: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    relative: bool = False

    @classmethod
    def of(cls, facts: Sequence[Facts], *, relative: bool = False) -> Profile:
        """Bring the facts of some cases together; `relative` as of the profile."""
        sizes = np.array([each.size for each in facts])
        channels = tuple(sorted({each.channels for each in facts}))
        volumes, grey = len(facts[0].size) == 3, all(each.grey for each in facts)
        rows = max(channels) if volumes else 1 if grey else 3
        alike = not volumes or len(channels) == 1
        stacked = np.stack([_compare_levels(each, rows, relative) for each in facts]) if alike else None
        spacings = [each.spacing for each in facts if each.spacing is not None]
        return cls(
            cases=len(facts),
            sizes=(_to_whole(sizes.min(axis=0)), _to_whole(sizes.max(axis=0))),
            channels=channels,
            grey=sum(each.grey for each in facts),
            low=None if stacked is None else _to_rows(stacked.min(axis=0)),
            high=None if stacked is None else _to_rows(stacked.max(axis=0)),
            spacings=_bound(spacings) if len(spacings) == len(facts) else None,
            relative=relative,
        )

    @classmethod
    def join(cls, profiles: Sequence[Profile]) -> Profile:
        """What the training cases of several models show, all together."""
        first = profiles[0]
        sizes = np.array([each.sizes for each in profiles])  # (models, 2, axes)
        lows = [np.array(each.low) for each in profiles if each.low is not None]
        highs = [np.array(each.high) for each in profiles if each.high is not None]
        alike = len(lows) == len(profiles) and len({low.shape for low in lows}) == 1
        spacings = [ends for each in profiles for ends in each.spacings or ()]
        return cls(
            cases=sum(each.cases for each in profiles),
            sizes=(_to_whole(sizes[:, 0].min(axis=0)), _to_whole(sizes[:, 1].max(axis=0))),
            channels=tuple(sorted({number for each in profiles for number in each.channels})),
            grey=sum(each.grey for each in profiles),
            low=_to_rows(np.min(lows, axis=0)) if alike else None,
            high=_to_rows(np.max(highs, axis=0)) if alike else None,
            spacings=_bound(spacings) if len(spacings) == 2 * len(profiles) else None,
            relative=first.relative,
        )

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Profile:
        """What `dataclasses.asdict` gave, from JSON.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        low, high = (
            None if described[name] is None else _to_rows(np.array(described[name], np.float64))
            for name in ("low", "high")
        )
        smallest, largest = (_to_whole(np.array(sides)) for sides in described["sizes"])
        spacings = described["spacings"]
        return cls(
            cases=int(described["cases"]),
            sizes=(smallest, largest),
            channels=tuple(int(number) for number in described["channels"]),
            grey=int(described["grey"]),
            low=low,
            high=high,
            spacings=None if spacings is None else (tuple(spacings[0]), tuple(spacings[1])),
            relative=bool(described["relative"]),
        )

    def find_differences(self, facts: Facts) -> str:
        """How an input is far from all training cases, in one line; "" where it is like them."""
        found = (
            self._doubt_colour(facts),
            self._doubt_levels(facts),
            self._doubt_spacing(facts),
            self._doubt_size(facts),
        )
        return "; ".join(each for each in found if each)

    def _doubt_colour(self, facts: Facts) -> str:
        if len(facts.size) != len(self.sizes[0]) or len(facts.size) == 3:
            return ""
        if facts.grey and self.grey == 0:
            return "it is grey, and the model was trained on colour"
        if not facts.grey and self.grey == self.cases:
            return "it is in colour, and the model was trained on grey"
        return ""

    def _doubt_levels(self, facts: Facts) -> str:
        if self.low is None or self.high is None or len(facts.size) != len(self.sizes[0]):
            return ""
        low, high = np.array(self.low), np.array(self.high)
        given = _compare_levels(facts, len(low), self.relative)
        if given.shape != low.shape:
            return ""
        span = 1.0 if self.relative or len(facts.size) == 2 else float(high.max() - low.min())
        slack = np.maximum((SLACK + SLACK_OF_FEW / self.cases) * span, SLACK_OF_SPREAD * (high - low))
        outside = np.maximum(low - slack - given, given - high - slack)
        if not (outside > 0).any():
            return ""
        channel, place = np.unravel_index(int(outside.argmax()), outside.shape)
        where = f"channel {channel}: " if len(given) > 1 else ""
        name = "median" if PERCENTILES[place] == 50 else f"percentile {PERCENTILES[place]}"
        of = " of the way from darkest to brightest" if self.relative else ""
        return (
            f"{where}its {name} is {given[channel, place]:.3g}{of}, in training "
            f"{low[channel, place]:.3g} to {high[channel, place]:.3g}"
        )

    def _doubt_spacing(self, facts: Facts) -> str:
        if self.spacings is None or facts.spacing is None:
            return ""
        smallest, largest = (np.array(each) for each in self.spacings)
        given = np.array(facts.spacing)
        if (given >= smallest / SPACING_FACTOR).all() and (given <= largest * SPACING_FACTOR).all():
            return ""
        bounds = f"{_join(self.spacings[0])} to {_join(self.spacings[1])}"
        return f"its voxels are {_join(facts.spacing)} mm, in training {bounds}"

    def _doubt_size(self, facts: Facts) -> str:
        smallest, largest = (sides[-2:] for sides in self.sizes)
        given = facts.size[-2:]
        if len(facts.size) != len(self.sizes[0]):
            return ""
        if max(given) <= SIZE_FACTOR * max(largest) and min(given) >= min(smallest) / SIZE_FACTOR:
            return ""
        return f"its size is {_join(given)} px, in training {_join(smallest)} to {_join(largest)}"


def _find_levels(values: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(_find_levels_of_channel(channel) for channel in values)


def _find_levels_of_channel(values: NDArray[Any]) -> tuple[float, ...]:
    """First and last percentile of all values, the middle ones of those that lie between.

    How much black border or air is around a subject varies, and would decide a plain median.
    """
    first, last = np.percentile(values, [PERCENTILES[0], PERCENTILES[-1]])
    margin = _BORDER * (last - first)
    inner = values[(values > first + margin) & (values < last - margin)]
    middle = np.percentile(inner if inner.size >= _FEWEST else values, PERCENTILES[1:-1])
    return tuple(round(float(value), 6) for value in (first, *middle, last))


def _compare_levels(facts: Facts, rows: int, relative: bool) -> NDArray[np.float64]:
    """The percentiles as they are compared: of so many channels of an image, without unit if asked."""
    levels = np.array(facts.levels, np.float64)
    if len(facts.size) == 2 and len(levels) != rows:
        levels = np.broadcast_to(levels.mean(axis=0), (rows, levels.shape[1]))
    if not relative:
        return levels
    first, last = levels[:, :1], levels[:, -1:]
    compared: NDArray[np.float64] = (levels - first) / np.maximum(last - first, 1e-9)
    return compared


def _bound(values: Sequence[tuple[float, ...]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    array = np.array(values)
    return tuple(array.min(axis=0).tolist()), tuple(array.max(axis=0).tolist())


def _to_rows(array: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 6) for value in row) for row in array.tolist())


def _to_whole(array: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(side) for side in array)


def _join(values: Sequence[float]) -> str:
    return "×".join(f"{value:.4g}" for value in values)

"""What a volume is like, and what makes it doubtful: values that are no Hounsfield units, two placements.

Nothing here refuses a volume: a doubt is one line for a person, and the volume is used as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.volumes.intensities import CTWindows, IntensityRule, sample_voxels
from dinoseg.data.volumes.volume import Volume

AIR = -200.0  # HU; every CT of a body shows something below, if only the air around it or fat's edge
PADDING = -1500.0  # HU; nothing real is below, but scanners fill the corners outside of their circle so
MOST = 0.95  # share of the voxels on one grey level from which on a window shows nothing

_LEVELS = 256


@dataclass(frozen=True)
class VolumeDescription:
    """What one volume is like, to compare with what a model has seen.

    Attributes:
        shape: voxels along (D, H, W), as in the file.
        spacing: mm along (D, H, W), or None where the file does not say.
        directions: towards where D, H and W run.
        channels: of the image.
        dtype: of the voxels in memory.
        lowest: smallest value of all channels.
        highest: largest value.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    directions: str
    channels: int
    dtype: str
    lowest: float
    highest: float


def describe_volume(volume: Volume) -> VolumeDescription:
    """Grid, type and range of a volume."""
    geometry = volume.geometry
    return VolumeDescription(
        shape=geometry.shape,
        spacing=geometry.spacing if geometry.spacing_known else None,
        directions=geometry.directions,
        channels=volume.channels,
        dtype=volume.array.dtype.name,
        lowest=float(volume.array.min()),
        highest=float(volume.array.max()),
    )


def find_doubts(volume: Volume, rule: IntensityRule | None = None) -> tuple[str, ...]:
    """What a person should know before trusting a volume, one line each, without its name.

    Args:
        volume: as read.
        rule: how its intensities are read; with CT windows the values should be Hounsfield units.
    """
    placed = volume.geometry.placement_doubt
    values = doubt_hounsfield(volume, rule) if isinstance(rule, CTWindows) else None
    return tuple(line for line in (placed, values) if line)


def doubt_hounsfield(volume: Volume, windows: CTWindows) -> str | None:
    """One line where the values of a volume are probably no Hounsfield units, else None.

    They are doubted where none lies below -200 (but for padding, below -1500), or where through every
    window 95 % of the voxels have one of 256 grey levels.
    """
    values = sample_voxels(volume.array)
    low, high = float(values.min()), float(values.max())
    stated = f"its values go from {low:g} to {high:g}"
    if not bool(((values < AIR) & (values > PADDING)).any()):
        return (
            f"{stated}, none of them is air or fat in Hounsfield units (below {AIR:g}): it is probably "
            "scaled or shifted, and a CT window shows something else than in a CT; store Hounsfield units"
        )
    shares = [_fullest_level(values, centre, width) for centre, width in windows.windows]
    if min(shares) < MOST:
        return None
    centre, width = windows.windows[int(np.argmin(shares))]
    return (
        f"{stated}, and the window {centre - width / 2:g} to {centre + width / 2:g} makes one grey level "
        f"of {min(shares):.0%} of them: they are probably no Hounsfield units; store those"
    )


def _fullest_level(values: NDArray[Any], centre: float, width: float) -> float:
    """Share of the voxels on the grey level that has most of them."""
    levels = np.clip((values.astype(np.float32) - (centre - width / 2)) / width, 0, 1) * (_LEVELS - 1)
    return float(np.bincount(np.rint(levels).astype(np.int64)).max() / values.size)

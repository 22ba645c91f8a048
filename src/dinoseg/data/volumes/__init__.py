"""Volumes: files <-> arrays with a place in the patient, canonical orientation, slices, intensities."""

from __future__ import annotations

from dinoseg.config.planes import Plane
from dinoseg.data.volumes.doubts import VolumeDescription, describe_volume, find_doubts
from dinoseg.data.volumes.files import (
    LABEL_SUFFIXES,
    SUFFIXES,
    VolumeInfo,
    read_label,
    read_volume,
    read_volume_info,
    volume_stem,
    volume_suffix,
    write_label,
)
from dinoseg.data.volumes.geometry import Geometry, upright_geometry
from dinoseg.data.volumes.intensities import (
    AsStored,
    CTWindows,
    IntensityRule,
    MRPercentiles,
    Ramp,
    Ramps,
    apply_ramps,
    fit_ramps,
)
from dinoseg.data.volumes.orientation import Canonical, Orientation, find_orientation, to_canonical
from dinoseg.data.volumes.slices import Context, iter_slices, stack_slices, take_slice
from dinoseg.data.volumes.volume import LabelVolume, Volume, check_same_geometry

__all__ = [
    "LABEL_SUFFIXES",
    "SUFFIXES",
    "AsStored",
    "CTWindows",
    "Canonical",
    "Context",
    "Geometry",
    "IntensityRule",
    "LabelVolume",
    "MRPercentiles",
    "Orientation",
    "Plane",
    "Ramp",
    "Ramps",
    "Volume",
    "VolumeDescription",
    "VolumeInfo",
    "apply_ramps",
    "check_same_geometry",
    "describe_volume",
    "find_doubts",
    "find_orientation",
    "fit_ramps",
    "iter_slices",
    "read_label",
    "read_volume",
    "read_volume_info",
    "stack_slices",
    "take_slice",
    "to_canonical",
    "upright_geometry",
    "volume_stem",
    "volume_suffix",
    "write_label",
]

"""`LinkedVolume`: an image of many files whose label refers to them, as a DICOM series with its SEG."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dinoseg.data.volumes.geometry import Geometry
from dinoseg.data.volumes.volume import LabelVolume, Volume


class LinkedVolume(Protocol):
    """What a case needs to know of such an image; `dicom.LabelledSeries` is one."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the image."""
        ...

    @property
    def names(self) -> tuple[tuple[str, int], ...]:
        """(Name in the label, class id from 1) of what is wanted of it."""
        ...

    def read(self) -> Volume:
        """Read the image."""
        ...

    def read_geometry(self) -> Geometry:
        """Read where it lies, without its voxels."""
        ...

    def read_label(self, path: Path) -> LabelVolume:
        """Read a label that refers to it, as class ids on its grid."""
        ...

"""`VolumePrediction`: what a model says about one volume, on the volume's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg import __version__
from dinoseg.config import PreprocessingSettings
from dinoseg.data.cases.volumes import VolumeSlices
from dinoseg.data.dicom import SeriesReference, write_segmentation
from dinoseg.data.volumes import (
    Geometry,
    LabelVolume,
    Plane,
    Volume,
    find_orientation,
    to_canonical,
    write_label,
)
from dinoseg.data.volumes.files import volume_suffix
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import UsageError
from dinoseg.inference.pictures.slices import draw_slices
from dinoseg.inference.results.prediction import write_picture
from dinoseg.model.confidence import Confidence, Tally
from dinoseg.outputs import write_json

_SEGMENTATION = ".dcm"


@dataclass(frozen=True, eq=False)
class VolumePrediction:
    """The answer for one volume.

    Attributes:
        id: of the volume; its file's name without the suffix.
        mask: (D, H, W), uint8 class ids in the order and directions of the input's axes.
        classes: class id -> name.
        geometry: of the input.
        source: the file or folder.
        planes: in which it was cut.
        preprocessing: of the model; what overlays show intensities by.
        method: of the model; a DICOM SEG names it.
        reference: the DICOM series of the input, which a SEG points to; None for other inputs.
        warnings: what is doubtful about the input, one line each; see `find_doubts`.
        confidence: expected Dice and more; None where the network computes masks only.
        uncertainty: (D, H, W), float32, on the grid of the mask, as of `Prediction`; None unless asked for.
        tally: sums of the probabilities that the confidence is from.
        embedding: (C,), mean of the backbone's last feature maps; None with windows.
    """

    id: str
    mask: NDArray[np.uint8]
    classes: dict[int, str]
    geometry: Geometry
    source: Path
    planes: tuple[Plane, ...]
    preprocessing: PreprocessingSettings
    method: str
    reference: SeriesReference | None = None
    warnings: tuple[str, ...] = ()
    confidence: Confidence | None = None
    uncertainty: NDArray[np.float32] | None = None
    tally: Tally | None = None
    embedding: NDArray[np.float32] | None = None

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Size of a voxel in mm along (D, H, W); None where the input does not say."""
        return self.geometry.spacing if self.geometry.spacing_known else None

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), from (d, h, w, 1) to world mm."""
        return self.geometry.affine

    @property
    def voxel_volume(self) -> float | None:
        """Of one voxel in mm³, also where axes are tilted; None where the input does not say."""
        if not self.geometry.spacing_known:
            return None
        return abs(float(np.linalg.det(self.geometry.affine[:3, :3])))

    @property
    def voxels(self) -> dict[int, int]:
        """Class id -> number of voxels, for every class."""
        counts = np.zeros(max(self.classes) + 1, np.int64)
        for plane in self.mask:  # bincount copies to 8 bytes for each voxel
            counts += np.bincount(plane.ravel(), minlength=len(counts))
        return {index: int(counts[index]) for index in self.classes}

    @property
    def volumes_ml(self) -> dict[int, float] | None:
        """Class id -> ml, for every class; None where the input does not say how large a voxel is."""
        cell = self.voxel_volume
        return None if cell is None else {index: count * cell / 1000 for index, count in self.voxels.items()}

    def label(self) -> LabelVolume:
        """The mask with its geometry."""
        return LabelVolume(self.mask, self.geometry, self.source, self.id)

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the mask as .nii.gz, .nii, .nrrd or .mha with the geometry of the input, or as .dcm.

        A .dcm is a DICOM SEG: it is for DICOM input, and holds a segment for each class that occurs; if
        none does, one for every class, all zero.

        Raises:
            UsageError: `path` has another suffix, or .dcm where the input was no DICOM series.
            LabelError: a .dcm of a series without identifiers.
            OutputError: the file exists (without `overwrite`) or cannot be written.
            DinosegError: a .dcm, and highdicom is not installed.
        """
        path = Path(path)
        if path.suffix.lower() != _SEGMENTATION:
            write_label(path, self.label(), overwrite=overwrite)
            return
        if self.reference is None:
            raise UsageError(
                f"{path} would be a DICOM SEG, which points to the slices of a DICOM series, and {self.id} "
                "is none; write .nii.gz, .nrrd or .mha"
            )
        write_segmentation(
            path,
            self.label(),
            reference=self.reference,
            classes=self.classes,
            algorithm_name=f"dinoseg {self.method}",
            algorithm_version=__version__,
            overwrite=overwrite,
        )

    def describe(self) -> dict[str, Any]:
        """Shape, spacing, and voxels and ml of each class, for a JSON file."""
        voxels, volumes = self.voxels, self.volumes_ml
        return {
            "id": self.id,
            "source": str(self.source),
            "shape": list(self.geometry.shape),
            "spacing_mm": None if self.spacing is None else list(self.spacing),
            "directions": self.geometry.directions,
            "planes": list(self.planes),
            "warnings": list(self.warnings),
            "classes": {
                str(index): {
                    "name": name,
                    "voxels": voxels[index],
                    "ml": None if volumes is None else round(volumes[index], 6),
                }
                for index, name in self.classes.items()
            },
        }

    def save_description(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write `describe()` as JSON.

        Raises:
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        write_json(Path(path), self.describe(), overwrite=overwrite)

    def save_uncertainty(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write `uncertainty` as float32 NIfTI (.nii.gz or .nii) with the geometry of the input.

        Raises:
            UsageError: there is none, or `path` has another suffix.
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        path = Path(path)
        if self.uncertainty is None:
            raise UsageError(f"{self.id} has no uncertainty; predict with uncertainty=True")
        if volume_suffix(path) not in (".nii.gz", ".nii"):
            raise UsageError(f"{path} must end in .nii.gz or .nii, the format that uncertainty is written in")
        write_grid(path, self.uncertainty, self.geometry, overwrite=overwrite)

    def overlay(self, volume: Volume) -> NDArray[np.uint8]:
        """A few telling slices with the mask on them, side by side: an RGB picture (H, W, 3), uint8.

        Args:
            volume: what was segmented, in the orientation of its file.

        Raises:
            UsageError: the volume has another shape than the mask.
        """
        if volume.geometry.shape != self.mask.shape:
            given = volume.geometry.shape
            raise UsageError(f"{self.id}: the mask has {self.mask.shape} voxels and the volume {given}")
        settings = self.preprocessing.in_plane(self.planes[0])
        orientation = find_orientation(volume.geometry)
        slices = VolumeSlices(to_canonical(volume).volume, settings)
        label = orientation.apply(self.label())
        return draw_slices(
            slices, label.array, plane=self.planes[0], classes=self.classes, spacing=label.spacing
        )

    def save_overlay(self, path: Path | str, volume: Volume, *, overwrite: bool = False) -> None:
        """Write `overlay(volume)` as JPEG or PNG.

        Raises:
            UsageError: as for `overlay`, or `path` ends neither in .jpg nor in .png.
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        write_picture(Path(path), self.overlay(volume), overwrite=overwrite)

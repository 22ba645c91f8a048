"""A mask and its label on one grid, as class ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.images import read_mask
from dinoseg.data.volumes import Geometry, read_label, volume_suffix
from dinoseg.data.volumes.geometry import is_same_grid, measure_offset
from dinoseg.errors import LabelError
from dinoseg.evaluation.metrics import leave_out
from dinoseg.evaluation.scoring.meanings import Meaning

Ids = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MaskView:
    """One case as it is scored.

    Attributes:
        files: of the case.
        prediction: (H, W) or (D, H, W) class ids.
        target: on the same grid.
        spacing: of a pixel in mm in array order; None where it is not known.
        decided: whether the target decides any pixel.
    """

    files: CaseFiles
    prediction: Ids
    target: Ids
    spacing: tuple[float, ...] | None
    decided: bool = True

    def flatten(self) -> MaskView:
        """The slice across the longest spacing in which the two differ most; an image as it is."""
        if self.target.ndim == 2:
            return self
        spacing = self.spacing or (1.0, 1.0, 1.0)
        axis = int(np.argmax(spacing))
        target, prediction = (np.moveaxis(ids, axis, 0) for ids in (self.target, self.prediction))
        wrong = np.array([np.count_nonzero(a != b) for a, b in zip(target, prediction, strict=True)])
        shown = wrong if wrong.any() else np.array([np.count_nonzero(plane) for plane in target])
        place = int(shown.argmax())
        return replace(
            self,
            prediction=np.ascontiguousarray(prediction[place]),
            target=np.ascontiguousarray(target[place]),
            spacing=tuple(length for index, length in enumerate(spacing) if index != axis),
        )


def read_view(path: Path, files: CaseFiles, meaning: Meaning) -> MaskView:
    """Read a mask and its label.

    Raises:
        FileFormatError: one cannot be read.
        LabelError: they are on different grids, one is a volume and the other is not, or a value
            has no class.
    """
    if bool(volume_suffix(path)) != files.is_volume and not _is_object(path, files):
        raise LabelError(f"{path} and {files.label} are a volume and an image; both must be of one kind")
    if files.is_volume:
        return _decided(_read_volumes(path, files, meaning), meaning)
    prediction, target = meaning.masks.read(path), read_mask(files, meaning.labels).array
    if prediction.shape != target.shape:
        sizes = [f"{height}×{width}" for height, width in (prediction.shape, target.shape)]
        raise LabelError(
            f"{path} has {sizes[0]} pixels (height × width), its label {files.label} {sizes[1]}; "
            "export the mask at the size of the label"
        )
    return _decided(MaskView(files, prediction, target, None), meaning)


def _is_object(path: Path, files: CaseFiles) -> bool:
    """Whether a mask is a SEG or RTSTRUCT of a series."""
    return files.series is not None and not volume_suffix(path)


def _read_volumes(path: Path, files: CaseFiles, meaning: Meaning) -> MaskView:
    place = files.label or files.image
    label = files.series.read_label(place) if files.series else read_label(place)
    mask = files.series.read_label(path) if files.series and _is_object(path, files) else read_label(path)
    _refuse_other_grid(path, mask.geometry, place, label.geometry)
    known = label.geometry.spacing_known
    return MaskView(
        files,
        meaning.masks.apply_volume(mask).array,
        meaning.labels.apply_volume(label).array,
        label.geometry.spacing if known else None,
    )


def _refuse_other_grid(path: Path, mask: Geometry, label_path: Path, label: Geometry) -> None:
    same = mask.shape == label.shape
    # A file that tells no spacing has no place either: only its shape can be compared.
    placed = mask.spacing_known and label.spacing_known
    if same and (is_same_grid(label, mask) or not placed):
        return
    offset = measure_offset(label, mask)
    apart = f"{offset.millimetres:.4g} mm apart ({offset.voxels:.3g} voxels)"
    far = f"; corners are up to {apart}" if same else ""
    raise LabelError(
        f"{path} does not lie on the grid of {label_path}: the mask has {mask.describe()}, the label "
        f"{label.describe()}{far}; export the mask on the grid of the label"
    )


def _decided(view: MaskView, meaning: Meaning) -> MaskView:
    if meaning.labels.ignore is None:
        return view
    return replace(view, decided=leave_out(view.prediction, view.target))

"""A mask and its label on one grid, as class ids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.images import read_label
from dinoseg.data.volumes import Geometry, volume_suffix
from dinoseg.data.volumes import read_label as read_label_volume
from dinoseg.data.volumes.geometry import CORNER_TOLERANCE, corner_offset
from dinoseg.errors import LabelError
from dinoseg.evaluation.metrics import leave_out
from dinoseg.evaluation.scoring.meanings import Meaning

_SHARE = 0.01  # of a voxel, by which grids that two programs wrote may differ

Ids = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class MaskView:
    """One case as it is scored.

    Attributes:
        files: of the case.
        prediction: (H, W) or (D, H, W) class ids.
        target: on the same grid.
        spacing: of a pixel in mm in array order; None where it is not known.
    """

    files: CaseFiles
    prediction: Ids
    target: Ids
    spacing: tuple[float, ...] | None

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
    label = files.label or files.image
    if bool(volume_suffix(path)) != bool(volume_suffix(label)):
        raise LabelError(f"{path} and {label} are a volume and an image; both must be of one kind")
    if volume_suffix(path):
        return _decided(_read_volumes(path, label, files, meaning), meaning)
    prediction = meaning.masks.apply(read_label(path), name=str(path)).array
    target = meaning.labels.apply(read_label(label), name=str(label)).array
    if prediction.shape != target.shape:
        sizes = [f"{height}×{width}" for height, width in (prediction.shape, target.shape)]
        raise LabelError(
            f"{path} has {sizes[0]} pixels (height × width), its label {label} {sizes[1]}; "
            "export the mask at the size of the label"
        )
    return _decided(MaskView(files, prediction, target, None), meaning)


def _read_volumes(path: Path, label: Path, files: CaseFiles, meaning: Meaning) -> MaskView:
    raw, wanted = read_label_volume(path), read_label_volume(label)
    _refuse_other_grid(path, raw.geometry, label, wanted.geometry)
    known = wanted.geometry.spacing_known
    return MaskView(
        files,
        meaning.masks.apply_volume(raw).array,
        meaning.labels.apply_volume(wanted).array,
        wanted.geometry.spacing if known else None,
    )


def _refuse_other_grid(path: Path, mask: Geometry, label_path: Path, label: Geometry) -> None:
    same = mask.shape == label.shape
    # A file that tells no spacing has no place either: only its shape can be compared.
    placed = mask.spacing_known and label.spacing_known
    accepted = max(CORNER_TOLERANCE, _SHARE * min(label.spacing))
    offset = corner_offset(mask, label) if same and placed else 0.0
    if same and offset <= accepted:
        return
    apart = f"; corners are up to {offset:.4g} mm apart, accepted are {accepted:.2g} mm" if same else ""
    raise LabelError(
        f"{path} does not lie on the grid of {label_path}: the mask has {mask.describe()}, the label "
        f"{label.describe()}{apart}; export the mask on the grid of the label"
    )


def _decided(view: MaskView, meaning: Meaning) -> MaskView:
    if meaning.labels.ignore is not None:
        leave_out(view.prediction, view.target)
    return view

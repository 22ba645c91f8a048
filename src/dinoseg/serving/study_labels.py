"""Labels that viewers send: on the grid of the image, with the class ids of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import LabelMap
from dinoseg.data.dicom import read_series
from dinoseg.data.images import image_info
from dinoseg.data.images import read_label as read_image_label
from dinoseg.data.volumes import Geometry, LabelVolume, read_label, read_volume_info, volume_suffix
from dinoseg.data.volumes.geometry import refuse_other_geometry
from dinoseg.errors import LabelError
from dinoseg.serving.studies import Study


def read_study_label(
    path: Path, study: Study, *, segments: Sequence[str], classes: Mapping[str, int]
) -> LabelVolume | LabelMap:
    """Read a label that was sent for a study.

    Args:
        path: .nii.gz, .nii, .nrrd or .mha for a volume, PNG or TIFF for an image.
        study: what was labelled.
        segments: names of the values 1, 2, … where the viewer numbered them itself; empty where the values
            are class ids.
        classes: name -> id of the classes of the server.

    Raises:
        LabelError: it is not on the grid of the image, or has values that are no class.
        FileFormatError: it cannot be read.
    """
    ids = list_ids(segments, classes)
    if not study.is_volume:
        return _read_image_label(path, study, ids)
    label = read_label(path)
    refuse_other_geometry(_read_geometry(study), label.geometry, image_name=study.id, label_name="it")
    return replace(label, array=_look_up(label.array, ids))


def list_ids(segments: Sequence[str], classes: Mapping[str, int]) -> NDArray[np.int64]:
    """Value in a file -> class id; -1 where a value means nothing.

    Raises:
        LabelError: a segment is called like no class.
    """
    if unknown := [name for name in segments if name not in classes]:
        raise LabelError(
            f"the segment {unknown[0][:80]!r} is no class of this server; rename it to one of "
            f"{', '.join(classes) or 'none'}, or remove it"
        )
    if segments:
        return np.array([0, *(classes[name] for name in segments)])
    ids = np.full(max(classes.values(), default=0) + 1, -1)
    ids[[0, *classes.values()]] = [0, *classes.values()]
    return ids


def _look_up(array: NDArray[Any], ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    values = np.unique(array)
    meant = [0 <= int(value) < len(ids) and ids[int(value)] >= 0 for value in values]
    if not all(meant):
        stray = values[meant.index(False)]
        raise LabelError(
            f"the value {stray} of the label means nothing; accepted are {np.flatnonzero(ids >= 0).tolist()}"
        )
    found: NDArray[np.uint8] = ids[array.astype(np.intp)].astype(np.uint8)
    return found


def _read_image_label(path: Path, study: Study, ids: NDArray[np.int64]) -> LabelMap:
    array = read_image_label(path)
    size = image_info(study.source).size
    if array.shape != size:
        raise LabelError(f"a label of {study.id} has {size[0]} × {size[1]} grey pixels, given {array.shape}")
    return LabelMap(_look_up(array, ids))


def _read_geometry(study: Study) -> Geometry:
    if volume_suffix(study.source):
        return read_volume_info(study.source).geometry
    return read_series(study.source, series=study.series).geometry

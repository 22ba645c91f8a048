"""Writing nnU-Net's raw layout: volumes as NIfTI, 2D images as PNG, dataset.json, one fold."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import IGNORE_ID, LabelMap
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.images import read_mask
from dinoseg.data.cases.volumes import VolumeCase, read_volume_case, summarise_doubts
from dinoseg.data.images import image_info, read_image, write_mask
from dinoseg.data.labels.declarations import write_declaration
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.layouts.nnunet import FILE_NAME, IMAGES, LABELS, TEST_IMAGES, TEST_LABELS
from dinoseg.data.splits.splits import FOLDS
from dinoseg.data.volumes import Volume, write_label
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import LabelError
from dinoseg.outputs import atomic_path, write_csv, write_json
from dinoseg.progress import Progress

VOLUME_ENDING = ".nii.gz"
IMAGE_ENDING = ".png"
_COPIED_MODES = ("L", "RGB", "I;16")
_GREY_MODES = ("1", "L", "LA", "La", "F", "I", "I;16", "I;16B", "I;16L")


class RawWriter:
    """Writes cases into imagesTr and labelsTr (imagesTs and labelsTs for the test split).

    Regions go to a dataset.yaml of ours: nnU-Net's dataset.json would need them in place of the classes, and
    an order in which they overwrite each other.

    Args:
        root: an empty folder.
        dataset: gives classes and regions. What its labels ignore becomes the id after the last class, as
            nnU-Net wants it.
    """

    def __init__(self, root: Path, dataset: Dataset) -> None:
        self.root = root
        self._classes = dict(dataset.classes)
        self._regions = dataset.regions
        self._ignore = None if dataset.labels.ignore is None else len(dataset.classes)
        self._cases: list[CaseFiles] = []

    def add_volume(self, case: VolumeCase, split: str | None) -> None:
        """Write a volume, one file per channel, in its own orientation, and its label."""
        images, labels = self._folders(split)
        for number in range(case.image.channels):
            channel = replace(case.image, array=case.image.array[number : number + 1])
            write_image_volume(images / f"{case.id}_{number:04d}{VOLUME_ENDING}", channel)
        if case.label is None:
            raise LabelError(f"{case.source} has no label; nnU-Net's raw data sets need one for every case")
        ids = replace(case.label, array=self._move_ignored(case.label.array))
        write_label(labels / f"{case.id}{VOLUME_ENDING}", ids)
        self._cases.append(CaseFiles(case.id, case.source, None, case.group, split))

    def add_image(self, files: CaseFiles, mapping: LabelMapping, *, grey: bool) -> None:
        """Write a 2D image as PNG with one (grey) or three channels, and its mask as class ids."""
        images, labels = self._folders(files.split)
        _write_picture(images / f"{files.id}_0000{IMAGE_ENDING}", files.image, grey=grey)
        if files.label is None:
            raise LabelError(f"{files.image} has no mask; nnU-Net's raw data sets need one for every case")
        ids = self._move_ignored(read_mask(files, mapping).array)
        write_mask(labels / f"{files.id}{IMAGE_ENDING}", LabelMap(ids))
        self._cases.append(files)

    def finish(self, channel_names: Sequence[str], ending: str) -> None:
        """Write dataset.json, groups.csv where groups are known, and one fold where there is a val split."""
        labels = {name: id_ for id_, name in self._classes.items()}
        if self._ignore is not None:
            labels["ignore"] = self._ignore
        training = [case for case in self._cases if case.split != "test"]
        content = {
            "channel_names": {str(number): name for number, name in enumerate(channel_names)},
            "labels": labels,
            "numTraining": len(training),
            "file_ending": ending,
        }
        write_json(self.root / FILE_NAME, content)
        if self._regions:
            write_declaration(self.root, self._classes, ignore=self._ignore, regions=self._regions)
        if any(case.group != case.id for case in self._cases):
            rows = [{"case": case.id, "group": case.group} for case in self._cases]
            write_csv(self.root / "groups.csv", rows)
        parts = {name: [case.id for case in training if case.split == name] for name in ("train", "val")}
        if parts["train"] and parts["val"]:
            write_json(self.root / FOLDS, [parts])

    def _folders(self, split: str | None) -> tuple[Path, Path]:
        names = (TEST_IMAGES, TEST_LABELS) if split == "test" else (IMAGES, LABELS)
        return self.root / names[0], self.root / names[1]

    def _move_ignored(self, ids: NDArray[Any]) -> NDArray[Any]:
        if self._ignore is None:
            return ids
        return np.where(ids == IGNORE_ID, self._ignore, ids).astype(np.uint8)


def write_raw(dataset: Dataset, root: Path, progress: Progress) -> tuple[str, ...]:
    """Write all cases of a data set of images or volumes in nnU-Net's raw layout.

    Returns:
        Lines that a person should see: volumes whose files place them in two ways.
    """
    writer = RawWriter(root, dataset)
    steps = progress.track(dataset.cases, total=len(dataset.cases), label="Converting")
    if not dataset.is_volumes:
        grey = all(image_info(case.image).mode in _GREY_MODES for case in dataset.cases)
        for files in steps:
            writer.add_image(files, dataset.labels, grey=grey)
        writer.finish(("grey",) if grey else ("red", "green", "blue"), IMAGE_ENDING)
        return ()
    channels, doubts = 1, {}
    for files in steps:
        case = read_volume_case(files, dataset.labels)
        channels = case.image.channels
        doubts[case.id] = case.image.geometry.placement_doubt
        writer.add_volume(case, files.split)
    writer.finish(name_channels(dataset.channel_names, channels), VOLUME_ENDING)
    return summarise_doubts(doubts)


def name_channels(names: Sequence[str], count: int) -> tuple[str, ...]:
    """The names where they are known, else numbers."""
    return tuple(names) if len(names) == count else tuple(f"channel {n}" for n in range(count))


def write_image_volume(path: Path, volume: Volume) -> None:
    """Write one channel of a volume as NIfTI, in its own type and on its own grid.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    array = volume.array[0]
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        array = _narrow(array)
    write_grid(path, array, volume.geometry)


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """Integers of 64 bits in 32 where those hold them: few readers of NIfTI know 64 bits."""
    limits = np.iinfo(np.int32)
    fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    return array.astype(np.int32) if fits else array


def _write_picture(path: Path, source: Path, *, grey: bool) -> None:
    info = image_info(source)
    same = info.mode in _COPIED_MODES and (info.mode != "RGB") == grey
    if info.format == "PNG" and same and not info.oriented:
        with atomic_path(path) as temporary:
            shutil.copyfile(source, temporary)
        return
    pixels = read_image(source).array  # (C, H, W)
    deep = grey and info.mode.startswith(("I", "F", "uint16"))
    top, dtype = (65535, np.uint16) if deep else (255, np.uint8)
    levels = np.rint(pixels * top).astype(dtype)
    plane = levels[0] if grey else np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0)
    with atomic_path(path) as temporary:
        PillowImage.fromarray(np.ascontiguousarray(plane)).save(temporary, format="PNG")

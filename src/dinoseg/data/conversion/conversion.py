"""`convert`: nnU-Net's raw layout and image folders, one into the other; a new folder, in one move."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dinoseg.data.cases.images import read_mask
from dinoseg.data.conversion.raw_folders import write_raw
from dinoseg.data.conversion.slice_folders import (
    SIDECAR,
    SliceOptions,
    restore_volumes,
    write_folder_texts,
    write_slices,
)
from dinoseg.data.images import write_mask
from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.data.layouts.folders import open_folder
from dinoseg.data.layouts.nnunet import is_raw
from dinoseg.data.splits.splits import find_split_file, resolve_splits
from dinoseg.errors import LabelError, UsageError
from dinoseg.outputs import atomic_folder, atomic_path, refuse_existing
from dinoseg.progress import Progress, Silent

Target = Literal["nnunet", "images"]


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        root: the new folder.
        layout: of the source, in words.
        cases: of the source.
        files: in the new folder.
        notes: what a person should know, for example how far values were rounded.
    """

    root: Path
    layout: str
    cases: int
    files: int
    notes: tuple[str, ...]


def convert(
    source: Path | str,
    target: Path | str,
    *,
    to: Target,
    options: SliceOptions | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Write a data set anew in another layout; the source stays as it is.

    To "images": volumes become slices as PNG with their grids in volumes.json; nnU-Net's 2D images become
    images/ and masks/. To "nnunet": slices with a volumes.json become volumes again, volumes of another
    layout become NIfTI files, and images become 2D images. Classes, groups and splits go along.

    Args:
        source: a folder of any layout that `open_dataset` reads.
        target: a folder that does not exist yet; it appears when it is complete.
        to: the layout to write.
        options: how volumes are cut into slices; only with "images".
        progress: shows the reading and writing.

    Raises:
        UsageError: an unknown layout, or the source has it already, or options that do not fit.
        OutputError: `target` exists, or cannot be written.
        DataError: the source cannot be read, or a slice or a mask is missing.
    """
    source, target = Path(source), Path(target)
    if to not in ("nnunet", "images"):
        raise UsageError(f"layout {to!r} is not written; choose nnunet or images")
    refuse_existing(target, overwrite=False)
    steps = progress or Silent()
    dataset = _with_splits(open_dataset(source, progress=steps))
    raw = source.is_dir() and is_raw(open_folder(source))
    if raw if to == "nnunet" else not (raw or dataset.is_volumes):
        raise UsageError(f"{source} has this layout already: {dataset.layout}")
    if options is not None and not (to == "images" and dataset.is_volumes):
        raise UsageError("bits, window, plane and channel are for volumes that become images")
    notes: tuple[str, ...] = ()
    with atomic_folder(target) as temporary:
        if to == "images" and dataset.is_volumes:
            notes = write_slices(dataset, temporary, options or SliceOptions(), steps)
        elif to == "images":
            _write_images(dataset, temporary, steps)
        elif (dataset.root / SIDECAR).is_file():
            restore_volumes(dataset, temporary, steps)
        else:
            notes = write_raw(dataset, temporary, steps)
        files = sum(path.is_file() for path in temporary.rglob("*"))
    return Conversion(target, dataset.layout, len(dataset.cases), files, notes)


def _with_splits(dataset: Dataset) -> Dataset:
    """The data set with the splits of its splits.json or of the first fold of its splits_final.json."""
    if find_split_file(dataset.root) is None:
        return dataset
    split_of = resolve_splits(dataset).find_split()
    cases = tuple(replace(case, split=split_of.get(case.id)) for case in dataset.cases)
    return replace(dataset, cases=cases)


def _write_images(dataset: Dataset, root: Path, progress: Progress) -> None:
    """nnU-Net's 2D images as images/ and masks/; the image files are copied."""
    for case in progress.track(dataset.cases, total=len(dataset.cases), label="Converting"):
        with atomic_path(root / "images" / f"{case.id}{case.image.suffix.lower()}") as temporary:
            shutil.copyfile(case.image, temporary)
        if case.label is None:
            raise LabelError(f"{case.image} has no mask; give every image one")
        write_mask(root / "masks" / f"{case.id}.png", read_mask(case, dataset.labels))
    rows = [{"case": case.id, "group": case.group} for case in dataset.cases]
    lists: dict[str, list[str]] = {}
    for case in dataset.cases:
        if case.split:
            lists.setdefault(case.split, []).append(case.id)
    write_folder_texts(dataset, root, rows, lists)

"""Accepted labels as a data set that `dinoseg train` takes as it is: an image folder, or nnU-Net raw.

Only what was accepted is in it. Where some slices of a volume were accepted and others were not, nobody
decided about the latter: they are ignored by every loss and score.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID, LabelMap
from dinoseg.data.cases.files import CaseFiles, stem_of
from dinoseg.data.cases.volumes import VolumeCase
from dinoseg.data.conversion.raw_folders import (
    IMAGE_ENDING,
    VOLUME_ENDING,
    RawWriter,
    name_channels,
    write_image_volume,
)
from dinoseg.data.images import image_info, write_mask
from dinoseg.data.labels.declarations import write_declaration
from dinoseg.data.labels.mapping import LabelMapping, keep_ids
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.volumes import LabelVolume, write_label
from dinoseg.errors import UsageError
from dinoseg.outputs import atomic_folder, atomic_path, write_csv
from dinoseg.teaching.project import Project
from dinoseg.teaching.subjects import Subject

ExportFormat = Literal["folder", "nnunet"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: the data set.
        images: with a label, as many as there are in it.
        left_out: images that nobody accepted.
        ignored: share of the pixels that nobody decided, 0 to 1.
        command: that trains on it.
    """

    folder: Path
    images: int
    left_out: int
    ignored: float
    command: str


def export(
    project: Project,
    name: str,
    *,
    layout: ExportFormat,
    report: Callable[[int, int], None] | None = None,
) -> Export:
    """Write the accepted labels with their images.

    Args:
        project: a teaching project.
        name: of the new folder in .dinoseg/exports.
        layout: "folder" for images/ and masks/, "nnunet" for imagesTr/ and labelsTr/.
        report: called after each image with how many are done, and of how many.

    Raises:
        UsageError: nothing was accepted, or the name or layout is not accepted.
        OutputError: there is such a folder already, or it cannot be written.
        DataError: an image cannot be read.
    """
    if layout not in get_args(ExportFormat):
        raise UsageError(
            f"the layout {layout!r} is not written; choose {' or '.join(get_args(ExportFormat))}"
        )
    if not _NAME.fullmatch(name):
        raise UsageError(f"the name {name[:80]!r} is not accepted; letters, digits, '.', '_' and '-' are")
    chosen = [subject for subject in project.subjects if project.drawings.list_accepted(subject)]
    if not chosen:
        raise UsageError("no image is accepted yet; accept some, only those are exported")
    if len({subject.is_volume for subject in chosen}) > 1:
        raise UsageError("images and volumes are accepted; a data set holds one kind: reopen the others")
    target = project.place / "exports" / name
    with atomic_folder(target) as temporary:
        writer = _FolderWriter if layout == "folder" else _RawFolderWriter
        ignored = writer(project, temporary, chosen).write(report or _ignore)
    return Export(
        folder=target,
        images=len(chosen),
        left_out=len(project.subjects) - len(chosen),
        ignored=ignored,
        command=_word_command(project, target, name),
    )


def _word_command(project: Project, target: Path, name: str) -> str:
    run = project.place / "runs" / name
    return shlex.join(
        ["dinoseg", "train", str(target), "--out", str(run), "--backbone", str(project.backbone)]
    )


def _ignore(done: int, total: int) -> None:
    """Where nobody wants to know."""


@dataclass(frozen=True)
class _Labelled:
    """A subject with a name for files, and its label, upright: (D, H, W)."""

    name: str
    subject: Subject
    ids: NDArray[np.uint8]


class _Writer:
    """Writes labelled images into an empty folder."""

    def __init__(self, project: Project, root: Path, subjects: list[Subject]) -> None:
        self.project = project
        self.root = root
        self.subjects = subjects
        self.classes = {0: "background", **_name_ids(project)}
        self.has_ignored = any(
            len(project.drawings.list_accepted(subject)) < subject.slices for subject in subjects
        )

    def write(self, report: Callable[[int, int], None]) -> float:
        """All of them; the share of pixels that nobody decided."""
        ignored = total = 0
        cases = []
        for number, each in enumerate(self._list(), start=1):
            ignored += int((each.ids == IGNORE_ID).sum())
            total += each.ids.size
            self.add(each)
            group = each.subject.files.group
            cases.append({"case": each.name, "group": group if each.subject.files.label else each.name})
            report(number, len(self.subjects))
        self.finish(ignored=ignored > 0)
        if any(row["case"] != row["group"] for row in cases) and not (self.root / "groups.csv").exists():
            write_csv(self.root / "groups.csv", cases)
        return ignored / max(total, 1)

    def add(self, labelled: _Labelled) -> None:
        """One of them."""
        raise NotImplementedError

    def finish(self, *, ignored: bool) -> None:
        """What describes them."""
        raise NotImplementedError

    def _list(self) -> Iterator[_Labelled]:
        taken: set[str] = set()
        for subject in self.subjects:
            name = _name_file(subject, taken)
            yield _Labelled(name, subject, self._find_ids(subject))

    def _find_ids(self, subject: Subject) -> NDArray[np.uint8]:
        undecided = np.full(subject.size, IGNORE_ID, np.uint8)
        found = (self.project.drawings.label(subject, index) for index in range(subject.slices))
        return np.stack([undecided if ids is None else ids for ids in found])

    def label_volume(self, labelled: _Labelled) -> LabelVolume:
        """On the grid of the file."""
        reader, subject = self.project.reader, labelled.subject
        upright = LabelVolume(
            labelled.ids, reader.volume(subject).geometry, subject.files.image, labelled.name
        )
        return reader.orientation(subject).undo(upright)


class _FolderWriter(_Writer):
    """images/ and masks/ with dataset.yaml."""

    def add(self, labelled: _Labelled) -> None:
        """Image and mask."""
        subject, images, masks = labelled.subject, self.root / "images", self.root / "masks"
        if not subject.is_volume:
            suffix = subject.files.image.suffix.lower()
            with atomic_path(images / f"{labelled.name}{suffix}") as temporary:
                shutil.copyfile(subject.files.image, temporary)
            write_mask(masks / f"{labelled.name}.png", LabelMap(labelled.ids[0]))
            return
        volume = self.project.reader.given(subject)
        if volume.channels > 1:
            raise UsageError(f"{subject.name} has {volume.channels} channels; export it as nnunet")
        write_image_volume(images / f"{labelled.name}{VOLUME_ENDING}", volume)
        write_label(masks / f"{labelled.name}{VOLUME_ENDING}", self.label_volume(labelled))

    def finish(self, *, ignored: bool) -> None:
        """dataset.yaml."""
        write_declaration(self.root, self.classes, ignore=IGNORE_ID if ignored else None, regions={})


class _RawFolderWriter(_Writer):
    """imagesTr/ and labelsTr/ with dataset.json."""

    def __init__(self, project: Project, root: Path, subjects: list[Subject]) -> None:
        super().__init__(project, root, subjects)
        mapping = keep_ids(len(self.classes), kind="declared")
        table = {**mapping.table, IGNORE_ID: IGNORE_ID}
        self.mapping = LabelMapping(table, "declared", ignore=(IGNORE_ID,))
        self.raw = RawWriter(root, Dataset(root, (), self.classes, self.mapping))
        self.channels = 1
        self.grey = not subjects[0].is_volume and all(
            image_info(subject.files.image).mode in ("1", "L", "I;16") for subject in subjects
        )

    def add(self, labelled: _Labelled) -> None:
        """Image and label."""
        subject, name = labelled.subject, labelled.name
        if subject.is_volume:
            volume = replace(self.project.reader.given(subject), id=name)
            self.channels = volume.channels
            label = self.label_volume(labelled)
            self.raw.add_volume(VolumeCase(name, volume, label, name, subject.files.image), None)
            return
        drawn = self.root / ".label.png"
        write_mask(drawn, LabelMap(labelled.ids[0]), overwrite=True)
        self.raw.add_image(
            CaseFiles(name, subject.files.image, drawn, name, None), self.mapping, grey=self.grey
        )
        drawn.unlink()

    def finish(self, *, ignored: bool) -> None:
        """dataset.json; it names what nobody decided in any case."""
        if self.subjects[0].is_volume:
            self.raw.finish(name_channels((), self.channels), VOLUME_ENDING)
        else:
            self.raw.finish(("grey",) if self.grey else ("red", "green", "blue"), IMAGE_ENDING)


def _name_ids(project: Project) -> dict[int, str]:
    """All ids up to the highest; data sets have no holes."""
    named = {each.id: each.name for each in project.classes}
    return {id_: named.get(id_, f"class_{id_}") for id_ in range(1, max(named) + 1)}


def _name_file(subject: Subject, taken: set[str]) -> str:
    """A name of its own, like the image's."""
    name = stem_of(Path(subject.name))
    name = f"{name}_{subject.id}" if name in taken else name
    taken.add(name)
    return name

"""`Studies`: a folder of images that viewers open, and of the labels that people save from there.

FOLDER/**                      images, volumes and DICOM series; read, and added to, never changed
FOLDER/labels/TAG/ID.nii.gz    what was saved; TAG is "final" unless a viewer says otherwise
"""

from __future__ import annotations

import filecmp
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Protocol

from dinoseg.data.case import LabelMap
from dinoseg.data.dicom import Series, survey_series
from dinoseg.data.images import write_mask
from dinoseg.data.sources.channels import first_channel
from dinoseg.data.sources.source import find_sources, is_series, is_volume
from dinoseg.data.volumes import LabelVolume, volume_suffix, write_label
from dinoseg.errors import DinosegError, LayoutError
from dinoseg.outputs import atomic_path, claim, find_foreign
from dinoseg.serving.jobs import hide_folder
from dinoseg.serving.refusals import Refusal
from dinoseg.serving.uploads import make_safe

FINAL = "final"
LABELS = "labels"
_TAG = re.compile(r"[A-Za-z0-9_-]{1,40}")
_NIFTI = ".nii.gz"
STRATEGIES: Mapping[str, str] = {
    "first": "the first image without a label",
    "random": "any image without a label",
}


@dataclass(frozen=True)
class Study:
    """One image or volume of a datastore.

    Attributes:
        id: what viewers call it; of a DICOM series its Series Instance UID.
        name: of its file, as viewers store it.
        source: the file, or the folder or zip of a series.
        is_volume: whether it is one.
        series: UID of the series; None where it is none.
    """

    id: str
    name: str
    source: Path
    is_volume: bool
    series: str | None = None

    @property
    def label_suffix(self) -> str:
        """Of the files of its labels."""
        return _NIFTI if self.is_volume else ".png"


class Datastore(Protocol):
    """What viewers read images from and save labels to."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def root(self) -> Path:
        """A folder that no answer names."""

    @property
    def strategies(self) -> Mapping[str, str]:
        """How the next study can be chosen: name -> what it does."""

    @property
    def problems(self) -> Sequence[str]:
        """One line for each file that cannot be used."""

    @property
    def classes(self) -> Mapping[str, int] | None:
        """Name -> id in labels; None where the models say."""

    def list_studies(self) -> list[Study]:
        """All studies, in order."""

    def find(self, name: str) -> Study:
        """The study of an id; `Refusal` 404 where there is none."""

    def list_tags(self, study: Study) -> Sequence[str]:
        """Of the labels of a study."""

    def open_label(self, study: Study, tag: str, folder: Path) -> Path:
        """A label as a file, made in `folder` where it is none; `Refusal` 404 where there is none."""

    def choose_next(self, strategy: str) -> Study | None:
        """A study without a final label; None where all have one."""

    def add(self, name: str, path: Path, suffix: str) -> Study:
        """Keep an image that was uploaded under a name."""

    def save(self, study: Study, label: LabelVolume | LabelMap, tag: str) -> None:
        """Keep a label of a study."""


class Studies:
    """A datastore that is a folder.

    Args:
        folder: of images.

    Raises:
        LayoutError: there is no such folder.
    """

    strategies: Mapping[str, str] = STRATEGIES
    classes: Mapping[str, int] | None = None

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise LayoutError(f"{folder} is no folder; --studies takes one with images or volumes")
        self.root = folder.resolve()
        self.problems: Sequence[str] = ()
        self._surveyed: dict[Path, tuple[int, tuple[Series, ...]]] = {}
        self._lock = Lock()

    @property
    def name(self) -> str:
        """That of the folder."""
        return self.root.name

    def list_studies(self) -> list[Study]:
        """All studies that lie there now, in natural order."""
        with self._lock:
            listing = find_sources(self.root, leave_out=self.root / LABELS)
            sources = [path for path in listing.sources if first_channel(path) not in listing.sources]
            problems = [*listing.problems]
            found: dict[str, Study] = {}
            for source in sources:
                try:
                    for study in self._describe(source):
                        name = study.id if study.id not in found else f"{study.id}{source.suffix}"
                        found.setdefault(name, replace(study, id=name))
                except DinosegError as error:
                    problems.append(str(error))
            self.problems = [hide_folder(line, self.root) for line in problems]
        return [*found.values()]

    def _describe(self, source: Path) -> list[Study]:
        if is_series(source):
            return [
                Study(series.uid, f"{make_safe(series.uid)}{_NIFTI}", source, True, series.uid)
                for series in self._survey(source)
                if series.shape is not None
            ]
        inside = source.relative_to(self.root).as_posix()
        suffix = volume_suffix(source) or source.suffix
        return [Study(inside[: -len(suffix)], source.name, source, is_volume(source))]

    def _survey(self, source: Path) -> tuple[Series, ...]:
        """The series of a place, read anew only where something was added or replaced."""
        changed = source.stat().st_mtime_ns
        known = self._surveyed.get(source)
        if known is None or known[0] != changed:
            known = (changed, survey_series(source).series)
            self._surveyed[source] = known
        return known[1]

    def find(self, name: str) -> Study:
        """The study of an id, or of what an id became when it was uploaded.

        Raises:
            Refusal: 404.
        """
        studies = {study.id: study for study in self.list_studies()}
        study = studies.get(name) or studies.get(make_safe(name))
        if study is None:
            raise Refusal(404, f"there is no image {name[:80]!r}; GET /datastore/?output=all lists them")
        return study

    def list_tags(self, study: Study) -> Sequence[str]:
        """Of the labels that were saved."""
        place = self.root / LABELS
        folders = sorted(place.iterdir()) if place.is_dir() else []
        return [folder.name for folder in folders if self._locate(study, folder.name).is_file()]

    def _locate(self, study: Study, tag: str) -> Path:
        return self.root / LABELS / tag / f"{study.id}{study.label_suffix}"

    def open_label(self, study: Study, tag: str, folder: Path) -> Path:
        """The file of a label.

        Raises:
            Refusal: 404.
        """
        refuse_missing(study, tag, self.list_tags(study))
        return self._locate(study, tag)

    def choose_next(self, strategy: str) -> Study | None:
        """The next study without a final label."""
        left = [study for study in self.list_studies() if FINAL not in self.list_tags(study)]
        return choose_from(left, strategy)

    def add(self, name: str, path: Path, suffix: str) -> Study:
        """Copy an image into the folder; the same once more changes nothing.

        Raises:
            Refusal: 409 where another image has the name.
            OutputError: it cannot be written.
        """
        target = self.root / f"{make_safe(name.removesuffix(suffix))}{suffix}"
        if not target.exists():
            with atomic_path(target) as temporary:
                shutil.copyfile(path, temporary)
        elif not filecmp.cmp(path, target, shallow=False):
            raise Refusal(409, f"there is another image {target.name}; upload yours under another name")
        return self.find(target.name.removesuffix(suffix))

    def save(self, study: Study, label: LabelVolume | LabelMap, tag: str) -> None:
        """Write a label, over an older one that was saved here.

        Raises:
            Refusal: 422 for a tag that is no name, 409 where a file is there that was not saved here.
            OutputError: it cannot be written.
        """
        path = self._locate(study, check_tag(tag))
        claim(self.root / LABELS, parts=[])
        if find_foreign([path]):
            raise Refusal(
                409,
                f"{path.relative_to(self.root)} was not saved here, or was changed since, and is not "
                "replaced; move it away, or save under another tag",
            )
        if isinstance(label, LabelVolume):
            write_label(path, label, overwrite=True)
        else:
            write_mask(path, label, overwrite=True)


def choose_from(left: Sequence[Study], strategy: str) -> Study | None:
    """The first of what is left, or any; None where nothing is left."""
    if not left:
        return None
    # Which image comes next is no result: it need not be the same again.
    return random.choice(left) if strategy == "random" else left[0]


def refuse_missing(study: Study, tag: str, tags: Sequence[str]) -> None:
    """Raise unless a study has a label.

    Raises:
        Refusal: 404.
    """
    if tag not in tags:
        raise Refusal(404, f"{study.id} has no label {tag[:60]!r}; it has {', '.join(tags) or 'none'}")


def check_tag(tag: str) -> str:
    """A tag that is a folder's name.

    Raises:
        Refusal: 422.
    """
    if not _TAG.fullmatch(tag):
        raise Refusal(422, f"the tag {tag[:60]!r} is not accepted; use up to 40 letters, digits, - and _")
    return tag

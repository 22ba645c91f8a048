"""`Taught`: the images of a teaching project as a datastore, so that viewers draw labels it learns from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import LabelMap
from dinoseg.data.images import write_mask
from dinoseg.data.volumes import LabelVolume, write_label
from dinoseg.errors import UsageError
from dinoseg.serving.jobs import Reporter
from dinoseg.serving.refusals import Refusal
from dinoseg.serving.segmenting import OUTPUTS
from dinoseg.serving.studies import FINAL, STRATEGIES, Study, choose_from, refuse_missing
from dinoseg.serving.viewer_masks import MaskWishes, describe_mask
from dinoseg.teaching.project import Project
from dinoseg.teaching.subjects import Subject

LEAST_SURE = "least sure"
_NIFTI = ".nii.gz"


class Taught:
    """A datastore that is a teaching project.

    Args:
        project: whose images are labelled.
    """

    strategies: Mapping[str, str] = {
        LEAST_SURE: "stands for most of what has no label yet; with ten labels, of what is unsure",
        **STRATEGIES,
    }
    problems: Sequence[str] = ()

    def __init__(self, project: Project) -> None:
        self._project = project
        self.root = project.folder.resolve()

    @property
    def name(self) -> str:
        """That of the folder."""
        return self.root.name

    @property
    def classes(self) -> Mapping[str, int] | None:
        """Name -> id of what is painted."""
        return {each.name: each.id for each in self._project.classes}

    def list_studies(self) -> list[Study]:
        """All images, in order."""
        return [_describe(subject) for subject in self._project.subjects]

    def find(self, name: str) -> Study:
        """The study of an id, or of a DICOM series by its UID.

        Raises:
            Refusal: 404.
        """
        for subject in self._project.subjects:
            if name in (subject.id, subject.name, getattr(subject.files.series, "uid", None)):
                return _describe(subject)
        raise Refusal(404, f"there is no image {name[:80]!r}; GET /datastore/?output=all lists them")

    def list_tags(self, study: Study) -> Sequence[str]:
        """A label is final where all slices were accepted."""
        subject = self._project.find(study.id)
        accepted = self._project.drawings.list_accepted(subject)
        return [FINAL] if len(accepted) == subject.slices else []

    def open_label(self, study: Study, tag: str, folder: Path) -> Path:
        """A label as a file in `folder`.

        Raises:
            Refusal: 404.
        """
        refuse_missing(study, tag, self.list_tags(study))
        return self._write(study, self._list_slices(study), folder / f"label{study.label_suffix}").source

    def choose_next(self, strategy: str) -> Study | None:
        """The next image without a label, or what the model is least sure of."""
        left = [study for study in self.list_studies() if FINAL not in self.list_tags(study)]
        following = self._project.state(since=self._project.changes.version).next
        if strategy == LEAST_SURE and following is not None:
            return self.find(following)
        return choose_from(left, strategy)

    def add(self, name: str, path: Path, suffix: str) -> Study:
        """Refuse.

        Raises:
            Refusal: 422.
        """
        raise Refusal(422, f"{name} is not taken while {self.name} is taught; put it there and start again")

    def save(self, study: Study, label: LabelVolume | LabelMap, tag: str) -> None:
        """Keep a label as one that was accepted on the page; the model learns from it.

        Raises:
            Refusal: 422 for a tag other than final.
            OutputError: it cannot be written.
        """
        if tag != FINAL:
            raise Refusal(422, f"labels of a project have the tag {FINAL}, given {tag[:60]!r}")
        subject = self._project.find(study.id)
        if isinstance(label, LabelVolume):
            label = self._project.reader.orientation(subject).apply(label)
        slices = label.array if label.array.ndim == 3 else label.array[None]
        self._project.keep(study.id, {index: np.ascontiguousarray(each) for index, each in enumerate(slices)})

    def segment(
        self, study: Study, wishes: MaskWishes, folder: Path, reporter: Reporter
    ) -> Mapping[str, Any]:
        """What the project says of an image by now, as the result of a job.

        Raises:
            UsageError: it says nothing yet.
            OutputError: the file cannot be written.
        """
        started, slices = time.perf_counter(), []
        count = self._project.find(study.id).slices
        for index in range(count):
            reporter.report(index, count)
            slices.append(self._project.prediction(study.id, index))
        (folder / OUTPUTS).mkdir()
        suffix = wishes.result_extension if study.is_volume else None
        path = folder / OUTPUTS / f"mask{suffix or study.label_suffix}"
        written = self._write(study, slices, path)
        names = {each.id: each.name for each in self._project.classes}
        return describe_mask(path, written.array, names, wishes, started=started)

    def _list_slices(self, study: Study) -> list[NDArray[np.uint8] | None]:
        slices = range(self._project.find(study.id).slices)
        return [self._project.prediction(study.id, index) for index in slices]

    def _write(self, study: Study, slices: Sequence[NDArray[np.uint8] | None], path: Path) -> _Written:
        """Write slices to `path`, on the grid of the file that they are of."""
        known = [each for each in slices if each is not None]
        if len(known) < len(slices):
            raise UsageError(
                f"{study.name} has no prediction yet; paint on the page or save a label, and wait for its "
                "features"
            )
        if not study.is_volume:
            write_mask(path, LabelMap(known[0]))
            return _Written(known[0], path)
        reader, subject = self._project.reader, self._project.find(study.id)
        upright = LabelVolume(np.stack(known), reader.volume(subject).geometry, study.source, study.id)
        label = reader.orientation(subject).undo(upright)
        write_label(path, label)
        return _Written(label.array, path)


@dataclass(frozen=True)
class _Written:
    """Class ids as they were written, and where."""

    array: NDArray[np.uint8]
    source: Path


def _describe(subject: Subject) -> Study:
    source = subject.files.image
    is_file = not subject.is_volume or source.name.lower().endswith((".nii", _NIFTI, ".nrrd", ".mha", ".mhd"))
    name = source.name if is_file else f"{subject.id}{_NIFTI}"
    return Study(subject.id, name, source, subject.is_volume, getattr(subject.files.series, "uid", None))

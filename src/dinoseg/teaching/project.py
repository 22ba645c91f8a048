"""`Project`: a folder of images that is being taught; what the page asks for, without HTTP.

    FOLDER/.dinoseg/project.sqlite      strokes, classes, what is accepted
    FOLDER/.dinoseg/labels/ID/0000.png  accepted labels, one file a slice
    FOLDER/.dinoseg/basis.npz           the projection of the features
    FOLDER/.dinoseg/exports/ runs/      data sets made of accepted labels, and models trained on them

The user's own files are read and never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dinoseg.data.case import Image
from dinoseg.errors import LayoutError, RunError, UsageError
from dinoseg.outputs import fail
from dinoseg.progress import Progress, Silent
from dinoseg.teaching.changes import Changes
from dinoseg.teaching.classes import check_classes, name_classes, refuse_vanishing
from dinoseg.teaching.drawings import Drawings
from dinoseg.teaching.features import SIDE, Seer, choose_backbone
from dinoseg.teaching.frames import Frames
from dinoseg.teaching.learner import Paint, measure_paint
from dinoseg.teaching.records import ClassName, Records
from dinoseg.teaching.refining import agree, to_mask
from dinoseg.teaching.state import ImageKind, ImageState, ProjectState, describe_estimate
from dinoseg.teaching.strokes import UNPAINTED, Canvas, Stroke, lay_over
from dinoseg.teaching.subjects import Found, Reader, Subject, find_subjects
from dinoseg.teaching.suggestion import choose_next
from dinoseg.teaching.teacher import Taught, Teacher

FOLDER = ".dinoseg"
_KEPT_PREDICTIONS = 64


class Project:
    """Open one with `Project.open`; methods may be called in any thread.

    Attributes:
        folder: of the images.
        changes: who looks on waits here.
        backbone: name of the one whose features are used.
        reader: of the images.
        drawings: what is painted and accepted.
    """

    def __init__(self, folder: Path, found: Found, lock: FileLock, backbone: str) -> None:
        self.folder = folder
        self.backbone = backbone
        self.changes = Changes()
        self.reader = Reader(found)
        self._records = Records(self.place / "project.sqlite")
        self._found = found
        self._file_lock = lock
        self._subjects = {subject.id: subject for subject in found.subjects}
        self._frames = Frames(found.subjects)
        self.drawings = Drawings(self._records, self.place / "labels", self.reader, found)
        self._estimates = self._records.list_estimates()
        self._next: int | None = None
        self._predictions: dict[int, tuple[int, NDArray[np.uint8]]] = {}
        self._teacher: Teacher

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        backbone: str | None = None,
        classes: Sequence[str] = (),
        side: int = SIDE,
        accept_license: bool = False,
        progress: Progress | None = None,
    ) -> Project:
        """Open the project of a folder, or begin one, and start to compute features.

        Args:
            folder: of images or volumes, with masks of some of them or without.
            backbone: catalog name or local folder; that of `train`, or one whose weights are here, if not
                given.
            classes: names of what is to be painted, where nothing says so yet.
            side: px of the square that images are seen as.
            accept_license: accept the licence of the backbone's weights.
            progress: shows what is read.

        Raises:
            LayoutError: there are no images.
            LabelError: masks lie there whose values allow no safe reading.
            RunError: another process has the project open, or it was made by a newer version.
            WeightsError: the weights of the backbone are missing.
            OutputError: the folder cannot be written.
        """
        folder, shown = Path(folder), progress or Silent()
        if not folder.is_dir():
            raise LayoutError(f"{folder} is no folder; give one with images or volumes")
        found = find_subjects(folder, shown)
        for problem in found.problems:
            shown.note(problem)
        lock = _lock(folder / FOLDER)
        try:
            project = cls(folder, found, lock, choose_backbone(backbone))
            project._begin(classes)
            project._start(
                Seer(
                    project.backbone,
                    project.reader,
                    accept_license=accept_license,
                    side=side,
                    progress=shown,
                )
            )
        except BaseException:
            lock.release()
            raise
        return project

    def _begin(self, names: Sequence[str]) -> None:
        if not self.classes:
            given = dict(enumerate(names, start=1))
            self.set_classes(name_classes(self._found.classes or given or {1: "object"}))

    def _start(self, seer: Seer) -> None:
        self._teacher = Teacher(
            self._frames,
            seer,
            self.place / "basis.npz",
            self._measure,
            self._learned,
            first_round=self._estimates[-1][0] if self._estimates else 0,
        )
        self._teacher.start(
            self._frames.number(subject, index)
            for subject in self.subjects
            for index in self.drawings.list_painted(subject)
        )

    @property
    def place(self) -> Path:
        """Where the project's own files lie."""
        return self.folder / FOLDER

    def close(self) -> None:
        """End its threads and let others open it."""
        self._teacher.stop()
        self._records.close()
        self._file_lock.release()

    def add_stroke(self, image: str, client: str, stroke: Stroke) -> int:
        """Keep a stroke; it is on disk when this returns, and learned soon after.

        Args:
            image: id.
            client: unique name that the page gave the stroke; the same again changes nothing.
            stroke: what was drawn.

        Returns:
            Its id.

        Raises:
            UsageError: there is no such image, slice or class.
            OutputError: it could not be written.
        """
        subject = self.find(image, stroke.slice)
        added = self.drawings.add(subject, client, stroke)
        self._relearn(subject, [stroke.slice])
        return added

    def undo(self, image: str) -> int:
        """Take back the last stroke of an image; how many are left."""
        subject = self.find(image)
        undone = self.drawings.undo(subject)
        if undone is not None:
            self._relearn(subject, [undone.stroke.slice])
        return self.drawings.count(subject)

    def redo(self, image: str) -> int:
        """Bring back the stroke that was undone last; how many there are then."""
        subject = self.find(image)
        redone = self.drawings.redo(subject)
        if redone is not None:
            self._relearn(subject, [redone.stroke.slice])
        return self.drawings.count(subject)

    def canvas(self, image: str, index: int = 0) -> Canvas:
        """What is painted on a slice: (H, W) class ids, `UNPAINTED` elsewhere."""
        return self.drawings.canvas(self.find(image, index), index)

    def accept(self, image: str, index: int | None = None) -> None:
        """Take the prediction with the paint on top of it as the label of a slice, or of all.

        Raises:
            UsageError: there is no such slice, or no prediction yet.
        """
        subject = self.find(image, index or 0)
        slices = range(subject.slices) if index is None else [index]
        self.keep(image, {place: self._compose(subject, place) for place in slices})

    def keep(self, image: str, labels: Mapping[int, NDArray[np.uint8]]) -> None:
        """Take class ids (H, W), drawn here or elsewhere, as the labels of slices."""
        subject = self.find(image)
        self.drawings.accept(subject, labels)
        self._relearn(subject, labels)

    def reopen(self, image: str) -> None:
        """Take back what was accepted of an image; its strokes stay."""
        subject = self.find(image)
        self._relearn(subject, self.drawings.reopen(subject))

    def _relearn(self, subject: Subject, slices: Iterable[int]) -> None:
        self._teacher.teach([self._frames.number(subject, index) for index in slices])
        self._choose_next()
        self.changes.tell([subject.id])

    def _compose(self, subject: Subject, index: int) -> NDArray[np.uint8]:
        canvas, shown = self.drawings.canvas(subject, index), self.prediction(subject.id, index)
        if shown is None and (canvas == UNPAINTED).any():
            raise UsageError(
                f"there is no prediction of {subject.name} to accept yet; paint object and background first"
            )
        return canvas if shown is None else lay_over(canvas, shown)

    def _measure(self, number: int) -> Paint:
        """What is painted in the cells of a slice."""
        frame = self._frames.frames[number]
        label = self.drawings.label(frame.subject, frame.index)
        canvas = self.drawings.canvas(frame.subject, frame.index) if label is None else label
        return measure_paint(canvas, self._teacher.grid)

    def prediction(self, image: str, index: int = 0) -> NDArray[np.uint8] | None:
        """(H, W) class ids of a slice: its label where it has one, else what the model says; None before."""
        subject = self.find(image, index)
        label = self.drawings.label(subject, index)
        return self._predict(subject, index) if label is None else label

    def _predict(self, subject: Subject, index: int) -> NDArray[np.uint8] | None:
        taught, number = self._teacher.taught, self._frames.number(subject, index)
        if taught.scores is None or not taught.scores.known[number]:
            return None
        kept = self._predictions.get(number)
        if kept is not None and kept[0] == taught.round:
            return kept[1]
        scores = agree(taught.scores.cells[number].astype(np.float32), self._teacher.maps(number))
        found = to_mask(scores, taught.scores.model, self.reader.image(subject, index), subject.size)
        self._predictions[number] = (taught.round, found)
        while len(self._predictions) > _KEPT_PREDICTIONS:
            self._predictions.pop(next(iter(self._predictions)), None)
        return found

    def segment(self, image: Image) -> NDArray[np.uint8] | None:
        """(H, W) class ids of an image that is not in the folder; None before anything was learned."""
        scores, maps = self._teacher.taught.scores, self._teacher.look(image)
        if scores is None or maps is None:
            return None
        found = agree(scores.model.score(maps.astype(np.float32)), maps)
        return to_mask(found, scores.model, image, image.size)

    def image(self, image: str, index: int = 0) -> Image:
        """A slice as a network sees it, (1 or 3, H, W) in 0..1."""
        return self.reader.image(self.find(image, index), index)

    def show(self, image: str, index: int = 0) -> None:
        """Say which slice is looked at: its features are next."""
        self._teacher.show(self._frames.number(self.find(image, index), index))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that was painted is learned, where features are there; False if it took too long."""
        return self._teacher.wait(timeout)

    def _learned(self, taught: Taught, frames: Iterable[int] | None) -> None:
        """After a round, its estimate, or new features."""
        if frames is None:
            changed = set(self._subjects)
        else:
            changed = {self._frames.frames[number].subject.id for number in frames}
        if taught.estimate is not None and taught.estimated not in {round_ for round_, _ in self._estimates}:
            self._records.add_estimate(taught.estimated, taught.estimate)
            self._estimates = [*self._estimates, (taught.estimated, taught.estimate)]
        self._choose_next()
        self.changes.tell(changed)

    def _choose_next(self) -> None:
        taught = self._teacher.taught
        done = {subject.id for subject in self.subjects if self.drawings.list_painted(subject)}
        candidates = [
            number for number, frame in enumerate(self._frames.frames) if frame.subject.id not in done
        ]
        self._next = choose_next(
            np.array(candidates, np.int64),
            np.array(taught.painted, np.int64),
            uncertainty=None if taught.scores is None else taught.scores.uncertainty,
            means=self._teacher.means,
            ready=self._teacher.ready,
        )

    def find(self, image: str, index: int = 0) -> Subject:
        """The image with an id.

        Raises:
            UsageError: there is none, or it has no such slice.
        """
        subject = self._subjects.get(image)
        if subject is None:
            raise UsageError(f"there is no image {image[:40]!r} in this project")
        if not 0 <= index < subject.slices:
            raise UsageError(f"{subject.name} has no slice {index}; it has {subject.slices} (0 is the first)")
        return subject

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """All images and volumes, in order."""
        return self._found.subjects

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """Those that can be painted, without the background."""
        return tuple(self._records.list_classes())

    def set_classes(self, classes: Sequence[ClassName]) -> None:
        """Change names and colours, add classes, or take away those that nobody painted.

        Raises:
            ClassInUseError: a class that was painted is missing.
            UsageError: a name, colour or id is not accepted.
        """
        check_classes(classes)
        used = self.drawings.list_classes() | set(self._found.classes)
        refuse_vanishing(self.classes, classes, used)
        self._records.replace_classes(classes)
        self.changes.tell()

    @property
    def round(self) -> int:
        """Number of the newest round; 0 before the first."""
        return self._teacher.taught.round

    def state(self, *, since: int | None = None) -> ProjectState:
        """What it is like now.

        Args:
            since: a version of `changes`: only the images that changed after it.
        """
        changed = self._subjects if since is None else self.changes.find_changed(since)
        taught, following = self._teacher.taught, self._next
        frame = None if following is None else self._frames.frames[following]
        return ProjectState(
            name=self.folder.resolve().name,
            folder=str(self.folder.resolve()),
            classes=self.classes,
            images=tuple(self._describe(subject) for subject in self.subjects if subject.id in changed),
            features=self._teacher.progress,
            round=taught.round,
            estimate=describe_estimate(self._estimates),
            seconds=taught.seconds,
            next=frame.subject.id if frame else None,
            next_slice=frame.index if frame else None,
            backbone=self.backbone,
        )

    def _describe(self, subject: Subject) -> ImageState:
        numbers = self._frames.numbers(subject)
        taught, part = self._teacher.taught, slice(numbers.start, numbers.stop)
        known = taught.scores is not None and bool(taught.scores.known[part].any())
        unsure = float(np.nanmax(taught.scores.uncertainty[part])) if taught.scores and known else None
        strokes, accepted = self.drawings.count(subject), len(self.drawings.list_accepted(subject))
        kind: ImageKind = "accepted" if accepted else "stroked" if strokes else "new"
        problems = (self._teacher.problems.get(number) for number in numbers)
        return ImageState(
            id=subject.id,
            name=subject.name,
            width=subject.size[1],
            height=subject.size[0],
            slices=subject.slices,
            state=kind,
            strokes=strokes,
            accepted=accepted,
            features="yes" if self._teacher.ready[part].all() else "no",
            uncertainty=unsure,
            round=taught.round if known else 0,
            problem=next((problem for problem in problems if problem), None),
        )


def _lock(place: Path) -> FileLock:
    """Keep other processes from the project, until this one ends."""
    lock = FileLock(place / "lock", timeout=0)
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(f"{place.parent} is open in another `dinoseg teach`; close that first") from error
    except OSError as error:
        raise fail(f"{place} could not be opened for writing", error) from error
    return lock

"""What is painted and accepted in a project, in memory as it is on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from dinoseg.errors import UsageError
from dinoseg.teaching.labels import FROM_FOLDER, FROM_PAGE, Labels
from dinoseg.teaching.records import Accepted, Kept, Records
from dinoseg.teaching.strokes import Canvas, Stroke, draw
from dinoseg.teaching.subjects import Found, Reader, Subject

_LONGEST_CLIENT = 60


class Drawings:
    """Strokes and labels of all images; may be used in any thread.

    Args:
        records: where each change is written before it counts.
        folder: of accepted labels.
        reader: of the masks that lie in the user's folder.
        found: what lies in that folder; masks that were not there before are accepted.
    """

    def __init__(self, records: Records, folder: Path, reader: Reader, found: Found) -> None:
        self._records = records
        self._labels = Labels(folder, reader)
        self._lock = RLock()
        self._strokes: dict[str, list[Kept]] = {}
        for kept in records.list_strokes():
            self._strokes.setdefault(kept.image, []).append(kept)
        self._accepted = records.list_accepted()
        self._take_masks(found)

    def _take_masks(self, found: Found) -> None:
        known = self._records.list_known()
        for subject in found.subjects:
            if subject.files.label is not None and subject.id not in known:
                last = self._last(subject.id)
                whole = {index: Accepted(last, FROM_FOLDER) for index in range(subject.slices)}
                self._records.accept(subject.id, whole)
                self._accepted[subject.id] = whole
        self._records.know([subject.id for subject in found.subjects])

    def add(self, subject: Subject, client: str, stroke: Stroke) -> int:
        """Keep a stroke; it is on disk when this returns.

        Args:
            subject: that it was drawn on.
            client: unique name that the page gave it; the same again changes nothing.
            stroke: what was drawn.

        Returns:
            Its id.

        Raises:
            UsageError: there is no such class, or no name.
        """
        if not 0 < len(client) <= _LONGEST_CLIENT:
            raise UsageError(
                f"a stroke needs a name of 1 to {_LONGEST_CLIENT} characters, given {len(client)}"
            )
        with self._lock:
            if stroke.class_id and stroke.class_id not in {each.id for each in self._records.list_classes()}:
                raise UsageError(f"there is no class {stroke.class_id}; add it to the classes first")
            known = self._records.find_stroke(client)
            if known is not None:  # sent again because the answer was lost; perhaps undone since
                return known
            added = self._records.add_stroke(subject.id, client, stroke)
            self._strokes.setdefault(subject.id, []).append(Kept(added, subject.id, stroke))
            return added

    def undo(self, subject: Subject) -> Kept | None:
        """Take back the last stroke of an image; None where there is none."""
        with self._lock:
            undone = self._records.undo(subject.id)
            if undone is not None:
                self._strokes[subject.id] = [
                    kept for kept in self._strokes[subject.id] if kept.id != undone.id
                ]
            return undone

    def redo(self, subject: Subject) -> Kept | None:
        """Bring back the stroke that was undone last; None where there is none."""
        with self._lock:
            redone = self._records.redo(subject.id)
            if redone is not None:
                self._strokes.setdefault(subject.id, []).append(redone)
            return redone

    def count(self, subject: Subject) -> int:
        """Strokes of an image."""
        with self._lock:
            return len(self._strokes.get(subject.id, ()))

    def list_painted(self, subject: Subject) -> set[int]:
        """Slices of an image with strokes or a label."""
        with self._lock:
            strokes = {kept.stroke.slice for kept in self._strokes.get(subject.id, ())}
            return strokes | set(self._accepted.get(subject.id, {}))

    def list_accepted(self, subject: Subject) -> set[int]:
        """Slices of an image with a label."""
        with self._lock:
            return set(self._accepted.get(subject.id, {}))

    def list_classes(self) -> set[int]:
        """Those of all strokes, without the background."""
        with self._lock:
            return {kept.stroke.class_id for own in self._strokes.values() for kept in own} - {0}

    def canvas(self, subject: Subject, index: int) -> Canvas:
        """What is painted on a slice: (H, W) class ids, `UNPAINTED` elsewhere."""
        return draw((kept.stroke for kept in self._list_strokes(subject, index)), subject.size)

    def label(self, subject: Subject, index: int) -> NDArray[np.uint8] | None:
        """The accepted label of a slice, (H, W), with what was painted since; None where there is none."""
        with self._lock:
            accepted = self._accepted.get(subject.id, {}).get(index)
        if accepted is None:
            return None
        return self._labels.read(subject, index, accepted, self._list_strokes(subject, index))

    def accept(self, subject: Subject, labels: Mapping[int, NDArray[np.uint8]]) -> None:
        """Keep labels of slices."""
        with self._lock:
            for index, ids in labels.items():
                self._labels.write(subject, index, ids)
            fresh = {index: Accepted(self._last(subject.id), FROM_PAGE) for index in labels}
            self._records.accept(subject.id, fresh)
            self._accepted.setdefault(subject.id, {}).update(fresh)

    def reopen(self, subject: Subject) -> set[int]:
        """Forget the labels of an image; its strokes stay. Which slices had one."""
        with self._lock:
            self._records.reopen(subject.id)
            return set(self._accepted.pop(subject.id, {}))

    def _list_strokes(self, subject: Subject, index: int) -> list[Kept]:
        with self._lock:
            return [kept for kept in self._strokes.get(subject.id, ()) if kept.stroke.slice == index]

    def _last(self, image: str) -> int:
        return max((kept.id for kept in self._strokes.get(image, ())), default=0)

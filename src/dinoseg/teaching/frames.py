"""`Frame`: one slice of a project, what is learned from and predicted; images are slices too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dinoseg.teaching.subjects import Subject


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes:
        subject: image or volume.
        index: of the slice, 0 for an image.
    """

    subject: Subject
    index: int


class Frames:
    """All slices of some images and volumes, numbered one after the other."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.frames = [Frame(subject, index) for subject in subjects for index in range(subject.slices)]
        self._first: dict[str, int] = {}
        for number, frame in enumerate(self.frames):
            self._first.setdefault(frame.subject.id, number)

    def __len__(self) -> int:
        return len(self.frames)

    def number(self, subject: Subject, index: int) -> int:
        """Of a slice among all."""
        return self._first[subject.id] + index

    def numbers(self, subject: Subject) -> range:
        """Of all slices of an image or volume."""
        first = self._first[subject.id]
        return range(first, first + subject.slices)

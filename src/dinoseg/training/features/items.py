"""What a bank holds: whole images, or the slices of volumes; the bank need not ask which."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import torch
from torch import Tensor

from dinoseg.backbones.cache import entry_key
from dinoseg.config import Plane, PreprocessingSettings
from dinoseg.data import CaseFiles, LabelMapping, read_case
from dinoseg.data.case import Case
from dinoseg.data.cases.images import read_size
from dinoseg.data.cases.likeness import Facts, describe_image, describe_volume
from dinoseg.data.cases.prints import CasePrint, print_case
from dinoseg.data.cases.volumes import (
    VolumeCase,
    VolumeSlices,
    measure_slices,
    measure_spacing,
    read_volume_case,
    take_label_slice,
)
from dinoseg.data.digests import remember_digests
from dinoseg.errors import LabelError

KEPT_VOLUMES = 2  # in memory; the samples of a batch may come from any


class Items(Protocol):
    """A list of 2D items with their names in the feature cache.

    Attributes:
        unit: what an item is, for messages ("images", "slices").
        images: names of the pixels, one per item; equal names mean equal pixels.
        labels: names of the labels, one per item.
        subjects: index of the case that each item belongs to.
        stacks: number of the stack of slices that each item belongs to: a case in one plane.
    """

    unit: str
    images: Sequence[str]
    labels: Sequence[str]
    subjects: Sequence[int]
    stacks: Sequence[int]

    def read(self, position: int) -> Case:
        """The item as an image with its mask; may be called in any thread.

        Raises:
            DataError: it cannot be read.
        """
        ...

    def size(self, position: int) -> tuple[int, int]:
        """Height and width of an item, from the header of its file alone."""
        ...

    def spacing(self, position: int) -> float | None:
        """Mm from a slice to the next of its stack, from the header; None where nobody knows."""
        ...

    def read_foreground(self, subject: int) -> Tensor:
        """Whether each item of a case shows a class: bool, in the order of the items."""
        ...

    def describe(self, position: int, case: Case) -> Look:
        """What the whole image or volume of an item shows, `case` being that item as it was read."""
        ...


@dataclass(frozen=True)
class Look:
    """What is kept of a training case besides its features.

    Attributes:
        facts: what it shows.
        mark: what it is known again by.
    """

    facts: Facts
    mark: CasePrint

    def to_entry(self) -> dict[str, Tensor]:
        """As the feature cache keeps it."""
        return {
            "facts": torch.from_numpy(self.facts.to_array()),
            "print": torch.from_numpy(self.mark.to_array()),
        }

    @classmethod
    def from_entry(cls, entry: Mapping[str, Tensor]) -> Look:
        """What `to_entry` gave."""
        facts = Facts.from_array(entry["facts"].numpy())
        return cls(facts, CasePrint.from_array(entry["print"].numpy()))


def list_items(
    cases: Sequence[CaseFiles],
    mapping: LabelMapping,
    settings: PreprocessingSettings,
    digests: Mapping[Path, str],
) -> Items:
    """Images, or all slices of volumes in the planes of the settings.

    Args:
        cases: image and mask files.
        mapping: from mask values to class ids.
        settings: planes, context and intensities of volumes.
        digests: of all files of `cases`, from `read_digests`.

    Raises:
        LabelError: a case without a mask.
        FileFormatError: the header of a volume cannot be read.
    """
    labels = [_name_label(case, digests) for case in cases]
    if not settings.for_volumes:
        return Pictures(cases, mapping, [digests[case.image] for case in cases], labels)
    return Slices(cases, mapping, settings, [_name_volume(case, digests) for case in cases], labels)


def read_digests(cases: Sequence[CaseFiles]) -> dict[Path, str]:
    """sha256 of every file of some cases; each is read once, and not at all where it is remembered."""
    paths = dict.fromkeys(path for case in cases for path in (*case.images, *case.labels))
    with remember_digests() as memory:
        return {path: memory.find(path) for path in paths}


class Pictures:
    """Images: one item each."""

    unit = "images"

    def __init__(
        self, cases: Sequence[CaseFiles], mapping: LabelMapping, images: Sequence[str], labels: Sequence[str]
    ) -> None:
        self._cases = cases
        self._mapping = mapping
        self.images = images
        self.labels = labels
        self.subjects: Sequence[int] = range(len(cases))
        self.stacks: Sequence[int] = self.subjects

    def read(self, position: int) -> Case:
        """The image with its mask."""
        return read_case(self._cases[position], self._mapping)

    def size(self, position: int) -> tuple[int, int]:
        """That of the image."""
        return read_size(self._cases[position])

    def spacing(self, position: int) -> None:
        """Images have no slices."""

    def describe(self, position: int, case: Case) -> Look:
        """What the image shows."""
        return Look(describe_image(case.image), print_case(case.image.array))

    def read_foreground(self, subject: int) -> Tensor:
        """Whether the one item shows a class."""
        ids = self._mapping.read(_mask_of(self._cases[subject]))
        return torch.tensor([bool(self._mapping.find_classes(ids))])


@dataclass(frozen=True)
class _Stack:
    """The slices of one volume in one plane."""

    subject: int
    plane: Plane
    count: int


@dataclass(frozen=True, eq=False)
class _Opened:
    """A volume in memory, upright, and its slices as the model sees them, by plane."""

    case: VolumeCase
    slices: Mapping[Plane, VolumeSlices]


class Slices:
    """Slices of volumes: case by case, of each plane by plane, from the first to the last of each."""

    unit = "slices"

    def __init__(
        self,
        cases: Sequence[CaseFiles],
        mapping: LabelMapping,
        settings: PreprocessingSettings,
        images: Sequence[str],
        labels: Sequence[str],
    ) -> None:
        self._cases = cases
        self._mapping = mapping
        self._settings = settings
        self._opened: OrderedDict[int, _Opened] = OrderedDict()
        self._sizes: dict[int, tuple[int, int]] = {}
        self._spacings: dict[int, float | None] = {}
        self._reading = Lock()
        self._stacks = [
            _Stack(subject, plane, measure_slices(case, plane)[0])
            for subject, case in enumerate(cases)
            for plane in settings.planes
        ]
        self._places = [(stack, index) for stack in self._stacks for index in range(stack.count)]
        self.subjects: Sequence[int] = [stack.subject for stack, _ in self._places]
        self.stacks: Sequence[int] = [
            number for number, stack in enumerate(self._stacks) for _ in range(stack.count)
        ]
        look = (str(settings.context), settings.intensity.model_dump_json() if settings.intensity else "")
        self.images: Sequence[str] = [
            entry_key("slice", images[stack.subject], stack.plane, *look, str(index))
            for stack, index in self._places
        ]
        self.labels: Sequence[str] = [
            entry_key("label slice", labels[stack.subject], stack.plane, str(index))
            for stack, index in self._places
        ]

    def __getstate__(self) -> dict[str, Any]:
        """All but the volumes in memory, which another process reads itself."""
        return {**vars(self), "_opened": OrderedDict(), "_reading": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _reading=Lock())

    def read(self, position: int) -> Case:
        """The slice with its mask; a few volumes stay in memory."""
        stack, index = self._places[position]
        with self._reading:
            opened = self._open(stack.subject)
            label, cut = opened.case.label, f"{stack.plane} " if len(self._settings.planes) > 1 else ""
            return Case(
                id=f"{opened.case.id}, {cut}slice {index}",
                image=opened.slices[stack.plane].image(index),
                label=None if label is None else take_label_slice(label, index, plane=stack.plane),
                group=opened.case.group,
                source=opened.case.source,
            )

    def size(self, position: int) -> tuple[int, int]:
        """That of every slice of its stack."""
        number = self.stacks[position]
        if number not in self._sizes:
            stack = self._stacks[number]
            self._sizes[number] = measure_slices(self._cases[stack.subject], stack.plane)[1:]
        return self._sizes[number]

    def spacing(self, position: int) -> float | None:
        """That of its volume, across its plane."""
        number = self.stacks[position]
        if number not in self._spacings:
            stack = self._stacks[number]
            self._spacings[number] = measure_spacing(self._cases[stack.subject], stack.plane)
        return self._spacings[number]

    def describe(self, position: int, case: Case) -> Look:
        """What the volume of the slice shows, before its intensities are changed."""
        with self._reading:
            volume = self._open(self.subjects[position]).case.image
            known = volume.geometry.spacing_known
            facts = describe_volume(volume.array, spacing=volume.spacing if known else None)
            return Look(facts, print_case(volume.array))

    def read_foreground(self, subject: int) -> Tensor:
        """Whether each slice of a volume shows a class."""
        label = self._open(subject).case.label
        places = [(stack, index) for stack, index in self._places if stack.subject == subject]
        shown = torch.zeros(len(places), dtype=torch.bool)
        for row, (stack, index) in enumerate(places if label is not None else ()):
            ids = take_label_slice(label, index, plane=stack.plane).array  # type: ignore[arg-type]
            shown[row] = bool(self._mapping.find_classes(ids))
        return shown

    def _open(self, subject: int) -> _Opened:
        if subject in self._opened:
            self._opened.move_to_end(subject)
            return self._opened[subject]
        while len(self._opened) >= KEPT_VOLUMES:  # before the next one is read
            self._opened.popitem(last=False)
        case, settings = read_volume_case(self._cases[subject], self._mapping).canonical(), self._settings
        slices = {plane: VolumeSlices(case.image, settings.in_plane(plane)) for plane in settings.planes}
        self._opened[subject] = _Opened(case, slices)
        return self._opened[subject]


def _name_volume(case: CaseFiles, digests: Mapping[Path, str]) -> str:
    return entry_key(*(digests[path] for path in case.images), repr(case.channel_indices))


def _name_label(case: CaseFiles, digests: Mapping[Path, str]) -> str:
    digest = digests[_mask_of(case)]
    if case.label_parts:
        return entry_key(*(digests[path] for path in case.label_parts))
    return digest if case.series is None else entry_key(digest, repr(case.series.names))


def _mask_of(case: CaseFiles) -> Path:
    if case.label is None:
        raise LabelError(f"{case.image} has no mask; training and evaluation need one for every image")
    return case.label


def digest_content(cases: Sequence[CaseFiles], digests: Mapping[Path, str] | None = None) -> str:
    """Hash of all images, masks and groups of some cases.

    Args:
        cases: image and mask files.
        digests: of all these files where they are known already, from `read_digests`.
    """
    known = read_digests(cases) if digests is None else digests
    paths = [path for case in cases for path in (*case.images, *case.labels)]
    return entry_key(*(case.group for case in cases), *(known[path] for path in paths))

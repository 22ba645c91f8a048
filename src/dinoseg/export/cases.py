"""Images to compare a bundle with torch on, or to calibrate it with: files that were named, or drawn ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dinoseg.data.case import Case
from dinoseg.data.cases.volumes import VolumeSlices
from dinoseg.data.dicom import GivenSeries
from dinoseg.data.phantoms.phantoms import PhantomKind, draw_phantom
from dinoseg.data.sources.source import Source, expand, is_volume, open_case, open_volume
from dinoseg.data.tensors.transforms import prepare_pixels
from dinoseg.data.volumes import Volume, to_canonical
from dinoseg.errors import UsageError
from dinoseg.inference.volumes import refuse_other_kind
from dinoseg.model.network import Array, Network

MOST = 64  # images
SLICES = 8  # of a volume, from its middle
DRAWN: tuple[PhantomKind, ...] = ("ultrasound", "dermoscopy", "endoscopy")
DRAWN_EACH = 2
DRAWN_SIZE = (160, 200)


@dataclass(frozen=True)
class Example:
    """An image and what the network sees of it: `pixels` (3, S, S), normalised."""

    case: Case
    pixels: Array


@dataclass(frozen=True)
class Examples:
    """Images as a network takes them.

    Attributes:
        name: where they are from, for the record.
        series: prepared images; those of one volume follow each other, and images are alone.
    """

    name: str
    series: tuple[tuple[Example, ...], ...]

    @property
    def count(self) -> int:
        """How many images."""
        return sum(len(each) for each in self.series)


def draw_examples(model: Network, *, size: int) -> Examples:
    """Drawn pictures, for a model of volumes as if they were slices."""
    cases = [draw_phantom(kind, size=DRAWN_SIZE, seed=seed) for kind in DRAWN for seed in range(DRAWN_EACH)]
    return Examples(f"{len(cases)} drawn pictures", (tuple(_prepare(model, case, size) for case in cases),))


def read_examples(model: Network, sources: Sequence[Path], *, size: int) -> Examples:
    """Images, or slices from the middle of volumes, of files and folders; at most `MOST` in all.

    Raises:
        DataError: a file cannot be read, or is of the other kind than the model was trained on.
        UsageError: there is none.
    """
    items = expand(list(sources))
    found: list[tuple[Example, ...]] = []
    left = MOST
    for index, item in enumerate(items):
        series = tuple(_prepare(model, case, size) for case in islice(_open(model, item, index), left))
        found += [series] if series else []
        left -= len(series)
    if not found:
        raise UsageError("no image was given to compare with; name files or folders")
    return Examples(f"{len(found)} files", tuple(found))


def _open(model: Network, item: Source, index: int) -> Iterator[Case]:
    if isinstance(item, str | Path | Volume | GivenSeries) and is_volume(item):
        settings = model.settings.preprocessing
        volume = open_volume(item, channels=settings.channels)
        refuse_other_kind(model, volume.id, is_volume=True)
        slices = VolumeSlices(to_canonical(volume).volume, settings)
        first = max(0, (len(slices) - SLICES) // 2)
        for place in range(first, min(first + SLICES, len(slices))):
            name = f"{volume.id}, slice {place}"
            yield Case(name, slices.image(place), None, group=volume.id, source=volume.source)
        return
    case = open_case(item, index=index)
    refuse_other_kind(model, case.id, is_volume=False)
    yield case


def _prepare(model: Network, case: Case, size: int) -> Example:
    return Example(case, prepare_pixels(case.image, (size, size), mean=model.mean, std=model.std))

"""The bank: every training image or slice in a fixed number of views, its features computed once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from dinoseg.backbones.cache import FeatureCache, entry_key
from dinoseg.backbones.features import Features
from dinoseg.config import AugmentationSettings
from dinoseg.data import CaseFiles, LabelMapping
from dinoseg.data.case import Case
from dinoseg.data.tensors.augmentation import View, draw_view
from dinoseg.data.tensors.transforms import PREPARATION
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Progress
from dinoseg.streams import map_ahead
from dinoseg.training.features.items import Look, list_items
from dinoseg.training.features.jobs import FeatureJob, FeatureWork, WantedView, label_of, to_entry
from dinoseg.training.features.threads import one_image_per_thread


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        features: maps of B images.
        label: (B, S, S), uint8 class ids.
        pixels: (B, 3, S, S), normalised; only where the method looks at the image.
        positions: index of each image or slice in its bank.
    """

    features: Features
    label: Tensor
    pixels: Tensor | None
    positions: tuple[int, ...]

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return Batch(
            features=self.features.map(lambda maps: maps.to(device, non_blocking=True)),
            label=self.label.to(device, non_blocking=True),
            pixels=None if self.pixels is None else self.pixels.to(device, non_blocking=True),
            positions=self.positions,
        )


@dataclass(frozen=True)
class Sample:
    """One view of one image or slice of the bank."""

    position: int
    view: int


class ViewBank:
    """Views of labelled images, or of slices of volumes, with their features, remembered on disk.

    Args:
        cases: image and mask files; all slices of a volume are in the bank.
        mapping: from mask values to class ids.
        model: gives preprocessing; its backbone is asked through `cache`.
        cache: remembers features; labels and pixels of the views lie in the same store.
        digests: of all files of `cases`, from `read_digests`.
        augmentation: how views are drawn; None for validation.
        views: per image or slice; the first is the image as it is.
        min_bank: more views than that where they are needed for the bank to hold so many.
        seed: of the views.
    """

    def __init__(
        self,
        cases: Sequence[CaseFiles],
        mapping: LabelMapping,
        model: Segmenter,
        cache: FeatureCache,
        *,
        digests: Mapping[Path, str],
        augmentation: AugmentationSettings | None,
        views: int,
        min_bank: int = 0,
        seed: int,
    ) -> None:
        self.ignores = mapping.ignore is not None
        self._items = list_items(cases, mapping, model.settings.preprocessing, digests)
        self.views = max(views, -(-min_bank // len(self)))
        self._model = model
        self._cache = cache
        self._store = cache.store
        self._work = FeatureWork(self._items, model, cache.dtype, cache.compute)
        self._images, self._labels = self._items.images, self._items.labels
        self._reach = model.reach
        self._drawn = [
            [draw_view(augmentation, case=name, index=index, seed=seed) for index in range(self.views)]
            for name in self._list_view_names()
        ]
        self._preprocessing = repr((PREPARATION, model.size, model.backbone.mean, model.backbone.std))
        table = json.dumps({str(key): value for key, value in sorted(mapping.table.items())})
        self._table = f"{mapping.kind}:{mapping.threshold}:{table}"

    def __len__(self) -> int:
        return len(self._items.images)

    def subject(self, position: int) -> int:
        """Index of the case that an image or slice belongs to."""
        return self._items.subjects[position]

    @cached_property
    def foreground(self) -> Tensor:
        """Whether each image or slice shows a class, (len(self),), bool."""
        owned: dict[int, list[str]] = {}
        for subject, label in zip(self._items.subjects, self._items.labels, strict=True):
            owned.setdefault(subject, []).append(label)
        return torch.cat([self._find_foreground(subject, labels) for subject, labels in owned.items()])

    def find_looks(self) -> list[Look]:
        """What each image or volume shows, measured when it was read for its features."""
        return [self._find_look(position) for position in range(len(self)) if self._is_first(position)]

    def _find_look(self, position: int) -> Look:
        key = self._facts_key(position)
        entry = self._store.get(key)
        if entry is None:
            entry = self._measure(position).to_entry()
            self._store.put(key, entry)
        return Look.from_entry(entry)

    def _measure(self, position: int) -> Look:
        return self._items.describe(position, self._read(position))

    def find_means(self) -> list[Tensor]:
        """(C,) of each image as it is, the mean over its deepest map."""
        return [self._mean(Sample(position, 0)) for position in range(len(self))]

    def find_mirrored(self, most: int) -> list[float]:
        """Cosines of the means of at most so many images with those of their mirror images."""
        samples = (Sample(position, 0) for position in range(0, len(self), -(-len(self) // most)))
        return [float(self._compare_with_mirrored(sample)) for sample in samples]

    def _mean(self, sample: Sample) -> Tensor:
        def average() -> Tensor:
            return self._features([sample]).levels[-1][0].float().mean(dim=(1, 2))

        return self._remember(entry_key("mean", self._feature_key(sample)), average)

    def _compare_with_mirrored(self, sample: Sample) -> Tensor:
        def compare() -> Tensor:
            mirrored = self._cache.backbone(self._render(sample).flip(-1).unsqueeze(0)).levels[-1]
            return torch.cosine_similarity(self._mean(sample), mirrored[0].float().mean(dim=(1, 2)), dim=0)

        return self._remember(entry_key("mirrored", self._feature_key(sample)), compare)

    def _is_first(self, position: int) -> bool:
        """Whether it is an image, or the first slice of a volume."""
        subjects = self._items.subjects
        return position == 0 or subjects[position] != subjects[position - 1]

    def _facts_key(self, position: int) -> str:
        return entry_key("facts and print", self._images[position])

    def _lacks_facts(self, position: int, listed: set[str]) -> str | None:
        """Key of the facts that are to be measured with an image, or the first slice of a volume."""
        key = self._facts_key(position)
        self._store.claim((key,))
        if not self._is_first(position) or key in listed or not self._lacks(key):
            return None
        listed.add(key)
        return key

    @property
    def work(self) -> FeatureWork:
        """What computes the jobs of this bank; can be pickled."""
        return self._work

    def list_jobs(self) -> list[FeatureJob]:
        """What the store lacks, image by image; nothing twice, also where images are equal."""
        listed: set[str] = set()
        jobs = (
            FeatureJob(position, self._list_wanted(position, listed), self._lacks_facts(position, listed))
            for position in range(len(self))
        )
        return [job for job in jobs if job.views or job.facts]

    def claim(self) -> None:
        """Keep the store from making room out of what this bank will use, before others are built."""
        self._store.claim(key for sample in self._list_samples() for key in self._want(sample).keys)
        for name in (self._native_key, self._facts_key):
            self._store.claim(map(name, range(len(self))))

    def build(self, progress: Progress) -> None:
        """Compute what is not remembered yet, image by image, one in each thread; a volume is read once."""
        jobs = self.list_jobs()
        if jobs:
            self._fill(jobs, progress)
        self._store.open_ahead(key for sample in self._list_samples() for key in self._want(sample).keys)

    def _fill(self, jobs: Sequence[FeatureJob], progress: Progress) -> None:
        label = f"features of {len(jobs)} {self._items.unit} × {self.views} views"
        with one_image_per_thread() as workers:
            computed = map_ahead(self._work.compute, jobs, workers=workers, ahead=workers)
            with closing(computed):
                for entries in progress.track(computed, total=len(jobs), label=label):
                    for key, entry in entries.items():
                        self._store.put(key, entry)
        self._tell_left_out(progress)

    def _list_wanted(self, position: int, listed: set[str]) -> tuple[WantedView, ...]:
        """The views of one image that lack an entry; what is `listed` already is left to others."""
        found = []
        for view in range(self.views):
            whole = self._want(Sample(position, view))
            self._store.claim(whole.keys)
            wanted = whole.only(lambda key: key not in listed and self._lacks(key))
            listed.update(wanted.keys)
            if wanted.keys:
                found.append(wanted)
        return tuple(found)

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Features and labels of some views, from disk; computed anew where an entry is gone."""
        pixels = [self._pixels(sample) for sample in samples] if self._model.decoder.needs_image else None
        features = self._features(samples)
        return Batch(
            features=self._add_neighbours(features, samples) if self._reach else features,
            label=torch.stack([self._label(sample) for sample in samples]),
            pixels=torch.stack(pixels) if pixels else None,
            positions=tuple(sample.position for sample in samples),
        )

    def native_label(self, position: int) -> Tensor:
        """Class ids (H, W), uint8, at the own size of the image or slice."""
        key = self._native_key(position)
        return self._remember(key, lambda: torch.from_numpy(label_of(self._read(position)).array))

    def _native_key(self, position: int) -> str:
        return entry_key("native label", self._labels[position], self._table)

    def _list_samples(self) -> Iterator[Sample]:
        return (Sample(position, view) for position in range(len(self)) for view in range(self.views))

    def _find_foreground(self, subject: int, labels: Sequence[str]) -> Tensor:
        key = entry_key("foreground", *labels, self._table)
        return self._remember(key, lambda: self._items.read_foreground(subject))

    def _tell_left_out(self, progress: Progress) -> None:
        left_out = sum(len(self._missing(position)) for position in range(len(self)))
        if left_out:
            progress.note(
                f"the feature cache is full at {self._store.limit / 1e9:g} GB: {left_out} of "
                f"{len(self) * self.views} views are computed anew each time; "
                "raise --set cache.limit_gb"
            )

    def _missing(self, position: int) -> list[int]:
        views = range(self.views)
        return [view for view in views if self._want(Sample(position, view)).only(self._lacks).keys]

    def _lacks(self, key: str) -> bool:
        return key not in self._store

    def _want(self, sample: Sample) -> WantedView:
        """All entries of a view, whether they are there or not."""
        pixels = self._pixel_key(sample) if self._model.decoder.needs_image else None
        return WantedView(self._view(sample), self._feature_key(sample), self._label_key(sample), pixels)

    def _features(self, samples: Sequence[Sample]) -> Features:
        return self._cache.features(
            [self._feature_key(sample) for sample in samples], lambda index: self._render(samples[index])
        )

    def _list_view_names(self) -> Sequence[str]:
        """What the views of each item are drawn by: slices that are read together are moved alike."""
        if not self._reach:
            return self._images
        first: dict[int, str] = {}
        return [
            first.setdefault(subject, image)
            for subject, image in zip(self._items.subjects, self._images, strict=True)
        ]

    def _add_neighbours(self, features: Features, samples: Sequence[Sample]) -> Features:
        """The features with those of the slices around, of the same view."""
        steps = [step for step in range(-self._reach, self._reach + 1) if step]
        places = [[self._neighbour(sample, step) for step in steps] for sample in samples]
        there = torch.tensor([[place is not None for place in row] for row in places])
        found = self._features([place for row in places for place in row if place is not None]).levels
        around = [level.new_zeros(*there.shape, *level.shape[1:]) for level in features.levels]
        for maps, level in zip(around, found, strict=True):
            maps[there] = level
        return replace(features, around=tuple(around))

    def _neighbour(self, sample: Sample, step: int) -> Sample | None:
        position, subjects = sample.position + step, self._items.subjects
        if not 0 <= position < len(self) or subjects[position] != subjects[sample.position]:
            return None
        return Sample(position, sample.view)

    def _label(self, sample: Sample) -> Tensor:
        def draw() -> Tensor:
            return self._work.draw_label(self._view(sample), self._read(sample.position))

        return self._remember(self._label_key(sample), draw)

    def _pixels(self, sample: Sample) -> Tensor:
        return self._remember(self._pixel_key(sample), lambda: self._render(sample))

    def _render(self, sample: Sample) -> Tensor:
        return self._work.render(self._view(sample), self._read(sample.position))

    def _remember(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        entry = self._store.get(key)
        if entry is None:
            entry = to_entry(compute())
            self._store.put(key, entry)
        return entry["value"]

    def _read(self, position: int) -> Case:
        return self._items.read(position)

    def _view(self, sample: Sample) -> View:
        return self._drawn[sample.position][sample.view]

    def _feature_key(self, sample: Sample) -> str:
        return self._cache.key(self._images[sample.position], self._preprocessing, repr(self._view(sample)))

    def _pixel_key(self, sample: Sample) -> str:
        return entry_key(
            "pixels", self._images[sample.position], self._preprocessing, repr(self._view(sample))
        )

    def _label_key(self, sample: Sample) -> str:
        size = repr(self._model.size)
        return entry_key("label", self._labels[sample.position], self._table, size, repr(self._view(sample)))


def draw_epoch(
    bank: ViewBank,
    *,
    count: int | None = None,
    min_samples: int = 0,
    foreground_share: float = 0.0,
    seed: int,
    epoch: int,
) -> list[Sample]:
    """The samples of one epoch, in order, each in a random view.

    Args:
        bank: what is drawn from.
        count: so many samples, by as many passes over the images as that takes; the last is cut off.
        min_samples: without `count`: every image once, or as many times as reach so many samples.
        foreground_share: at least so many of the samples show a class: where too few do, those that do
            come more often, and the others in turn.
        seed: of the run.
        epoch: from 0; every epoch has its own order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    passes = max(1, -(-(min_samples if count is None else count) // len(bank)))
    order = _draw_passes(torch.arange(len(bank)), passes * len(bank), generator)[:count]
    if foreground_share > 0 and 0 < bank.foreground.sum() < foreground_share * len(bank):
        order = _draw_foreground(bank.foreground, len(order), foreground_share, generator)
    views = torch.randint(bank.views, order.shape, generator=generator)
    return [Sample(int(position), int(view)) for position, view in zip(order, views, strict=True)]


def _draw_passes(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of some positions: each in turn in a random order, again and again."""
    passes = -(-count // len(positions))
    turns = [positions[torch.randperm(len(positions), generator=generator)] for _ in range(passes)]
    return torch.cat(turns)[:count] if turns else positions[:0]


def _draw_foreground(shown: Tensor, count: int, share: float, generator: torch.Generator) -> Tensor:
    wanted = math.ceil(share * count)
    with_class = _draw_passes(shown.nonzero().flatten(), wanted, generator)
    without = _draw_passes((~shown).nonzero().flatten(), count - wanted, generator)
    order = torch.cat([with_class, without])
    return order[torch.randperm(count, generator=generator)]


class Batches:
    """Batches of a list of samples; what Lightning iterates over."""

    def __init__(self, bank: ViewBank, samples: Sequence[Sample], batch_size: int) -> None:
        self._bank = bank
        self._chunks = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        return (self._bank.batch(chunk) for chunk in self._chunks)

"""The bank: every training image or slice in a fixed number of views, its features computed once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
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
from dinoseg.data.tensors.windows import Corner, FixedWindow
from dinoseg.model.segmenter import Segmenter
from dinoseg.processes import ALONE, Processes
from dinoseg.progress import Progress
from dinoseg.streams import map_ahead
from dinoseg.training.features.around import list_parts, put_together
from dinoseg.training.features.items import Look, list_items
from dinoseg.training.features.jobs import FeatureJob, FeatureWork, WantedView, label_of, to_entry
from dinoseg.training.features.threads import one_image_per_thread
from dinoseg.training.features.windows import VERSION, RandomWindows, SlidingWindows, WindowView


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        features: maps of B images.
        label: (B, S, S), uint8 class ids.
        pixels: (B, 3, S, S), normalised; only where the method looks at the image.
        positions: index of each image or slice in its bank.
        whole: images of the batch over all processes that share it; 0 where nobody asked.
        counts: false of a stand-in, where a batch is too small for every process to have a part of it.
        corners: of the windows that are seen, where their places do not follow from the masks.
    """

    features: Features
    label: Tensor
    pixels: Tensor | None
    positions: tuple[int, ...]
    whole: int = 0
    counts: bool = True
    corners: tuple[Corner, ...] | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return replace(
            self,
            features=self.features.map(lambda maps: maps.to(device, non_blocking=True)),
            label=self.label.to(device, non_blocking=True),
            pixels=None if self.pixels is None else self.pixels.to(device, non_blocking=True),
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
        windows: what is seen of an image in place of all of it, resized.
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
        windows: RandomWindows | SlidingWindows | None = None,
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
        self.windows = windows
        self._drawn = [
            self._draw_views(position, name, augmentation, seed)
            for position, name in enumerate(self._list_view_names())
        ]
        self._preprocessing = repr((PREPARATION, model.size, model.backbone.mean, model.backbone.std))
        table = json.dumps({str(key): value for key, value in sorted(mapping.table.items())})
        turned = ":stored" if mapping.stored else ""
        self._table = f"{mapping.kind}:{mapping.threshold}:{table}{turned}"

    def __len__(self) -> int:
        return len(self._items.images)

    def _draw_views(
        self, position: int, name: str, augmentation: AugmentationSettings | None, seed: int
    ) -> Sequence[View | WindowView]:
        views = [draw_view(augmentation, case=name, index=index, seed=seed) for index in range(self.views)]
        if self.windows is None:
            return views
        size = partial(self._items.size, position)
        return self.windows.list_views(views, case=name, seed=seed, size=size)

    def subject(self, position: int) -> int:
        """Index of the case that an image or slice belongs to."""
        return self._items.subjects[position]

    def stack(self, position: int) -> int:
        """Number of the slices of one case in one plane that a slice belongs to; an image is alone."""
        return self._items.stacks[position]

    @property
    def slides(self) -> bool:
        """Whether the views of an image are windows that together show all of it."""
        return isinstance(self.windows, SlidingWindows)

    def list_samples(self) -> list[Sample]:
        """Every view of every image or slice, in order."""
        return [
            Sample(position, view) for position, views in enumerate(self._drawn) for view in range(len(views))
        ]

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

    def remember_of(self, what: str, position: int, compute: Callable[[], Tensor]) -> Tensor:
        """What is computed once, under a name, of an image as it is."""
        return self._remember(entry_key(what, self._feature_key(Sample(position, 0))), compute)

    def see(self, position: int, *, mirrored: bool = False) -> Tensor:
        """(1, C, h, w): the deepest map of an image as it is; or mirrored, which is computed now."""
        sample = Sample(position, 0)
        if not mirrored:
            return self._features([sample]).levels[-1]
        return self._cache.backbone(self._render(sample).flip(-1).unsqueeze(0)).levels[-1]

    def show(self, position: int) -> Tensor:
        """(3, S, S): the pixels of an image or slice as it is, as the backbone sees them."""
        sample = Sample(position, 0)
        return self._pixels(sample) if self._model.decoder.needs_image else self._render(sample)

    def spacing(self, position: int) -> float | None:
        """Mm from a slice to the next of its volume; None where nobody knows."""
        return self._items.spacing(position)

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
        self._store.claim(key for sample in self.list_samples() for key in self._want(sample).keys)
        for name in (self._native_key, self._facts_key):
            self._store.claim(map(name, range(len(self))))

    def build(self, progress: Progress, processes: Processes = ALONE) -> None:
        """Compute what is not remembered yet, image by image, one in each thread; a volume is read once.

        Several processes take a share each and read all of them afterwards; what one does not find, because
        it has a disk of its own, it computes itself.
        """
        if processes.count > 1:
            listed = processes.tell([job.position for job in self.list_jobs()])
            own = set(processes.share(listed))
            jobs = [job for job in self.list_jobs() if job.position in own]
            self._fill(jobs, progress)
            processes.wait()
        if jobs := self.list_jobs():
            self._fill(jobs, progress)
            self._tell_left_out(progress)
        self._store.open_ahead(key for sample in self.list_samples() for key in self._want(sample).keys)

    def _fill(self, jobs: Sequence[FeatureJob], progress: Progress) -> None:
        if not jobs:
            return
        label = f"features of {len(jobs)} {self._items.unit} {self._word_views(jobs)}"
        with one_image_per_thread() as workers:
            computed = map_ahead(self._work.compute, jobs, workers=workers, ahead=workers)
            with closing(computed):
                for entries in progress.track(computed, total=len(jobs), label=label):
                    for key, entry in entries.items():
                        self._store.put(key, entry)

    def _word_views(self, jobs: Sequence[FeatureJob]) -> str:
        if self.slides:
            return f"in {sum(len(job.views) for job in jobs)} windows"
        return f"× {self.views} {'windows' if self.windows else 'views'}"

    def _list_wanted(self, position: int, listed: set[str]) -> tuple[WantedView, ...]:
        """The views of one image that lack an entry; what is `listed` already is left to others."""
        found = []
        for view in range(len(self._drawn[position])):
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
            corners=self._list_corners(samples),
        )

    def _list_corners(self, samples: Sequence[Sample]) -> tuple[Corner, ...] | None:
        if not self.slides:
            return None
        views = [self._view(sample) for sample in samples]
        return tuple(
            view.window.corner
            for view in views
            if isinstance(view, WindowView) and isinstance(view.window, FixedWindow)
        )

    def native_label(self, position: int) -> Tensor:
        """Class ids (H, W), uint8, at the own size of the image or slice."""
        key = self._native_key(position)
        return self._remember(key, lambda: torch.from_numpy(label_of(self._read(position)).array))

    def _native_key(self, position: int) -> str:
        return entry_key("native label", self._labels[position], self._table)

    def _find_foreground(self, subject: int, labels: Sequence[str]) -> Tensor:
        key = entry_key("foreground", *labels, self._table)
        return self._remember(key, lambda: self._items.read_foreground(subject))

    def _tell_left_out(self, progress: Progress) -> None:
        left_out = sum(len(self._missing(position)) for position in range(len(self)))
        if left_out:
            progress.note(
                f"the feature cache is full at {self._store.limit / 1e9:g} GB: {left_out} of "
                f"{len(self.list_samples())} views are computed anew each time; "
                "raise --set cache.limit_gb"
            )

    def _missing(self, position: int) -> list[int]:
        views = range(len(self._drawn[position]))
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
            first.setdefault(stack, image)
            for stack, image in zip(self._items.stacks, self._images, strict=True)
        ]

    def _add_neighbours(self, features: Features, samples: Sequence[Sample]) -> Features:
        """The features with those of the slices around, of the same view."""
        parts = list_parts(self._items, [sample.position for sample in samples], self._model.settings)
        read = [Sample(part.position, samples[part.row].view) for part in parts]
        found = self._features(read).levels if read else [level[:0] for level in features.levels]
        around = (put_together(maps, parts, rows=len(samples), steps=2 * self._reach) for maps in found)
        return replace(features, around=tuple(around))

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

    def _view(self, sample: Sample) -> View | WindowView:
        return self._drawn[sample.position][sample.view]

    def _feature_key(self, sample: Sample) -> str:
        return self._cache.key(*self._name_pixels(sample))

    def _pixel_key(self, sample: Sample) -> str:
        return entry_key("pixels", *self._name_pixels(sample))

    def _name_pixels(self, sample: Sample) -> tuple[str, ...]:
        """Everything that the pixels of a view depend on: where windows follow the mask, that as well."""
        view = self._view(sample)
        parts = (self._images[sample.position], self._preprocessing, repr(view))
        if isinstance(view, View):
            return parts
        mask = (self._labels[sample.position], self._table) if view.needs_label else ()
        return (*parts, VERSION, *mask)

    def _label_key(self, sample: Sample) -> str:
        view, size = self._view(sample), repr(self._model.size)
        version = () if isinstance(view, View) else (VERSION,)
        return entry_key("label", self._labels[sample.position], self._table, size, repr(view), *version)

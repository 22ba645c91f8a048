"""The bank: every training image in a fixed number of views, its features computed once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dinoseg.backbones.cache import FeatureCache, entry_key
from dinoseg.backbones.features import Features
from dinoseg.config import AugmentationSettings
from dinoseg.data import CaseFiles, LabelMapping, content_digest, read_case
from dinoseg.data.augmentation import View, apply_to_image, apply_to_label, draw_view
from dinoseg.data.case import Case, LabelMap
from dinoseg.data.transforms import resize_image, resize_label, to_rgb
from dinoseg.errors import LabelError
from dinoseg.model import Segmenter
from dinoseg.progress import Progress


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        features: maps of B images.
        label: (B, S, S), uint8 class ids.
        pixels: (B, 3, S, S), normalised; only where the method looks at the image.
        positions: index of each image in its bank.
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
    """One view of one image of the bank."""

    position: int
    view: int


def read_digests(cases: Sequence[CaseFiles]) -> dict[Path, str]:
    """sha256 of every image and mask of some cases; each file is read once."""
    return {path: content_digest(path) for case in cases for path in (case.image, case.label) if path}


class ViewBank:
    """Views of labelled images with their features, remembered on disk.

    Args:
        cases: image and mask files.
        mapping: from mask values to class ids.
        model: gives preprocessing; its backbone is asked through `cache`.
        cache: remembers features; labels and pixels of the views lie in the same store.
        digests: of all files of `cases`, from `read_digests`.
        augmentation: how views are drawn; None for validation.
        views: per image; the first is the image as it is.
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
        seed: int,
    ) -> None:
        self.cases = tuple(cases)
        self.views = views
        self._mapping = mapping
        self._model = model
        self._cache = cache
        self._store = cache.store
        self._images = [digests[case.image] for case in self.cases]
        self._labels = [digests[_mask_of(case)] for case in self.cases]
        self._drawn = [
            [draw_view(augmentation, case=image, index=index, seed=seed) for index in range(views)]
            for image in self._images
        ]
        self._preprocessing = repr((model.size, model.backbone.mean, model.backbone.std))
        table = json.dumps({str(key): value for key, value in sorted(mapping.table.items())})
        self._table = f"{mapping.kind}:{mapping.threshold}:{table}"

    def __len__(self) -> int:
        return len(self.cases)

    def build(self, progress: Progress) -> None:
        """Compute what is not remembered yet, image by image."""
        missing = {position: views for position in range(len(self)) if (views := self._missing(position))}
        if not missing:
            return
        label = f"features of {len(missing)} images × {self.views} views"
        for position in progress.track(missing, total=len(missing), label=label):
            case = self._read(position)
            for view in missing[position]:
                self._features([Sample(position, view)], case)
                self._label(Sample(position, view), case)
                self._pixels(Sample(position, view), case)
        self._tell_left_out(progress)

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Features and labels of some views, from disk; computed anew where an entry is gone."""
        pixels = [self._pixels(sample) for sample in samples] if self._model.decoder.needs_image else None
        return Batch(
            features=self._features(samples),
            label=torch.stack([self._label(sample) for sample in samples]),
            pixels=torch.stack(pixels) if pixels else None,
            positions=tuple(sample.position for sample in samples),
        )

    def native_label(self, position: int) -> Tensor:
        """Class ids (H, W), uint8, at the image's own size."""
        key = entry_key("native label", self._labels[position], self._table)
        return self._remember(key, lambda: torch.from_numpy(_label_of(self._read(position)).array))

    def _tell_left_out(self, progress: Progress) -> None:
        left_out = sum(len(self._missing(position)) for position in range(len(self)))
        if left_out:
            progress.note(
                f"the feature cache is full at {self._store.limit / 1e9:g} GB: {left_out} of "
                f"{len(self) * self.views} views are computed anew each time; raise --set cache.limit_gb"
            )

    def _missing(self, position: int) -> list[int]:
        samples = [Sample(position, view) for view in range(self.views)]
        return [sample.view for sample in samples if not self._present(sample)]

    def _present(self, sample: Sample) -> bool:
        wanted = [self._feature_key(sample), self._label_key(sample)]
        if self._model.decoder.needs_image:
            wanted.append(self._pixel_key(sample))
        return all(key in self._store for key in wanted)

    def _features(self, samples: Sequence[Sample], case: Case | None = None) -> Features:
        keys = [self._feature_key(sample) for sample in samples]
        return self._cache.features(keys, lambda index: self._render(samples[index], case))

    def _label(self, sample: Sample, case: Case | None = None) -> Tensor:
        def compute() -> Tensor:
            label = resize_label(_label_of(case or self._read(sample.position)), self._model.size)
            return apply_to_label(self._view(sample), torch.from_numpy(label.array))

        return self._remember(self._label_key(sample), compute)

    def _pixels(self, sample: Sample, case: Case | None = None) -> Tensor:
        if not self._model.decoder.needs_image:
            return torch.empty(0)
        return self._remember(self._pixel_key(sample), lambda: self._render(sample, case))

    def _render(self, sample: Sample, case: Case | None) -> Tensor:
        """Normalised pixels (3, S, S) of one view."""
        image = (case or self._read(sample.position)).image
        pixels = apply_to_image(self._view(sample), resize_image(to_rgb(image), self._model.size))
        return self._model.normalise(pixels)

    def _remember(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        entry = self._store.get(key)
        if entry is None:
            entry = {"value": compute().contiguous()}
            self._store.put(key, entry)
        return entry["value"]

    def _read(self, position: int) -> Case:
        return read_case(self.cases[position], self._mapping)

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
    bank: ViewBank, *, count: int | None = None, min_samples: int = 0, seed: int, epoch: int
) -> list[Sample]:
    """The samples of one epoch, in order, each in a random view.

    Args:
        bank: what is drawn from.
        count: so many samples, by as many passes over the images as that takes; the last is cut off.
        min_samples: without `count`: every image once, or as many times as reach so many samples.
        seed: of the run.
        epoch: from 0; every epoch has its own order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    passes = max(1, -(-(min_samples if count is None else count) // len(bank)))
    order = torch.cat([torch.randperm(len(bank), generator=generator) for _ in range(passes)])[:count]
    views = torch.randint(bank.views, order.shape, generator=generator)
    return [Sample(int(position), int(view)) for position, view in zip(order, views, strict=True)]


class Batches:
    """Batches of a list of samples; what Lightning iterates over."""

    def __init__(self, bank: ViewBank, samples: Sequence[Sample], batch_size: int) -> None:
        self._bank = bank
        self._chunks = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        return (self._bank.batch(chunk) for chunk in self._chunks)


def _label_of(case: Case) -> LabelMap:
    if case.label is None:
        raise LabelError(f"{case.source} has no mask; training and evaluation need one for every image")
    return case.label


def _mask_of(case: CaseFiles) -> Path:
    if case.label is None:
        raise LabelError(f"{case.image} has no mask; training and evaluation need one for every image")
    return case.label

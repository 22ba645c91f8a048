"""What is computed of an image or slice, apart from what is missing: for threads and processes alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import compute_entry
from dinoseg.backbones.engines import computed_by, in_torch
from dinoseg.backbones.features import Features
from dinoseg.config import BackboneSettings
from dinoseg.data.case import Case, LabelMap
from dinoseg.data.tensors.augmentation import View, apply_to_image, apply_to_label
from dinoseg.data.tensors.transforms import normalise, resize_image, resize_label, to_rgb
from dinoseg.errors import LabelError, WeightsError
from dinoseg.model.segmenter import Segmenter
from dinoseg.training.features.items import Items
from dinoseg.training.features.windows import PlacedView, Places, WindowView

Entry = Mapping[str, Tensor]
Encode = Callable[[Tensor], Entry]


@dataclass(frozen=True)
class WantedView:
    """The entries that are wanted of a view, by their keys; None where an entry is there already.

    Attributes:
        view: how the image, or a window of it, is seen.
        features: key of what the backbone says about it.
        label: key of its mask.
        pixels: key of the image itself, for methods that look at it.
    """

    view: View | WindowView
    features: str | None
    label: str | None
    pixels: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of the wanted entries."""
        return tuple(key for key in (self.features, self.label, self.pixels) if key)

    def only(self, keep: Callable[[str], bool]) -> WantedView:
        """Without the entries whose keys are not to be kept."""
        kept = (key if key and keep(key) else None for key in (self.features, self.label, self.pixels))
        return WantedView(self.view, *kept)


@dataclass(frozen=True)
class FeatureJob:
    """What is wanted of one image or slice.

    Attributes:
        position: of the image or slice in the items.
        views: that lack an entry.
        facts: key of what the whole image or volume shows; None where that is there already.
    """

    position: int
    views: tuple[WantedView, ...]
    facts: str | None = None


@dataclass(frozen=True)
class BackboneSource:
    """A backbone as it is opened anew in another process.

    Attributes:
        settings: name, layers, precision, scales and engine.
        digest: of all that its features depend on, as are meant.
        device: where it computes.
    """

    settings: BackboneSettings
    digest: str
    device: str

    def open(self) -> Callable[[Tensor], Features]:
        """The backbone as a function of pixels on the CPU.

        Raises:
            WeightsError: its weights are gone, or are others by now.
        """
        made = create_backbone(
            self.settings.name,
            layers=self.settings.layers,
            precision=in_torch(self.settings),
            scales=self.settings.scales,
        )
        frozen = computed_by(self.settings, made)
        if frozen.digest != self.digest:
            raise WeightsError(
                f"{self.settings.name} has the digest {frozen.digest[:12]} here, meant was "
                f"{self.digest[:12]}; restore its weights"
            )
        if isinstance(frozen, nn.Module):
            frozen.to(self.device)
        return compute_on(self.device, frozen)


class FeatureWork:
    """Computes jobs, in any thread, and once pickled in any process: that one opens the backbone itself.

    Args:
        items: what positions mean.
        model: gives size and preprocessing.
        dtype: of the maps in the entries.
        encode: the backbone of this process, from pixels (3, S, S) to an entry.
    """

    def __init__(
        self,
        items: Items,
        model: Segmenter,
        dtype: Literal["float32", "bfloat16"],
        encode: Encode,
    ) -> None:
        backbone = model.backbone
        self.items = items
        self.size = model.size
        self._mean, self._std = backbone.mean, backbone.std
        self._dtype = dtype
        self._source = BackboneSource(model.settings.backbone, backbone.digest, str(model.device))
        self._encode: Encode | None = encode

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_encode": None}

    def compute(self, job: FeatureJob) -> dict[str, Entry]:
        """The wanted entries by their keys.

        Raises:
            DataError: the image or its mask cannot be read.
            WeightsError: in another process, where the backbone is not what it was.
        """
        case = self.items.read(job.position)
        entries: dict[str, Entry] = {}
        if job.facts:
            entries[job.facts] = self.items.describe(job.position, case).to_entry()
        places = Places(case)
        for wanted in job.views:
            view = places.find(wanted.view)
            if wanted.features or wanted.pixels:
                pixels = self._render(view, case)
            if wanted.features:
                entries[wanted.features] = self._open()(pixels)
            if wanted.pixels:
                entries[wanted.pixels] = to_entry(pixels)
            if wanted.label:
                entries[wanted.label] = to_entry(self._draw_label(view, case))
        return entries

    def render(self, view: View | WindowView, case: Case) -> Tensor:
        """Normalised pixels (3, S, S) of one view."""
        return self._render(Places(case).find(view), case)

    def draw_label(self, view: View | WindowView, case: Case) -> Tensor:
        """Class ids (S, S) of one view, uint8."""
        return self._draw_label(Places(case).find(view), case)

    def _render(self, view: View | PlacedView, case: Case) -> Tensor:
        if isinstance(view, PlacedView):
            return view.render(case.image, mean=self._mean, std=self._std)
        pixels = to_rgb(resize_image(case.image, self.size))
        # Contiguous and its own: grey is one channel shown three times, and a view may be the image itself.
        seen = apply_to_image(view, torch.from_numpy(np.ascontiguousarray(pixels)))
        return torch.from_numpy(normalise(seen.numpy(), self._mean, self._std))

    def _draw_label(self, view: View | PlacedView, case: Case) -> Tensor:
        if isinstance(view, PlacedView):
            return view.draw_label(label_of(case))
        label = resize_label(label_of(case), self.size)
        return apply_to_label(view, torch.from_numpy(label.array))

    def _open(self) -> Encode:
        if self._encode is None:
            backbone = self._source.open()
            self._encode = lambda pixels: compute_entry(backbone, pixels, self._dtype)
        return self._encode


def compute_on(
    device: str | torch.device, backbone: Callable[[Tensor], Features]
) -> Callable[[Tensor], Features]:
    """A backbone as a function of pixels on the CPU, wherever it computes."""

    def compute(pixels: Tensor) -> Features:
        return backbone(pixels.to(device)).map(Tensor.cpu)

    return compute


def label_of(case: Case) -> LabelMap:
    """The mask of a case.

    Raises:
        LabelError: it has none.
    """
    if case.label is None:
        raise LabelError(f"{case.source} has no mask; training and evaluation need one for every image")
    return case.label


def to_entry(tensor: Tensor) -> dict[str, Tensor]:
    """One tensor as the store keeps it."""
    return {"value": tensor.contiguous()}

"""Windows in the bank: which ones each image or slice is seen through, and what a view shows of one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dinoseg.data.case import Case, Image, LabelMap
from dinoseg.data.tensors.augmentation import IDENTITY, View, apply_to_image, apply_to_label
from dinoseg.data.tensors.transforms import normalise, to_rgb
from dinoseg.data.tensors.windows import (
    ClassPixels,
    Cut,
    DrawnWindow,
    FixedWindow,
    Size,
    draw_windows,
    list_corners,
)
from dinoseg.errors import LabelError

VERSION = "windows 1"  # of what a view of a window shows: part of the key of all that is remembered of it


@dataclass(frozen=True)
class WindowView:
    """A view of one window of an image.

    Attributes:
        view: how the window is turned and recoloured.
        window: which.
    """

    view: View
    window: FixedWindow | DrawnWindow

    @property
    def needs_label(self) -> bool:
        """Whether the mask decides where the window lies."""
        return isinstance(self.window, DrawnWindow) and self.window.foreground


@dataclass(frozen=True)
class PlacedView:
    """A view of a window whose place is known: what is seen.

    Attributes:
        view: how the window is turned and recoloured; what comes in at its edges is the image around it.
        window: where it lies.
    """

    view: View
    window: FixedWindow

    def render(self, image: Image, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Normalised pixels (3, side, side); padding is 0, the mean colour, as in prediction."""
        cut = Cut.of(image.size, self.window, around=self._around)
        pixels = cut.take(to_rgb(image))
        padded = not cut.inside.all()
        if padded:
            pixels[:, ~cut.inside] = np.array(mean, np.float32)[:, None]
        seen = self._take_middle(apply_to_image(self.view, torch.from_numpy(pixels)))
        shown = torch.from_numpy(normalise(seen.numpy(), mean, std))
        if padded:
            inside = apply_to_label(self.view, torch.from_numpy(cut.inside.astype(np.uint8)))
            shown[:, self._take_middle(inside) == 0] = 0
        return shown

    def draw_label(self, label: LabelMap) -> Tensor:
        """Class ids (side, side), uint8; padding is background."""
        cut = Cut.of(label.size, self.window, around=self._around)
        ids = cut.take(label.array)
        ids[~cut.inside] = 0
        return self._take_middle(apply_to_label(self.view, torch.from_numpy(ids)))

    @cached_property
    def _around(self) -> int:
        """Pixels on every side of the window that a turned or smaller view of it shows."""
        angle, side = math.radians(self.view.rotation), self.window.side
        if self.view.rotation == 0.0 and self.view.zoom == 1.0:
            return 0
        extent = (abs(math.cos(angle)) + abs(math.sin(angle))) * side / self.view.zoom
        return max(0, math.ceil((extent - side) / 2) + 1)  # and the neighbours of the last ones

    def _take_middle(self, tensor: Tensor) -> Tensor:
        around, side = self._around, self.window.side
        return tensor[..., around : around + side, around : around + side].contiguous()


class Places:
    """Views with the windows of one case in their places; its mask is searched once.

    Args:
        case: with its mask.
    """

    def __init__(self, case: Case) -> None:
        self._case = case

    def find(self, view: View | WindowView) -> View | PlacedView:
        """A view of the whole image as it is, one of a window in its place.

        Raises:
            LabelError: the window is drawn, and there is no mask.
        """
        if isinstance(view, View):
            return view
        if isinstance(view.window, FixedWindow):
            return PlacedView(view.view, view.window)
        return PlacedView(view.view, view.window.place(self._case.image.size, self._spots))

    @cached_property
    def _spots(self) -> ClassPixels:
        if self._case.label is None:
            raise LabelError(f"{self._case.source} has no mask; training needs one for every image")
        return ClassPixels(self._case.label)


@dataclass(frozen=True)
class RandomWindows:
    """Windows to learn from: one of its own for each view of an image.

    Attributes:
        side: in pixels.
        foreground: share that is centred on a class.
    """

    side: int
    foreground: float

    def list_views(
        self, views: Sequence[View], *, case: str, seed: int, size: Callable[[], Size]
    ) -> list[WindowView]:
        """The views of the windows of an image.

        Args:
            views: how each window is seen.
            case: any text that names the image.
            seed: of the run.
            size: of the image, asked for where it matters.
        """
        windows = draw_windows(
            side=self.side, foreground=self.foreground, case=case, seed=seed, count=len(views)
        )
        return [WindowView(view, window) for view, window in zip(views, windows, strict=True)]


@dataclass(frozen=True)
class SlidingWindows:
    """All windows of an image as they are, as prediction slides them over it.

    Attributes:
        side: in pixels.
        overlap: share of the side that neighbours have in common.
    """

    side: int
    overlap: float

    def list_views(
        self, views: Sequence[View], *, case: str, seed: int, size: Callable[[], Size]
    ) -> list[WindowView]:
        """Every window of an image, in the order of prediction; see `RandomWindows`."""
        corners = list_corners(size(), side=self.side, overlap=self.overlap)
        return [WindowView(IDENTITY, FixedWindow(self.side, corner)) for corner in corners]

"""`Inference`: how a model is applied; said once for every verb that applies one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from dinoseg.config.options import choose_options
from dinoseg.config.planes import Plane
from dinoseg.errors import UsageError

_OF_LOAD: Mapping[str, str] = MappingProxyType(
    {
        name: f"belongs to load(): predict(load(run, {name}={value}), ...)"
        for name, value in {
            "backbone": "PATH",
            "accept_license": "True",
            "device": '"cuda"',
            "precision": '"bfloat16"',
        }.items()
    }
)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """How a model is applied; checked when made.

    Attributes:
        window: side in pixels of a square window that slides over the image at native resolution, with
            Gaussian blending; smaller images are padded. None for the window that the model was trained
            on (`train.window`); one that was trained on whole images sees them resized to its size.
        overlap: share of a window's side that neighbouring windows have in common, 0 <= overlap < 1.
        flips: average class probabilities over the image and its three mirror images, and over all eight
            symmetries of the square where the model does so by itself: 4 or 8 times the time. False for the
            image as it is alone; None for what the model does by itself (`model.symmetries`).
        batch_size: images, slices or windows of one image that the model sees at once.
        planes: of volumes: the directions to cut them in, "axial", "coronal", "sagittal"; the
            probabilities of several are averaged. None for those that the model was trained in.
        series: UID of the DICOM series to take where a folder or zip holds several.
        postprocess: clean masks as was chosen on validation for the model, if it was.
        probabilities: keep class probabilities, 4 bytes per class and pixel; not of volumes.
        uncertainty: give the entropy of the calibrated class probabilities of every pixel, 0 to 1: of the
            averaged ones where symmetries, planes or the members of an ensemble are averaged.

    Raises:
        UsageError: a value is not accepted.
    """

    window: int | None = None
    overlap: float = 0.25
    flips: bool | None = None
    batch_size: int = 8
    planes: tuple[Plane, ...] | None = None
    series: str | None = None
    postprocess: bool = True
    probabilities: bool = False
    uncertainty: bool = False

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise UsageError(f"window is a side in pixels, at least 1, or None; given {self.window}")
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap is a share from 0 to below 1, given {self.overlap}; usual is 0.25")
        if self.batch_size < 1:
            raise UsageError(f"batch_size is at least 1, given {self.batch_size}")
        if self.planes is not None:
            object.__setattr__(self, "planes", _check_planes(tuple(self.planes)))

    @classmethod
    def choose(cls, how: Inference | None, options: Mapping[str, Any]) -> Inference:
        """What a call was given: `how`, with single options replaced by name.

        Raises:
            UsageError: an option is unknown, belongs to `load`, or has a value that is not accepted.
        """
        return choose_options(cls, how, options, elsewhere=_OF_LOAD)


def _check_planes(planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
    if not planes or len(set(planes)) < len(planes):
        raise UsageError(f"planes are one to three different ones, given {list(planes)}")
    for plane in planes:
        if plane not in get_args(Plane):
            raise UsageError(f"plane {plane!r} is unknown; accepted are {', '.join(get_args(Plane))}")
    return planes

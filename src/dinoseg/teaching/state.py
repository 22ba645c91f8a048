"""What a project is at a moment, for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dinoseg.outputs import to_plain
from dinoseg.teaching.estimate import advise
from dinoseg.teaching.features import FeatureProgress
from dinoseg.teaching.records import ClassName, Estimated

ImageKind = Literal["new", "stroked", "accepted"]


@dataclass(frozen=True)
class ImageState:
    """One image or volume.

    Attributes:
        id: see `Subject`.
        name: where it lies in the folder.
        width: of a slice in pixels.
        height: of a slice in pixels.
        slices: 1 for an image.
        state: "accepted" where at least one slice has a label, "stroked" where something is painted.
        strokes: that are not undone.
        accepted: slices with a label.
        features: "yes" where those of all slices are there.
        uncertainty: 0 to 1, of the least sure slice; None where it is not known.
        round: of its newest prediction, 0 where there is none.
        problem: why it cannot be used, or None.
    """

    id: str
    name: str
    width: int
    height: int
    slices: int
    state: ImageKind
    strokes: int
    accepted: int
    features: Literal["no", "yes"]
    uncertainty: float | None
    round: int
    problem: str | None


@dataclass(frozen=True)
class EstimateState:
    """How good the model probably is.

    Attributes:
        dice: mean over slices that were left out in turn, counted in painted pixels.
        low: end of the interval.
        high: end of the interval.
        images: painted slices.
        advice: whether more labels help.
    """

    dice: float
    low: float
    high: float
    images: int
    advice: str


@dataclass(frozen=True)
class ProjectState:
    """The project.

    Attributes:
        name: of the folder.
        folder: its path.
        classes: that can be painted, without the background.
        images: all, or those that changed.
        features: how far they are.
        round: of the newest model.
        estimate: None while too little is painted.
        seconds: that the last round took.
        next: id of the image to label next.
        next_slice: of it, where it is a volume.
        backbone: whose features are used.
    """

    name: str
    folder: str
    classes: tuple[ClassName, ...]
    images: tuple[ImageState, ...]
    features: FeatureProgress
    round: int
    estimate: EstimateState | None
    seconds: float | None
    next: str | None
    next_slice: int | None
    backbone: str

    def to_json(self) -> dict[str, Any]:
        """As plain lists, dicts and numbers."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def describe_estimate(history: Sequence[tuple[int, Estimated]]) -> EstimateState | None:
    """The newest estimate and what follows from how it moved; None where there is none."""
    if not history:
        return None
    now = history[-1][1]
    return EstimateState(now.dice, now.low, now.high, now.images, advise(history))

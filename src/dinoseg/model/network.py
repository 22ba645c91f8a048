"""`Network`: what applying a model asks of it. Arrays in, arrays out; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dinoseg.backbones.neighbours import find_margin, find_stride
from dinoseg.config import Decision, Inference, PostprocessingSettings
from dinoseg.errors import UsageError
from dinoseg.model.confidence import Tally
from dinoseg.model.settings import ModelSettings

Array = NDArray[np.float32]
Size = tuple[int, int]
_MIRRORED = 4  # symmetries: the image and its three mirror images


class Network(Protocol):
    """A trained model, whatever computes it: PyTorch, another runtime, several models at once.

    Attributes:
        postprocessing: what predict and evaluate do to masks; None for nothing.
    """

    postprocessing: PostprocessingSettings | None

    @property
    def settings(self) -> ModelSettings:
        """Method, classes, and how images are prepared."""

    @property
    def mean(self) -> Sequence[float]:
        """What is subtracted of R, G and B in 0..1."""

    @property
    def std(self) -> Sequence[float]:
        """What R, G and B are then divided by."""

    @property
    def run(self) -> Path | None:
        """The run folder it is from, which knows what it was trained on; None where there is none."""

    def describe(self) -> Mapping[str, Any]:
        """What identifies the model, for JSON.

        Returns:
            method, backbone, backbone_digest, precision, decoder_digest (of the trained weights) and
            size; more where more changes a mask.
        """

    def logits(self, pixels: Array, *, spacing: float | None = None) -> Array:
        """Logits of prepared images; called from one thread at a time.

        Args:
            pixels: (B, 3, H, W), normalised with `mean` and `std`; H and W are those of the settings,
                or a window's. Slices that follow each other where the settings have a `reach`.
            spacing: mm from one of these slices to the next; given to no network without a `reach`.

        Returns:
            (B, K, H, W) or coarser, unbounded; K = 1 means sigmoid, K > 1 softmax over all classes.
        """


@dataclass(frozen=True)
class Answer:
    """What a network says about one image.

    Attributes:
        mask: (H, W), uint8 class ids.
        probabilities: (classes, H, W), float32, background first; None unless asked for.
        tally: sums of the probabilities, on any grid; None where the network does not tell.
        embedding: (C,), mean of the backbone's last feature map; None where there is none.
    """

    mask: NDArray[np.uint8]
    probabilities: Array | None
    tally: Tally | None = None
    embedding: Array | None = None


@runtime_checkable
class Answering(Protocol):
    """Computes masks itself: for networks whose logits are quicker to resize where they are."""

    def answer(
        self,
        pixels: Array,
        sizes: Sequence[Size],
        *,
        symmetries: int = 1,
        probabilities: bool = False,
        spacing: float | None = None,
    ) -> list[Answer]:
        """Masks of prepared images.

        Args:
            pixels: (B, 3, H, W), normalised.
            sizes: (H, W) of each answer.
            symmetries: how many of `symmetries.SYMMETRIES` the probabilities are averaged over.
            probabilities: return them.
            spacing: of slices: mm from one to the next; None where it is not known.

        Raises:
            RunError: the logits are not finite.
        """


def reach_of(settings: ModelSettings) -> int:
    """How many steps on either side a model of volumes reads beside each slice; 0 for images."""
    reach: int = getattr(settings.decoder, "reach", 0) if settings.preprocessing.for_volumes else 0
    return reach


def stride_of(settings: ModelSettings, spacing: float | None) -> float:
    """How many slices one step of `reach` is in a volume whose slices are `spacing` mm apart."""
    return find_stride(settings.preprocessing.slice_spacing, spacing)


def find_reach(model: Network, spacing: float | None = None) -> int:
    """How many slices on either side a model reads; of several models at once the most of any.

    Args:
        model: with its `members` where it is an ensemble.
        spacing: mm between the slices; None where it is not known.
    """
    members: Sequence[Network] = getattr(model, "members", (model,))
    return max(_count_slices(member.settings, spacing) for member in members)


def _count_slices(settings: ModelSettings, spacing: float | None) -> int:
    return find_margin(reach_of(settings), stride_of(settings, spacing))


def window_of(settings: ModelSettings, how: Inference) -> int | None:
    """Side in px of the windows that a model looks through: as asked for, else as trained; None for none."""
    return settings.preprocessing.window if how.window is None else how.window


def symmetries_of(settings: ModelSettings, how: Inference) -> int:
    """How many symmetries of the square a model looks under: as asked for, else its own number."""
    if how.flips is None:
        return settings.symmetries
    return max(_MIRRORED, settings.symmetries) if how.flips else 1


def decision_of(settings: ModelSettings) -> Decision:
    """How class probabilities become a mask; a slice alone cannot tell what is best for its volume."""
    return "probable" if settings.preprocessing.for_volumes else settings.decision


def input_size(settings: ModelSettings) -> Size:
    """Height and width in pixels that images are resized to, or of the windows that are trained on."""
    return (settings.preprocessing.size, settings.preprocessing.size)


def refuse_other_size(model: Network, how: Inference) -> None:
    """Raise where a network has graphs of one size, its `side` in px, and would be shown another.

    Raises:
        UsageError: it would.
    """
    side = getattr(model, "side", None)  # most networks take any size
    wanted = window_of(model.settings, how) or input_size(model.settings)[0]
    if isinstance(side, int) and side != wanted:
        raise UsageError(
            f"the bundle takes images or windows of {side} px, and {wanted} px are asked for; choose "
            f"--window {side}, or export the run with --size {wanted}"
        )

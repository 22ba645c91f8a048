"""From prepared pixels to class probabilities and masks at native size: whole images, windows, flips."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from dinoseg.data.case import Case
from dinoseg.data.volumes.slices import Plane, plane_axis
from dinoseg.errors import DinosegError, RunError, UsageError
from dinoseg.inference.masks.postprocessing import clean_mask
from dinoseg.inference.results.prediction import Prediction
from dinoseg.model.segmenter import Segmenter
from dinoseg.streams import batched

_FLIPS: Sequence[tuple[int, ...]] = ((-1,), (-2,), (-2, -1))  # horizontal, vertical, both


@dataclass(frozen=True)
class Options:
    """How a model is applied; checked when made.

    Attributes:
        window: None resizes the whole image to the model's size; an integer slides a square
            window of that side over the image at native resolution, in pixels.
        overlap: share of a window's side that neighbouring windows have in common, 0 <= overlap < 1.
        flips: average over the image, its two mirror images and the turned one.
        batch_size: images (or windows of one image) that the model sees at once.
        probabilities: keep the class probabilities.
        planes: of volumes: the directions to cut them in, whose probabilities are averaged; None
            for the one that the model was trained in.
        postprocess: clean masks as the model's settings say.
    """

    window: int | None = None
    overlap: float = 0.25
    flips: bool = False
    batch_size: int = 8
    probabilities: bool = False
    planes: tuple[Plane, ...] | None = None
    postprocess: bool = True

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise UsageError(f"window is a side in pixels, at least 1, or None; given {self.window}")
        if not 0 <= self.overlap < 1:
            raise UsageError(f"overlap is a share from 0 to below 1, given {self.overlap}; usual is 0.25")
        if self.batch_size < 1:
            raise UsageError(f"batch_size is at least 1, given {self.batch_size}")
        if self.planes is not None:
            _check_planes(self.planes)


@dataclass(frozen=True)
class Prepared:
    """A case and what the model sees of it: `pixels` (3, h, w), normalised, on the CPU."""

    case: Case
    pixels: Tensor


@dataclass(frozen=True)
class Segmented:
    """A case and its prediction."""

    case: Case
    prediction: Prediction


def prepare(model: Segmenter, case: Case, options: Options) -> Prepared:
    """Resize (or keep, for windows) and normalise the image of a case; safe in any thread.

    Raises:
        UsageError: the image is not (1 or 3, H, W), is empty, or holds NaN or infinity.
    """
    _check_image(case)
    with torch.inference_mode():
        size = None if options.window is None else case.image.size
        return Prepared(case, model.prepare(case.image, size))


def segment(
    model: Segmenter, prepared: Iterable[Prepared], options: Options
) -> Generator[Segmented, None, None]:
    """Yield predictions in order, a batch at a time; leaves the model in eval mode.

    Raises:
        RunError: the model's output is not finite.
        DinosegError: the accelerator's memory is too small for the batch.
    """
    for batch in batched(prepared, options.batch_size):
        yield from _segment_batch(model, batch, options)


def slide(
    predictor: Callable[[Tensor], Tensor], pixels: Tensor, *, window: int, overlap: float, batch_size: int
) -> Tensor:
    """Apply `predictor` to overlapping square windows and blend with Gaussian weights.

    Args:
        predictor: (B, 3, window, window) to a new tensor (B, C, window, window).
        pixels: (1, 3, H, W); padded evenly with zeros (the mean colour) where smaller than the window.
        window: side in pixels.
        overlap: 0 <= overlap < 1.
        batch_size: windows at once.

    Returns:
        (1, C, H, W); the Gaussian's deviation is an eighth of the side.
    """
    from monai.inferers.utils import sliding_window_inference  # seconds to import, only windows need it

    blended = sliding_window_inference(
        pixels, (window, window), batch_size, predictor, overlap=overlap, mode="gaussian"
    )
    return cast(Tensor, blended)


# Not a generator: inference mode would leak into whoever consumes one between two yields.
@torch.inference_mode()
def _segment_batch(model: Segmenter, batch: Sequence[Prepared], options: Options) -> list[Segmented]:
    model.eval()
    try:
        if options.window is None:
            return _segment_whole(model, batch, options)
        return [_segment_by_windows(model, item, options.window, options) for item in batch]
    except torch.OutOfMemoryError as error:
        raise DinosegError(
            f"the memory of {model.device} is too small for batch size {options.batch_size}; "
            "choose a smaller one with --batch-size, or a smaller --window"
        ) from error


def _segment_whole(model: Segmenter, batch: Sequence[Prepared], options: Options) -> list[Segmented]:
    pixels = torch.stack([item.pixels for item in batch]).to(model.device)
    votes = _vote(model, pixels, flips=options.flips)
    return [
        _finish_whole(model, item.case, [vote[index : index + 1] for vote in votes], options)
        for index, item in enumerate(batch)
    ]


def _finish_whole(model: Segmenter, case: Case, votes: Sequence[Tensor], options: Options) -> Segmented:
    size = case.image.size
    if len(votes) > 1:
        return _classify(model, case, _average(model, votes, size), options)
    # Straight from the logits, whether or not probabilities are kept: one answer either way.
    scores = model.probabilities(votes[0], size) if options.probabilities else None
    return _finish(model, case, model.mask(votes[0], size), scores, options)


def _segment_by_windows(model: Segmenter, item: Prepared, window: int, options: Options) -> Segmented:
    def score(pixels: Tensor) -> Tensor:
        return _average(model, _vote(model, pixels, flips=options.flips), (window, window))

    pixels = item.pixels.unsqueeze(0).to(model.device)  # (3, H, W) -> (1, 3, H, W)
    scores = slide(score, pixels, window=window, overlap=options.overlap, batch_size=options.batch_size)
    return _classify(model, item.case, scores, options)


def _vote(model: Segmenter, pixels: Tensor, *, flips: bool) -> list[Tensor]:
    """Logits (B, K, H, W) of the pixels as they are, then of each flip, turned back."""
    votes: list[Tensor] = [model(pixels)]
    for axes in _FLIPS if flips else ():
        votes.append(model(pixels.flip(axes)).flip(axes))
    if not all(bool(vote.isfinite().all()) for vote in votes):
        raise RunError("the model's output holds NaN or infinity; its weights are damaged, train it again")
    return votes


def _average(model: Segmenter, votes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    total = model.probabilities(votes[0], size)
    for vote in votes[1:]:
        total = total + model.probabilities(vote, size)
    return total / len(votes)


def _classify(model: Segmenter, case: Case, scores: Tensor, options: Options) -> Segmented:
    mask = scores.max(dim=1).indices.to(torch.uint8)
    return _finish(model, case, mask, scores if options.probabilities else None, options)


def _finish(model: Segmenter, case: Case, mask: Tensor, scores: Tensor | None, options: Options) -> Segmented:
    """A prediction from a mask (1, H, W) and, where they are kept, probabilities (1, classes, H, W)."""
    ids = mask[0].cpu().numpy()
    if options.postprocess and model.postprocessing is not None:
        cell = None if case.spacing is None else math.prod(case.spacing)
        clean_mask(ids, model.postprocessing, cell=cell, name=case.id)
    prediction = Prediction(
        id=case.id,
        mask=ids,
        probabilities=None if scores is None else scores[0].cpu().numpy(),
        classes=dict(model.classes),
        source=case.source,
        spacing=case.spacing,
        affine=case.affine,
    )
    return Segmented(case, prediction)


def _check_planes(planes: Sequence[Plane]) -> None:
    if not planes or len(set(planes)) < len(planes):
        raise UsageError(f"planes are one to three different ones, given {list(planes)}")
    for plane in planes:
        plane_axis(plane)


def _check_image(case: Case) -> None:
    array = case.image.array
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.size == 0:
        raise UsageError(
            f"{case.id} has the shape {array.shape}; accepted are images (C, H, W) with 1 or 3 channels"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"{case.id} holds NaN or infinity; replace them, for example with numpy.nan_to_num")

"""From a case to its prediction: prepared in any thread, then batch by batch through the network."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dinoseg.config import Inference
from dinoseg.data.case import Case
from dinoseg.data.tensors.transforms import prepare_pixels
from dinoseg.errors import UsageError
from dinoseg.inference.logits import answering, average, list_groups
from dinoseg.inference.masks.postprocessing import clean_mask
from dinoseg.inference.results.prediction import Prediction
from dinoseg.inference.windows import slide
from dinoseg.model.confidence import Tally, calibration_of, estimate, find_uncertainty
from dinoseg.model.decision import decide
from dinoseg.model.network import (
    Answer,
    Answering,
    Array,
    Network,
    decision_of,
    input_size,
    symmetries_of,
    window_of,
)
from dinoseg.progress import Progress
from dinoseg.streams import batched


@dataclass(frozen=True)
class Prepared:
    """A case and what the network sees of it.

    Attributes:
        case: with its image, of which only the size is needed from here on.
        pixels: (3, h, w), normalised; of an ensemble one array for each of its groups.
    """

    case: Case
    pixels: tuple[Array, ...]


@dataclass(frozen=True)
class Segmented:
    """A case and its prediction."""

    case: Case
    prediction: Prediction


def prepare(model: Network, case: Case, how: Inference) -> Prepared:
    """Resize (or keep, for windows) and normalise the image of a case; safe in any thread.

    Raises:
        UsageError: the image is not (1 or 3, H, W), is empty, or holds NaN or infinity.
    """
    _check_image(case)
    pixels = []
    for network in list_groups(model):
        whole = window_of(network.settings, how) is None
        size = input_size(network.settings) if whole else case.image.size
        pixels.append(prepare_pixels(case.image, size, mean=network.mean, std=network.std))
    return Prepared(case, tuple(pixels))


def segment(
    model: Network, prepared: Iterable[Prepared], how: Inference, *, progress: Progress | None = None
) -> Generator[Segmented, None, None]:
    """Yield predictions in order, a batch at a time; leaves a torch model in eval mode.

    Args:
        model: the network.
        prepared: drawn a batch at a time.
        how: the network is applied.
        progress: counts the windows of each image, where there are any.

    Raises:
        RunError: the model's output is not finite.
        DinosegError: the accelerator's memory is too small for the batch.
    """
    window = window_of(model.settings, how)
    for batch in batched(prepared, how.batch_size):
        if window:
            answers: Iterable[Answer] = (
                _answer_by_windows(model, item, window, how, progress) for item in batch
            )
        else:
            answers = answer_whole(model, batch, how)
        for item, answer in zip(batch, answers, strict=True):
            yield Segmented(item.case, _finish(model, item.case, answer, how))


def segment_slabs(
    model: Network, prepared: Iterable[Prepared], how: Inference, *, reach: int, spacing: float | None = None
) -> Generator[Segmented, None, None]:
    """As `segment`, of the slices of one volume in order, by a model that reads those around each.

    A slab slides over the volume: a batch of slices and those around it, so that memory does not grow with
    their number.

    Args:
        model: reads whole slices.
        prepared: slices, in order.
        how: how the model is applied.
        reach: slices on either side, as `find_reach` counts them.
        spacing: mm from one slice to the next; None where it is not known.

    Raises:
        UsageError: windows are asked for, which have no neighbours.
    """
    if how.window is not None:
        raise UsageError(
            f"the model reads {reach} slices on either side of each, whole; leave the window out, or train "
            "with model.decoder.reach=0"
        )
    for slab, first, last in _slide_slab(prepared, how.batch_size, reach):
        answers = answer_whole(model, slab, how, spacing=spacing)[first:last]
        for item, answer in zip(slab[first:last], answers, strict=True):
            yield Segmented(item.case, _finish(model, item.case, answer, how))


def _slide_slab(
    prepared: Iterable[Prepared], size: int, reach: int
) -> Iterator[tuple[list[Prepared], int, int]]:
    """Slabs of consecutive slices; from the first to before the last place are those that are due."""
    slab: list[Prepared] = []
    first = 0
    for item in prepared:
        slab.append(item)
        if len(slab) == first + size + reach:
            last = first + size
            yield slab, first, last
            slab = slab[max(0, last - reach) :]
            first = min(reach, last)
    if slab[first:]:
        yield slab, first, len(slab)


def answer_whole(
    model: Network,
    batch: Sequence[Prepared],
    how: Inference,
    *,
    size: tuple[int, int] | None = None,
    spacing: float | None = None,
) -> list[Answer]:
    """What the network says about whole images, at their own sizes or at one `size`."""
    sizes = [size or item.case.image.size for item in batch]
    networks = list_groups(model)
    several = len(networks) > 1
    answers = [
        answering(network).answer(
            np.stack([item.pixels[index] for item in batch]),
            sizes,
            symmetries=symmetries_of(network.settings, how),
            probabilities=needs_probabilities(how) or several,
            spacing=spacing,
        )
        for index, network in enumerate(networks)
    ]
    if not several:
        return answers[0]
    return [
        average(model, found, probabilities=needs_probabilities(how)) for found in zip(*answers, strict=True)
    ]


def _answer_by_windows(
    model: Network, item: Prepared, window: int, how: Inference, progress: Progress | None
) -> Answer:
    found = []
    for network, pixels in zip(list_groups(model), item.pixels, strict=True):
        tallies: list[Tally] = []
        symmetries = symmetries_of(network.settings, how)
        score = partial(_score_windows, answering(network), tallies, symmetries=symmetries)
        scores = slide(
            score,
            pixels,
            window=window,
            overlap=how.overlap,
            batch_size=how.batch_size,
            progress=progress,
        )
        mask = decide(scores, decision_of(model.settings))
        found.append(Answer(mask, scores, sum(tallies[1:], tallies[0]) if tallies else None))
    return average(model, found, probabilities=needs_probabilities(how))


def _score_windows(
    network: Answering, tallies: list[Tally], windows: Array, *, symmetries: int
) -> list[Array]:
    """Probabilities of some windows; their tallies are added to the list."""
    sizes = [(windows.shape[-2], windows.shape[-1])] * len(windows)
    found = network.answer(windows, sizes, symmetries=symmetries, probabilities=True)
    tallies += [answer.tally for answer in found if answer.tally is not None]
    return [answer.probabilities for answer in found if answer.probabilities is not None]


def needs_probabilities(how: Inference) -> bool:
    """Whether the class probabilities of every pixel are computed, kept or not."""
    return how.probabilities or how.uncertainty


def _finish(model: Network, case: Case, answer: Answer, how: Inference) -> Prediction:
    calibration, scores = calibration_of(model), answer.probabilities
    tally, embedding = answer.tally, answer.embedding
    if how.postprocess and model.postprocessing is not None:
        cell = None if case.spacing is None else math.prod(case.spacing)
        clean_mask(answer.mask, model.postprocessing, cell=cell, name=case.id)
    return Prediction(
        id=case.id,
        mask=answer.mask,
        probabilities=scores if how.probabilities else None,
        classes=dict(model.settings.classes),
        source=case.source,
        spacing=case.spacing,
        affine=case.affine,
        confidence=None if tally is None else estimate(calibration, tally, embedding),
        uncertainty=find_uncertainty(calibration, scores) if how.uncertainty and scores is not None else None,
        tally=tally,
        embedding=embedding,
    )


def _check_image(case: Case) -> None:
    array = case.image.array
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.size == 0:
        raise UsageError(
            f"{case.id} has the shape {array.shape}; accepted are images (C, H, W) with 1 or 3 channels"
        )
    if not np.isfinite(array).all():
        raise UsageError(f"{case.id} holds NaN or infinity; replace them, for example with numpy.nan_to_num")

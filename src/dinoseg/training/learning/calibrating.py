"""What a model's probabilities are worth, found on the validation cases.

Their features are remembered as they are; where prediction averages over symmetries, those of the other
ones are computed here, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from dinoseg.config.confidence import FEWEST, ConfidenceSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.evaluation.calibration import PIXELS, Observation, Pixels, fit_confidence, tell_calibration
from dinoseg.model.confidence import Tally
from dinoseg.model.network import Answer, find_reach
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Progress
from dinoseg.training.features.bank import Sample, ViewBank

_MOST_TRAINING = 1000  # images or slices whose features are averaged


@torch.inference_mode()
def calibrate(
    model: Segmenter, banks: tuple[ViewBank, ViewBank | None], batch_size: int, progress: Progress
) -> ConfidenceSettings | None:
    """Fit the confidence of a trained model on its validation cases; too few are told.

    Args:
        model: with the decoder that is kept.
        banks: of training and validation.
        batch_size: images or slices at once.
        progress: told where nothing can be fitted; counts images where features are computed.
    """
    train_bank, val_bank = banks
    if val_bank is None:
        return None
    if val_bank.slides:
        progress.note("confidence is not calibrated: of windows that is done for folds only (--folds)")
        return None
    model.eval()
    subjects = len({val_bank.subject(position) for position in range(len(val_bank))})
    found = [] if subjects < FEWEST else list(_observe(model, val_bank, batch_size, progress))
    calibration = fit_confidence(found, training=_find_embeddings(train_bank, batch_size)) if found else None
    tell_calibration(calibration, subjects, progress)
    return calibration


def _observe(model: Segmenter, bank: ViewBank, batch_size: int, progress: Progress) -> Iterator[Observation]:
    answers = _answer(model, bank, batch_size)
    if (symmetries := model.settings.symmetries) > 1:
        anew = _answer_anew(model, bank, batch_size)
        answers = progress.track(anew, total=len(bank), label=f"confidence under {symmetries} symmetries")
    slices = Counter(bank.subject(position) for position in range(len(bank)))
    for subject, members in groupby(answers, key=lambda item: bank.subject(item[0])):
        most = -(-PIXELS // slices[subject])
        observation = _join(bank, members, model.settings.classes, most=most)
        if observation is not None:
            yield observation


def _answer(model: Segmenter, bank: ViewBank, batch_size: int) -> Iterator[tuple[int, Answer]]:
    """Position and answer at native size of every image or slice of a bank."""
    for chunk in _split(range(len(bank)), batch_size):
        batch = bank.batch([Sample(position, 0) for position in chunk]).to(model.device)
        logits = model.decode(batch.features, batch.pixels)
        pooled = batch.features.levels[-1].float().mean(dim=(2, 3)).cpu().numpy()
        for row, position in enumerate(chunk):
            size, vote = _native_size(bank, position), logits[row : row + 1]
            yield position, model.conclude([vote], size, probabilities=True, embedding=pooled[row])


def _answer_anew(model: Segmenter, bank: ViewBank, batch_size: int) -> Iterator[tuple[int, Answer]]:
    """The same as prediction gives it, under all symmetries of the model, a batch of a stack at a time."""
    for _, members in groupby(range(len(bank)), key=bank.stack):
        positions = list(members)
        spacing = bank.spacing(positions[0])
        margin = find_reach(model, spacing)
        for start in range(0, len(positions), batch_size):
            due = positions[start : start + batch_size]
            before = positions[max(0, start - margin) : start]
            behind = positions[start + len(due) : start + len(due) + margin]
            shown = [*before, *due, *behind]
            found = model.answer(
                np.stack([bank.show(position).float().numpy() for position in shown]),
                [_native_size(bank, position) for position in shown],
                symmetries=model.settings.symmetries,
                probabilities=True,
                spacing=spacing,
            )
            yield from zip(due, found[len(before) :], strict=False)


def _native_size(bank: ViewBank, position: int) -> tuple[int, int]:
    height, width = bank.native_label(position).shape
    return int(height), int(width)


def _join(
    bank: ViewBank, members: Iterable[tuple[int, Answer]], classes: dict[int, str], *, most: int
) -> Observation | None:
    """What one case says, from the answers for its image or slices; None where nobody decided a pixel.

    Of each the probabilities of `most` pixels are kept, and let go of before the next is asked for.
    """
    counts = np.zeros((3, max(classes) + 1), np.int64)  # in common, in the mask, in the target
    pixels, tallies, embeddings = [], list[Tally](), []
    for position, answer in members:
        label = bank.native_label(position).numpy()
        counts += _count(answer.mask, label, counts.shape[1])
        if answer.probabilities is not None and answer.tally is not None and answer.embedding is not None:
            pixels.append(Pixels.draw(str(position), answer.probabilities, label, most=most))
            tallies.append(answer.tally)
            embeddings.append(answer.embedding)
    common, ours, theirs = counts
    if not theirs.sum():
        return None
    both, foreground = ours + theirs, [index for index in classes if index]
    return Observation(
        tally=sum(tallies[1:], tallies[0]),
        dice={index: float(2 * common[index] / both[index]) if both[index] else 1.0 for index in foreground},
        missed={index: bool(theirs[index] and not common[index]) for index in foreground},
        pixels=Pixels.join(pixels),
        embedding=np.mean(embeddings, axis=0),
    )


def _count(mask: NDArray[np.uint8], label: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    decided = label != IGNORE_ID
    mask, label = mask[decided], label[decided]
    rows = (mask[mask == label], mask, label)
    return np.stack([np.bincount(row, minlength=classes) for row in rows])


def _find_embeddings(bank: ViewBank, batch_size: int) -> list[NDArray[np.float32]]:
    """Mean of the last feature map of training cases, over the slices of a volume: of so many as suffice."""
    positions = _choose_positions(bank)
    rows = []
    for chunk in _split(positions, batch_size):
        features = bank.batch([Sample(position, 0) for position in chunk]).features
        rows += list(features.levels[-1].float().mean(dim=(2, 3)).numpy())
    owners = groupby(zip(positions, rows, strict=True), key=lambda item: bank.subject(item[0]))
    return [np.mean([row for _, row in members], axis=0) for _, members in owners]


def _choose_positions(bank: ViewBank) -> list[int]:
    """All of some cases, evenly over the bank."""
    subjects = [bank.subject(position) for position in range(len(bank))]
    last = subjects[-1] + 1
    step = -(-len(subjects) // _MOST_TRAINING)
    kept = set(range(0, last, step))
    return [position for position, subject in enumerate(subjects) if subject in kept]


def _split(positions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (positions[start : start + size] for start in range(0, len(positions), size))

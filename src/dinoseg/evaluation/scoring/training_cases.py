"""Whether the model that made some masks was trained on their cases: the images beside the labels tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.prints import Likeness, TrainingCases
from dinoseg.data.images import read_image
from dinoseg.data.sources.source import open_volume
from dinoseg.errors import DataError, RunError, UsageError
from dinoseg.evaluation.scoring.masks import LabelFiles
from dinoseg.inference.likeness import summarise_trained, to_upright
from dinoseg.model.folder import find_model_folder, read_training_cases
from dinoseg.progress import Progress


def open_training_cases(run: Path, labels: LabelFiles) -> TrainingCases:
    """What a run keeps of its training cases.

    Raises:
        RunError: the folder is no run, or an older one that keeps nothing of them.
        UsageError: no images lie beside the labels.
    """
    found = read_training_cases(find_model_folder(run))
    if found is None:
        raise RunError(
            f"{run} does not say on which cases it was trained (it is imported, or of an older version); "
            "leave --model out"
        )
    if not any(case.image != case.label for case in labels.cases):
        raise UsageError(
            f"{labels.root} holds labels without images, and a training case is known again by its image; "
            "name the folder that holds images and masks, or leave --model out"
        )
    return found


def find_trained_pairs(
    trained: TrainingCases, cases: Sequence[CaseFiles], progress: Progress
) -> tuple[tuple[str, Likeness], ...]:
    """The cases that a model was trained on, or that look the same; they are told.

    Args:
        trained: of the model.
        cases: with images.
        progress: told which, and which could not be asked.
    """
    found: list[tuple[str, Likeness]] = []
    for case in progress.track(cases, total=len(cases), label="training cases"):
        try:
            same = trained.find(_read(case))
        except DataError as error:
            progress.note(f"{case.id} cannot be compared with the training cases: {error}")
            continue
        found += [(case.id, same)] if same else []
    for line in summarise_trained([name for name, _ in found], len(cases)):
        progress.note(line)
    return tuple(found)


def _read(case: CaseFiles) -> NDArray[Any]:
    if not case.is_volume:
        return read_image(case.image).array
    series = None if case.series is None else case.series.files
    volume = open_volume(case.image, channels=case.channel_count, files=series or ())
    return to_upright(volume)

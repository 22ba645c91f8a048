"""Choosing what is done to masks: on the validation split, class after class, and only what helps.

A class may fill what another one gave up, so the classes are settled in the order in which the steps are
applied, each on masks that the steps chosen so far have cleaned. No step touches pixels of another class
than its own: what is promised of a class is still true when all later ones are cleaned as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dinoseg.config import ClassPostprocessing, Inference, PostprocessingSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.files import shorten
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation.cleaning import CANDIDATES, Trial, try_candidates
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.tasks import VALIDATION, Task, open_task
from dinoseg.inference.masks.postprocessing import Ids, clean_mask
from dinoseg.model.folder import refuse_changed_model, store_postprocessing
from dinoseg.model.saved import Model, find_run
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters

_GAIN = 1e-6  # less is rounding
_LARGEST_SHARE = 0.5  # of the smallest target: what is removed must not be what is looked for


@dataclass(frozen=True)
class ClassChoice:
    """What was chosen for one class.

    Attributes:
        class_id: id of the class.
        class_name: name of the class.
        steps: what is done; nothing where nothing helped.
        before: mean Dice over the validation cases of the masks as predicted.
        after: mean Dice once the steps of all classes are applied, as `evaluate` finds it.
    """

    class_id: int
    class_name: str
    steps: ClassPostprocessing
    before: float
    after: float


@dataclass(frozen=True)
class PostprocessingChoice:
    """What was chosen for a model, and is stored with it.

    Attributes:
        settings: the steps of every class.
        classes: one choice for each foreground class.
        cases: number of validation cases.
        failures: cases that could not be read.
    """

    settings: PostprocessingSettings
    classes: tuple[ClassChoice, ...]
    cases: int
    failures: tuple[Failure, ...]


@keeping_filters()
def choose_postprocessing(
    run: Model,
    data: Dataset | Path | str,
    *,
    splits: Path | str | None = None,
    how: Inference | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> PostprocessingChoice:
    """Try every combination of steps on the validation cases; keep what raises the mean Dice of a class.

    The choice is stored in the run's model, where `predict` and `evaluate` find it, and in `run` itself
    where that is a loaded model; an earlier one is replaced, also by nothing where nothing helps.

    Args:
        run: a run folder, or a model that was loaded from one.
        data: folder or CSV of images or volumes with labels, or one that was opened already.
        splits: a splits.json to use instead of the run's.
        how: how the model is applied; choose with the planes, window and flips that will be predicted with.
        progress: told how many cases are done, and which failed.
        options: fields of `Inference` by name.

    Raises:
        UsageError: an option is not accepted, or a model that is of no run folder.
        SplitError: there is no validation split.
        DataError: no case could be read, or only some have a spacing.
        OutputError: the choice cannot be written, or somebody changed the model's config.json.
    """
    progress, raw = progress or Silent(), replace(Inference.choose(how, options), postprocess=False)
    place = find_run(run)
    if place is None:
        raise UsageError(
            "postprocessing is stored in a run folder, and the model given is of none; give the folder, "
            "or what load() makes of it"
        )
    refuse_changed_model(place)
    task = open_task(
        run, data, split=VALIDATION, protocol="native", splits=splits, how=raw, progress=progress
    )
    choice = _choose(task, progress)
    cleans = any(step.steps for step in choice.settings.classes.values())
    task.model.postprocessing = choice.settings if cleans else None
    store_postprocessing(place, task.model.postprocessing)
    return choice


def _choose(task: Task, progress: Progress) -> PostprocessingChoice:
    failures: list[Failure] = []
    masks = _keep_masks(task, failures, progress)
    names = task.model.settings.classes
    settings = PostprocessingSettings(
        dimensions=3 if task.dataset.is_volumes else 2,
        unit="px" if masks[0].cell is None else "mm",
        classes={},
    )
    choices: list[ClassChoice] = []
    for class_id in (class_id for class_id in names if class_id):
        trials = [kept.try_after(settings, class_id) for kept in masks]
        choices.append(_choose_class(class_id, names, trials))
        steps = {choice.class_id: choice.steps for choice in choices}
        settings = settings.model_copy(update={"classes": steps})
    return PostprocessingChoice(settings, tuple(choices), len(masks), tuple(failures))


def _keep_masks(task: Task, failures: list[Failure], progress: Progress) -> list[_Kept]:
    """Predict every case once; the masks wait compressed until all classes are settled."""
    masks: list[_Kept] = []
    ignore = None if task.dataset.labels.ignore is None else IGNORE_ID
    shown = progress.track(task.files, total=len(task.files), label="choose")
    for view in task.views(shown, failures=failures, progress=progress, raw=True):
        masks.append(_Kept(_Packed.of(view.prediction), _Packed.of(view.target), view.cell, ignore))
        _refuse_mixed([masks[0].cell, masks[-1].cell])
        del view  # of volumes, before the next one is read
    for failure in failures:
        progress.note(f"{failure.case} failed and is left out: {failure.message}")
    if not masks:
        raise DataError(f"no case could be read: {shorten(failure.message for failure in failures)}")
    return masks


@dataclass(frozen=True)
class _Packed:
    """A mask, compressed: a hundredth of its size is usual."""

    data: bytes
    shape: tuple[int, ...]

    @classmethod
    def of(cls, mask: Ids) -> _Packed:
        return cls(zlib.compress(mask.tobytes(), 1), mask.shape)

    def open(self) -> Ids:
        return np.frombuffer(bytearray(zlib.decompress(self.data)), np.uint8).reshape(self.shape)


@dataclass(frozen=True)
class _Kept:
    """One validation case: its masks and the size of a cell."""

    prediction: _Packed
    target: _Packed
    cell: float | None
    ignore: int | None

    def try_after(self, settings: PostprocessingSettings, class_id: int) -> Trial:
        """The Dice of a class after each candidate, once `settings` are applied."""
        prediction = self.prediction.open()
        clean_mask(prediction, settings, cell=self.cell)
        cell = 1.0 if self.cell is None else self.cell
        return try_candidates(prediction, self.target.open(), class_id, cell=cell, ignore=self.ignore)


def _choose_class(class_id: int, names: Mapping[int, str], trials: Sequence[Trial]) -> ClassChoice:
    """The simplest of the candidates with the highest mean Dice."""
    scored = [trial.dice for trial in trials if not np.isnan(trial.dice[0])]
    if not scored:
        raise DataError("nobody decided a pixel of any validation case: there is nothing to choose by")
    means = np.mean(scored, axis=0)
    smallest = min((trial.target_size for trial in trials if trial.target_size > 0), default=0.0)
    best = 0
    for index, step in enumerate(CANDIDATES):
        harmless = step.minimum_size <= _LARGEST_SHARE * smallest
        if harmless and means[index] > means[best] + _GAIN:
            best = index
    before, after = float(means[0]), float(means[best])
    return ClassChoice(class_id, names[class_id], CANDIDATES[best], before, after)


def _refuse_mixed(cells: Sequence[float | None]) -> None:
    if (cells[0] is None) != (cells[-1] is None):
        raise DataError(
            "only some of the validation cases state a spacing, and sizes in mm and in voxels have nothing "
            "in common; give all of them one"
        )

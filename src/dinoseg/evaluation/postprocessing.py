"""Choosing what is done to masks: on the validation split, each class for itself, and only what helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dinoseg.backbones.extractors import Precision
from dinoseg.config import ClassPostprocessing, PostprocessingSettings
from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.data.volumes import Plane
from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation.cleaning import CANDIDATES, Trial, try_candidates
from dinoseg.evaluation.report import Failure
from dinoseg.evaluation.selection import refuse_other_classes, refuse_other_kind, select_cases
from dinoseg.evaluation.views import View, stream_views
from dinoseg.evaluation.volume_views import VolumeView, stream_volume_views
from dinoseg.inference.engine import Options
from dinoseg.model.folder import store_postprocessing
from dinoseg.model.loading import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import Progress, Silent

SPLIT = "val"

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
        after: mean Dice with `steps`.
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


def choose_postprocessing(
    run: Path | str,
    data: Dataset | Path | str,
    *,
    split: str = SPLIT,
    splits: Path | str | None = None,
    planes: Sequence[Plane] | None = None,
    batch_size: int = 8,
    backbone: str | Path | None = None,
    accept_license: bool = False,
    device: str = "cpu",
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> PostprocessingChoice:
    """Try every combination of steps on the validation cases; keep what raises the mean Dice of a class.

    The choice is stored in the run's model, where `predict` and `evaluate` find it; an earlier one is
    replaced, also by nothing where nothing helps.

    Args:
        run: a run folder.
        data: folder or CSV of images or volumes with labels, or one that was opened already.
        split: "val"; any other is refused.
        splits: a splits.json to use instead of the run's.
        planes: how volumes are cut; choose with those that will be predicted with.
        batch_size: images or slices that the model sees at once.
        backbone: another place of the backbone's weights.
        accept_license: accept the licence of the backbone's weights.
        device: torch device.
        precision: what the backbone computes in; default: what it was trained in.
        progress: told how many cases are done, and which failed.

    Raises:
        UsageError: another split, or a model that is no run folder.
        SplitError: there is no validation split.
        DataError: no case could be read, or only some have a spacing.
        OutputError: the choice cannot be written.
    """
    if split != SPLIT:
        raise UsageError(
            f"postprocessing is chosen on the split {SPLIT}, given {split}: scores of cases that it was "
            "chosen on say nothing about others"
        )
    if isinstance(run, Segmenter):
        raise UsageError("postprocessing is stored in a run folder; give its path instead of a model")
    planes = None if planes is None else tuple(planes)
    options = Options(batch_size=batch_size, planes=planes, postprocess=False)
    progress = progress or Silent()
    dataset = data if isinstance(data, Dataset) else open_dataset(data, progress=progress)
    files = select_cases(dataset, SPLIT, splits=Path(splits) if splits else None, run=Path(run))
    model = load(
        run,
        backbone=backbone,
        accept_license=accept_license,
        device=device,
        precision=precision,
        progress=progress,
    )
    refuse_other_kind(model, dataset, protocol="native", planes=planes)
    refuse_other_classes(model.classes, dataset)
    choice = _choose(model, dataset, files, options, progress)
    cleans = any(step.steps for step in choice.settings.classes.values())
    store_postprocessing(run, choice.settings if cleans else None)
    return choice


def _choose(
    model: Segmenter, dataset: Dataset, files: Sequence[CaseFiles], options: Options, progress: Progress
) -> PostprocessingChoice:
    failures: list[Failure] = []
    trials: dict[int, list[Trial]] = {class_id: [] for class_id in model.classes if class_id}
    cells: list[float | None] = []
    for view in _stream(model, dataset, files, options, failures, progress):
        cells.append(view.cell)
        _refuse_mixed(cells)
        for class_id, found in trials.items():
            cell = 1.0 if view.cell is None else view.cell
            found.append(try_candidates(view.prediction, view.target, class_id, cell=cell))
        del view  # of volumes, before the next one is read
    for failure in failures:
        progress.note(f"{failure.case} failed and is left out: {failure.message}")
    if not cells:
        raise DataError(f"no case could be read: {shorten(failure.message for failure in failures)}")
    classes = tuple(_choose_class(class_id, model.classes, found) for class_id, found in trials.items())
    settings = PostprocessingSettings(
        dimensions=3 if dataset.is_volumes else 2,
        unit="px" if cells[0] is None else "mm",
        classes={choice.class_id: choice.steps for choice in classes},
    )
    return PostprocessingChoice(settings, classes, len(cells), tuple(failures))


def _stream(
    model: Segmenter,
    dataset: Dataset,
    files: Sequence[CaseFiles],
    options: Options,
    failures: list[Failure],
    progress: Progress,
) -> Iterator[View] | Iterator[VolumeView]:
    shown = progress.track(files, total=len(files), label="choose")
    if dataset.is_volumes:
        return stream_volume_views(
            model, shown, dataset.labels, options=options, failures=failures, progress=progress
        )
    return stream_views(model, shown, dataset.labels, protocol="native", options=options, failures=failures)


def _choose_class(class_id: int, names: Mapping[int, str], trials: Sequence[Trial]) -> ClassChoice:
    """The simplest of the candidates with the highest mean Dice."""
    means = np.mean([trial.dice for trial in trials], axis=0)
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

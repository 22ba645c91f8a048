"""`evaluate`: a model's scores on a split, with intervals, misses and, where asked for, a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dinoseg.config import Inference
from dinoseg.data.cases.prints import Likeness as Sameness
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.layouts.remarks import SIZE
from dinoseg.data.sources.arrays import LAYOUT, Arrays, open_arrays, take_arrays
from dinoseg.evaluation.calibration import Observation, fit_confidence
from dinoseg.evaluation.contents import Failure, Report
from dinoseg.evaluation.examples import Picture, choose_examples, describe
from dinoseg.evaluation.metrics import ClassScore, score_case
from dinoseg.evaluation.reliability import assess
from dinoseg.evaluation.report import refuse_report, write_report
from dinoseg.evaluation.results import Evaluation, Scoring, conclude
from dinoseg.evaluation.selection import ALL
from dinoseg.evaluation.summary import Protocol, refuse_mixed_units
from dinoseg.evaluation.tasks import VALIDATION, PooledTask, Task, open_task
from dinoseg.evaluation.views import View
from dinoseg.evaluation.volume_views import VolumeView
from dinoseg.inference.likeness import (
    find_differences,
    find_trained,
    summarise_differences,
    summarise_trained,
)
from dinoseg.inference.results.report import describe_settings, word_settings
from dinoseg.model.confidence import calibration_of
from dinoseg.model.saved import Model, open_model
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters

if TYPE_CHECKING:
    from dinoseg.evaluation.paper.study import Study


@keeping_filters()
def evaluate(
    model: Model,
    data: Dataset | Path | str | None = None,
    *,
    split: str | None = None,
    protocol: Protocol = "native",
    splits: Path | str | None = None,
    tolerance: float | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    how: Inference | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Score a model on the cases of a split: Dice, IoU, HD95, ASSD and NSD per class and region.

    What is scored is what `predict` writes with the same `how`; a volume is one case, in 3D. Of a model
    with a run folder the run's own splits are used, and its training cases refused; copies are named.

    Args:
        model: a run folder, or a loaded model.
        data: folder or CSV of images and masks, or one that was opened already; None for arrays.
        split: "test" (the default), "val", "train", or "all" for every case (the default for arrays).
        protocol: "native", or "paper": as the published programs score, not comparable with it.
        splits: a splits.json to use instead.
        tolerance: of the NSD; default 1 mm where the spacing is known, else 2 px.
        out: folder for a report (four files); nothing is written without.
        seed: of the bootstrap.
        overwrite: replace an older report.
        how: the model is applied; the paper protocol takes no window, flips or cleaning.
        progress: told how many cases are done, and which failed.
        options: fields of `Inference` by name; of arrays those of `Arrays`, such as images and masks.

    Raises:
        DinosegError: as `open_task` and `write_report`; DataError where no case could be scored.
    """
    arrays = take_arrays(data, options)
    place = None if out is None else refuse_report(Path(out), overwrite=overwrite)
    progress, chosen = progress or Silent(), Inference.choose(how, options)
    part = split or ("test" if arrays is None else ALL)
    with _opened(model, data, arrays, progress) as given:
        task = open_task(*given, split=part, protocol=protocol, splits=splits, how=chosen, progress=progress)
        found = _score(task, Scoring(tolerance, seed, protocol), progress)
        return found if place is None else _with_report(task, found, place, seed=seed, overwrite=overwrite)


@contextmanager
def _opened(
    model: Model, data: Any, arrays: Arrays | None, progress: Progress
) -> Iterator[tuple[Model, Any]]:
    """Model and data as they were given; arrays as a data set, with the model's classes if none are named."""
    if arrays is None:
        yield model, data
        return
    network = open_model(model, progress)
    named = replace(arrays, classes=arrays.classes or network.settings.classes)
    with open_arrays(named, progress) as dataset:
        yield network, dataset


def _score(task: Task, scoring: Scoring, progress: Progress) -> Evaluation:
    failures: list[Failure] = []
    scores: list[ClassScore] = []
    unlike: list[tuple[str, str]] = []
    observed: dict[str, Observation] = {}
    known: list[tuple[str, Sameness]] = []
    shown = progress.track(task.files, total=len(task.files), label="evaluate")
    for view in task.views(shown, failures=failures, progress=progress, observe=True):
        found_here = _score_view(task, scoring, view)
        scores += found_here
        if observation := _observe(view, found_here):
            observed[view.case.id] = observation
        unlike += _find_unlike(task, view)
        known += _find_known(task, view)
        refuse_mixed_units([scores[0], scores[-1]])
        del view  # of volumes, before the next one is read
    for line in summarise_differences(unlike, len(task.files)):
        progress.note(line)
    for line in summarise_trained([case for case, _ in known], len(task.files)):
        progress.note(line)
    data = task.dataset
    found = conclude(scores, failures, scoring, root=data.root, is_volumes=data.is_volumes, progress=progress)
    seen = tuple(observed.values())
    calibration, in_sample = calibration_of(task.model), task.split == VALIDATION
    if calibration is None and isinstance(task, PooledTask):
        calibration = fit_confidence(seen)  # as training is about to keep it
    reliability = assess(list(observed), seen, calibration, in_sample=in_sample)
    return replace(
        found, unlike=tuple(unlike), trained_on=tuple(known), reliability=reliability, observations=seen
    )


def _observe(view: View | VolumeView, scores: Sequence[ClassScore]) -> Observation | None:
    """What a case says of the model's confidence; None where its probabilities are not known."""
    found = view.found
    if found is None or found.tally is None or view.pixels is None:
        return None
    classes = [score for score in scores if score.class_id is not None and score.outcome != "undecided"]
    if not classes:
        return None
    return Observation(
        tally=found.tally,
        dice={score.class_id: score.dice for score in classes if score.class_id is not None},
        missed={
            score.class_id: score.target_size > 0 and score.dice == 0
            for score in classes
            if score.class_id is not None
        },
        pixels=view.pixels,
        embedding=found.embedding,
    )


def _find_unlike(task: Task, view: View | VolumeView) -> list[tuple[str, str]]:
    confidence = None if view.found is None else view.found.confidence
    difference = find_differences(task.model, view.case.image, confidence)
    return [(view.case.id, difference)] if difference else []


def _find_known(task: Task, view: View | VolumeView) -> list[tuple[str, Sameness]]:
    """The case where the model was trained on it; of the split train everybody knows."""
    same = None if task.split == "train" else find_trained(task.find_model(view.case.id), view.case.image)
    return [(view.case.id, same)] if same else []


def _score_view(task: Task, scoring: Scoring, view: View | VolumeView) -> list[ClassScore]:
    return score_case(
        view.prediction,
        view.target,
        classes=task.model.settings.classes,
        spacing=view.spacing,
        tolerance=scoring.tolerance_in("px" if view.spacing is None else "mm"),
        case=view.case.id,
        group=view.case.group,
        regions=task.dataset.regions,
        decided=view.decided,
    )


def _with_report(task: Task, found: Evaluation, out: Path, *, seed: int, overwrite: bool) -> Evaluation:
    method, name = task.model.settings.decoder.method, task.dataset.root.resolve().name
    report = Report(
        scores=found.scores,
        summaries=found.summaries,
        title=f"{method} on {name}: {'all cases' if task.split == ALL else task.split + ' split'}",
        policy=found.policy,
        protocol=task.protocol,
        facts={**_list_facts(task, seed), **_word_unlike(found, len(task.files))},
        classes=task.model.settings.classes,
        pictures=_draw_pictures(task, found.scores),
        failures=found.failures,
        strata=found.strata,
        reliability=found.reliability,
        trained_on=dict(found.trained_on),
        study=_describe_study(task, found, seed),
    )
    return replace(found, report=write_report(report, out, overwrite=overwrite))


def _describe_study(task: Task, found: Evaluation, seed: int) -> Study:
    from dinoseg.evaluation.paper.study import Study, read_training

    row, settings = found.headline, task.model.settings
    return Study(
        data=task.dataset.root.resolve().name,
        kind="volumes" if task.dataset.is_volumes else "images",
        cases=row.cases,
        groups=row.groups,
        split=task.split,
        classes=tuple(name for class_id, name in settings.classes.items() if class_id),
        protocol=task.protocol,
        tolerance=f"{found.tolerance:g} {found.unit}",
        unscored=len(found.failures),
        seed=seed,
        model=settings,
        applied=word_settings(describe_settings(task.how, task.model)),
        training=read_training(task.model.run),
    )


def _list_facts(task: Task, seed: int) -> dict[str, str]:
    model = task.model.describe()
    sizes = [remark.message for remark in task.dataset.remarks if remark.topic == SIZE]
    return {
        "Method": str(model["method"]),
        "Backbone": f"{model['backbone']} ({str(model['backbone_digest'])[:12]}, {model['precision']})",
        "Data": LAYOUT if task.dataset.layout == LAYOUT else str(task.dataset.root),
        "Split": f"{task.part} ({len(task.files)} cases)",
        "Protocol": task.protocol,
        **({"Size": sizes[0]} if sizes else {}),
        **word_settings(describe_settings(task.how, task.model)),
        "Seed of the intervals": str(seed),
    }


def _word_unlike(found: Evaluation, cases: int) -> dict[str, str]:
    if not found.unlike:
        return {}
    name, difference = found.unlike[0]
    return {"Not like training": f"{len(found.unlike)} of {cases} cases, for example {name}: {difference}"}


def _draw_pictures(task: Task, scores: Sequence[ClassScore]) -> list[Picture]:
    """Predict the few chosen cases once more, so that no mask had to be kept."""
    examples = {example.case: example for example in choose_examples(scores)}
    again = [item for item in task.files if item.id in examples]
    views = task.views(again, failures=[], progress=Silent())
    pictures = {view.case.id: view.draw(task.model.settings.classes) for view in views}
    return [
        Picture(
            role=example.role,
            case=example.case,
            caption=describe([score for score in scores if score.case == example.case]),
            jpeg=pictures[example.case],
        )
        for example in examples.values()
        if example.case in pictures
    ]

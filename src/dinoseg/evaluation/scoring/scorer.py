"""`score`: anybody's masks against labels, with the tables, the report and the policy of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.prints import TrainingCases
from dinoseg.data.images import read_image
from dinoseg.errors import DataError
from dinoseg.evaluation.contents import Failure, Report
from dinoseg.evaluation.examples import Picture, choose_examples, describe, draw_example
from dinoseg.evaluation.lesions import DEFAULT_IOU
from dinoseg.evaluation.metrics import ClassScore, score_case
from dinoseg.evaluation.report import refuse_report, write_report
from dinoseg.evaluation.results import Evaluation, Scoring, conclude
from dinoseg.evaluation.scoring.masks import (
    LabelFiles,
    MaskPairs,
    find_labels,
    list_masks,
    list_names,
    pair_masks,
)
from dinoseg.evaluation.scoring.meanings import ClassValues, Meaning, find_meaning
from dinoseg.evaluation.scoring.segmentations import pair_segmentations
from dinoseg.evaluation.scoring.views import MaskView, read_view
from dinoseg.progress import Progress, Silent

if TYPE_CHECKING:
    from dinoseg.evaluation.paper.study import Study


def score(
    predictions: Path | str,
    labels: Path | str,
    *,
    classes: ClassValues | None = None,
    tolerance: float | None = None,
    match_iou: float = DEFAULT_IOU,
    metadata: Path | str | None = None,
    model: Path | str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score masks that are there already: Dice, IoU, HD95, ASSD, NSD and lesions per class.

    Args:
        predictions: folder of masks, images or volumes, named as the labels; or of SEG or RTSTRUCT.
        labels: folder of masks, or a data set with images and masks.
        classes: name -> value or values in the files; default: as declared, else as the values allow.
        tolerance: of the NSD; default 1 mm where the spacing is known, else 2 px.
        match_iou: two lesions match where their IoU is above it.
        metadata: a table whose columns are strata; default: metadata.csv beside the labels.
        model: run folder of the model that made the masks: cases that it was trained on are named.
        out: folder for a report; nothing is written without.
        seed: of the bootstrap.
        overwrite: replace an older report.
        progress: told how many cases are done, and which failed.

    Returns:
        The scores; a label without a mask is among `failures`, which are in no mean.

    Raises:
        DinosegError: an argument is not accepted, nothing can be paired, values without a meaning, no
            case could be scored, only some have a spacing, or the report cannot be written.
    """
    place = None if out is None else refuse_report(Path(out), overwrite=overwrite)
    progress = progress or Silent()
    scoring = Scoring(tolerance, seed, match_iou=match_iou)
    files = find_labels(Path(labels))
    trained = None if model is None else _open_training_cases(Path(model), files)
    work = _prepare(Path(predictions), files, classes, progress)
    found = _score(work, scoring, None if metadata is None else Path(metadata), progress)
    found = found if trained is None else _with_leaks(work, found, trained, progress)
    return found if place is None else _with_report(work, found, place, seed=seed, overwrite=overwrite)


@dataclass(frozen=True)
class _Work:
    """What is scored."""

    place: Path
    labels: LabelFiles
    found: MaskPairs
    meaning: Meaning


def _prepare(place: Path, labels: LabelFiles, classes: ClassValues | None, progress: Progress) -> _Work:
    found = pair_segmentations(place, labels) or pair_masks(list_masks(place), labels, place=place)
    meaning = find_meaning(
        [path for _, case in found.pairs for path in case.labels],
        [path for path, _ in found.pairs],
        source=labels,
        classes=classes,
        progress=progress,
    )
    for note in (*(remark.message for remark in labels.remarks if remark.matters), meaning.note):
        if note:
            progress.note(note)
    if found.extra:
        progress.note(f"{len(found.extra)} masks have no label and are not scored: {list_names(found.extra)}")
    return _Work(place, labels, found, meaning)


def _score(work: _Work, scoring: Scoring, metadata: Path | None, progress: Progress) -> Evaluation:
    failures = [
        Failure(case.id, f"{case.label} has no mask of its name in {work.place}")
        for case in work.found.lacking
    ]
    scores: list[ClassScore] = []
    for path, case in progress.track(work.found.pairs, total=len(work.found.pairs), label="score"):
        try:
            scores += _score_view(work, scoring, read_view(path, case, work.meaning))
        except DataError as error:
            failures.append(Failure(case.id, str(error)))
    return conclude(
        scores,
        failures,
        scoring,
        root=work.labels.root,
        metadata=metadata,
        is_volumes=work.labels.is_volumes,
        progress=progress,
    )


def _score_view(work: _Work, scoring: Scoring, view: MaskView) -> list[ClassScore]:
    return score_case(
        view.prediction,
        view.target,
        classes=work.meaning.classes,
        spacing=view.spacing,
        tolerance=scoring.tolerance_in("px" if view.spacing is None else "mm"),
        case=view.files.id,
        group=view.files.group,
        regions=work.meaning.regions,
        match_iou=scoring.match_iou,
        decided=view.decided,
    )


def _open_training_cases(run: Path, files: LabelFiles) -> TrainingCases:
    from dinoseg.evaluation.scoring.training_cases import open_training_cases  # needs what reads a run

    return open_training_cases(run, files)


def _with_leaks(work: _Work, found: Evaluation, trained: TrainingCases, progress: Progress) -> Evaluation:
    from dinoseg.evaluation.scoring.training_cases import find_trained_pairs

    known = find_trained_pairs(trained, [case for _, case in work.found.pairs], progress)
    return replace(found, trained_on=known)


def _with_report(work: _Work, found: Evaluation, out: Path, *, seed: int, overwrite: bool) -> Evaluation:
    report = Report(
        scores=found.scores,
        summaries=found.summaries,
        title=f"{work.place.resolve().name} against {work.labels.root.resolve().name}",
        policy=found.policy,
        facts=_list_facts(work, seed),
        classes=work.meaning.classes,
        pictures=_draw_pictures(work, found.scores),
        failures=found.failures,
        strata=found.strata,
        trained_on=dict(found.trained_on),
        study=_describe_study(work, found, seed),
    )
    return replace(found, report=write_report(report, out, overwrite=overwrite))


def _describe_study(work: _Work, found: Evaluation, seed: int) -> Study:
    from dinoseg.evaluation.paper.study import Study

    row = found.headline
    return Study(
        data=work.labels.root.resolve().name,
        kind="volumes" if work.labels.is_volumes else "images",
        cases=row.cases,
        groups=row.groups,
        split="",
        classes=tuple(name for class_id, name in work.meaning.classes.items() if class_id),
        protocol="native",
        tolerance=f"{found.tolerance:g} {found.unit}",
        unscored=len(found.failures),
        seed=seed,
    )


def _list_facts(work: _Work, seed: int) -> dict[str, str]:
    extra = f"{len(work.found.extra)} ({list_names(work.found.extra)})" if work.found.extra else "none"
    return {
        "Predictions": str(work.place),
        "Labels": str(work.labels.root),
        "Cases": str(len(work.found.pairs)),
        "Masks without a label": extra,
        "Values": work.meaning.labels.describe(),
        "Protocol": "native",
        "Postprocessing": "none",
        "Seed of the intervals": str(seed),
    }


def _draw_pictures(work: _Work, scores: Sequence[ClassScore]) -> list[Picture]:
    """Read the few chosen cases once more, so that no mask had to be kept."""
    examples = {example.case: example for example in choose_examples(scores)}
    again = [pair for pair in work.found.pairs if pair[1].id in examples]
    views = (read_view(path, case, work.meaning) for path, case in again)
    drawn = {view.files.id: _draw(view, work.meaning.classes) for view in views}
    return [
        Picture(
            role=example.role,
            case=example.case,
            caption=describe([score for score in scores if score.case == example.case]),
            jpeg=drawn[example.case],
        )
        for example in examples.values()
    ]


def _draw(view: MaskView, classes: Mapping[int, str]) -> bytes:
    flat = view.flatten()
    return draw_example(
        _read_background(flat), flat.target, flat.prediction, classes=classes, spacing=flat.spacing
    )


def _read_background(view: MaskView) -> NDArray[np.float32]:
    """The image of a photograph that lies beside its label; black where there is none."""
    files = view.files
    if files.image != files.label and not files.is_volume:
        image = read_image(files.image).array
        if image.shape[1:] == view.target.shape:
            return image
    return np.zeros((1, *view.target.shape), np.float32)

"""`score`: anybody's masks against labels, with the tables, the report and the policy of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import shorten
from dinoseg.data.images import read_image
from dinoseg.errors import DataError
from dinoseg.evaluation.examples import Picture, choose_examples, describe, draw_example
from dinoseg.evaluation.lesions import DEFAULT_IOU
from dinoseg.evaluation.metrics import DEFAULT_TOLERANCE, ClassScore, Unit, score_case
from dinoseg.evaluation.report import Failure, refuse_report, write_report
from dinoseg.evaluation.results import Evaluation
from dinoseg.evaluation.scoring.masks import (
    LabelFiles,
    MaskPairs,
    find_labels,
    list_masks,
    list_names,
    pair_masks,
)
from dinoseg.evaluation.scoring.meanings import ClassValues, Meaning, find_meaning
from dinoseg.evaluation.scoring.views import MaskView, read_view
from dinoseg.evaluation.strata import find_metadata, find_strata
from dinoseg.evaluation.summary import refuse_mixed_units, summarise
from dinoseg.progress import Progress, Silent


def score(
    predictions: Path | str,
    labels: Path | str,
    *,
    classes: ClassValues | None = None,
    tolerance: float | None = None,
    match_iou: float = DEFAULT_IOU,
    metadata: Path | str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score masks that are there already: Dice, IoU, HD95, ASSD, NSD and lesions per class.

    Args:
        predictions: folder of masks, images or volumes, named as the labels.
        labels: folder of masks, or a data set with images and masks.
        classes: name -> value or values in the files, e.g. {"liver": 1, "tumour": (2, 3)}; default:
            as dataset.yaml or dataset.json declares, else as the values allow.
        tolerance: of the NSD; default 1 mm where the spacing is known, else 2 px.
        match_iou: two lesions match where their IoU is above it.
        metadata: a table with the column case or group, whose other columns are strata; default:
            metadata.csv beside the labels, if it is there.
        out: folder for a report; nothing is written without.
        seed: of the bootstrap.
        overwrite: replace an older report.
        progress: told how many cases are done, and which failed.

    Returns:
        The scores; a label without a mask is among `failures`, which are in no mean.

    Raises:
        UsageError: an argument is not accepted.
        LayoutError: nothing can be paired.
        LabelError: what the values mean is not clear.
        DataError: no case could be scored, or only some have a spacing.
        OutputError: the report exists already or cannot be written.
    """
    if out is not None:
        refuse_report(Path(out), overwrite=overwrite)
    progress = progress or Silent()
    work = _prepare(Path(predictions), find_labels(Path(labels)), classes, tolerance, match_iou, progress)
    evaluation = _score(work, seed, progress)
    table = None if metadata is None else Path(metadata)
    known = find_metadata(work.labels.root, evaluation.scores, given=table, progress=progress)
    evaluation = replace(evaluation, strata=find_strata(evaluation.scores, known, seed=seed))
    if out is None:
        return evaluation
    page = _write(work, evaluation, Path(out), seed=seed, overwrite=overwrite)
    return replace(evaluation, report=page)


@dataclass(frozen=True)
class _Work:
    """What is scored, and how."""

    place: Path
    labels: LabelFiles
    found: MaskPairs
    meaning: Meaning
    tolerance: float | None
    match_iou: float

    def tolerance_in(self, unit: Unit) -> float:
        return DEFAULT_TOLERANCE[unit] if self.tolerance is None else self.tolerance

    def score(self, view: MaskView) -> list[ClassScore]:
        return score_case(
            view.prediction,
            view.target,
            classes=self.meaning.classes,
            spacing=view.spacing,
            tolerance=self.tolerance_in("px" if view.spacing is None else "mm"),
            case=view.files.id,
            group=view.files.group,
            regions=self.meaning.regions,
            match_iou=self.match_iou,
        )


def _prepare(
    place: Path,
    labels: LabelFiles,
    classes: ClassValues | None,
    tolerance: float | None,
    match_iou: float,
    progress: Progress,
) -> _Work:
    found = pair_masks(list_masks(place), labels, place=place)
    meaning = find_meaning(
        [case.label for _, case in found.pairs if case.label is not None],
        [path for path, _ in found.pairs],
        declaration=labels.declaration,
        classes=classes,
        progress=progress,
    )
    if meaning.note:
        progress.note(meaning.note)
    if found.extra:
        progress.note(f"{len(found.extra)} masks have no label and are not scored: {list_names(found.extra)}")
    return _Work(place, labels, found, meaning, tolerance, match_iou)


def _score(work: _Work, seed: int, progress: Progress) -> Evaluation:
    failures = [
        Failure(case.id, f"{case.label} has no mask of its name in {work.place}")
        for case in work.found.lacking
    ]
    scores: list[ClassScore] = []
    for path, case in progress.track(work.found.pairs, total=len(work.found.pairs), label="score"):
        try:
            scores += work.score(read_view(path, case, work.meaning))
        except DataError as error:
            failures.append(Failure(case.id, str(error)))
    for failure in failures:
        progress.note(f"{failure.case} failed and is in no mean: {failure.message}")
    if not scores:
        raise DataError(f"no case could be scored: {shorten(failure.message for failure in failures)}")
    refuse_mixed_units(scores)
    unit = scores[0].unit
    if work.labels.is_volumes and unit == "px":
        progress.note("the files say nothing of the size of a voxel: distances are in voxels (px), not mm")
    return Evaluation(
        scores=tuple(scores),
        summaries=tuple(summarise(scores, seed=seed)),
        protocol="native",
        failures=tuple(failures),
        tolerance=work.tolerance_in(unit),
        unit=unit,
        match_iou=work.match_iou,
    )


def _write(work: _Work, evaluation: Evaluation, out: Path, *, seed: int, overwrite: bool) -> Path:
    extra = f"{len(work.found.extra)} ({list_names(work.found.extra)})" if work.found.extra else "none"
    return write_report(
        evaluation.scores,
        evaluation.summaries,
        out,
        title=f"{work.place.resolve().name} against {work.labels.root.resolve().name}",
        policy=evaluation.policy,
        facts={
            "Predictions": str(work.place),
            "Labels": str(work.labels.root),
            "Cases": str(len(work.found.pairs)),
            "Masks without a label": extra,
            "Values": work.meaning.labels.describe(),
            "Protocol": "native",
            "Postprocessing": "none",
            "Seed of the intervals": str(seed),
        },
        classes=work.meaning.classes,
        pictures=_draw_pictures(work, evaluation.scores),
        failures=evaluation.failures,
        strata=evaluation.strata,
        overwrite=overwrite,
    )


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

"""`train_folds()`: every case is scored by the model that did not see it, and all are kept as one model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dinoseg.config.options import choose_options
from dinoseg.config.training import Training
from dinoseg.data import Dataset, open_dataset
from dinoseg.data.splits.folds import Folds, resolve_folds, save_folds
from dinoseg.data.splits.splits import FILE_NAME, FOLDS, load_splits, save_splits
from dinoseg.errors import RunError, UsageError
from dinoseg.evaluation import Evaluation, evaluate
from dinoseg.evaluation.calibration import fit_confidence, tell_calibration
from dinoseg.evaluation.statistics import Interval
from dinoseg.evaluation.summary import headline, summarise
from dinoseg.model.ensemble import DOCUMENT as ENSEMBLE
from dinoseg.model.ensemble import EnsembleDescription, Member, digest_file, read_ensemble
from dinoseg.model.saved import SavedModel
from dinoseg.outputs import to_plain, write_json
from dinoseg.progress import Progress, Silent
from dinoseg.training.features.items import digest_content
from dinoseg.training.fitting import open_backbone
from dinoseg.training.runs.composition import compose_settings
from dinoseg.training.runs.locks import locked, refuse_locked
from dinoseg.training.runs.run_folder import RunFolder, anchor
from dinoseg.training.series.jobs import Job, Work, carry_out
from dinoseg.training.series.outcomes import report_folder
from dinoseg.training.series.plans import AGAIN, FoldsPlan, refuse_older

DOCUMENT = "folds.json"
VALIDATION = "val"


@dataclass(frozen=True)
class Fold:
    """One training of a cross-validation.

    Attributes:
        fold: its number, from 0.
        run: its run folder.
        trained_on: number of cases.
        left_out: number of cases that it is scored on.
        dice: mean over those; NaN before all folds are trained.
    """

    fold: int
    run: Path
    trained_on: int
    left_out: int
    dice: float = math.nan


@dataclass(frozen=True)
class CrossValidation:
    """What came of training on folds.

    Attributes:
        out: folder of the folds; `load`, `predict` and `evaluate` take it as one model.
        folds: in order.
        cases: that were scored, each by the model that did not see it.
        groups: patients or videos among them.
        dice: mean over all cases with one interval over groups.
        missed: targets of which nothing was predicted.
        with_target: masks that hold a class.
        report: page of the pooled scores.
    """

    out: Path
    folds: tuple[Fold, ...]
    cases: int
    groups: int
    dice: Interval
    missed: int
    with_target: int
    report: Path


def train_folds(
    data: Path | str,
    out: Path | str,
    folds: int = 5,
    *,
    how: Training | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> CrossValidation:
    """Train one model for each fold, score every case out of its fold, and keep all as one ensemble.

    Test cases of the data are in no fold. The folds of a splits_final.json are used as they are. The last
    epoch of each is kept unless `changes` say otherwise: the cases left out are those that are scored.

    Args:
        data: folder (or CSV) of images and masks.
        out: folder for all; fold_0, fold_1, … are ordinary run folders.
        folds: how many.
        how: method and all else, see `Training`; `seed` is that of every training and of the folds that must
            be drawn. `splits` may be a splits_final.json, or a splits.json, of which the test cases count.
        progress: shows the bars and lines.
        options: fields of `Training` by name, in place of those of `how`.

    Raises:
        UsageError: an option is not accepted, or shots are asked for.
        SplitError: too few groups, or folds that leak.
        DataError: the data cannot be read.
        OutputError: `out` holds something else.
        RunError: `resume`, and the folds were started with something else; a run diverged; or another
            process trains in `out`.
        WeightsError: the backbone's weights are missing.
    """
    progress, how = progress or Silent(), choose_options(Training, how, options)
    if not isinstance(data, Path | str):
        raise UsageError("folds take one data folder; join several in one to cross-validate")
    if how.shots is not None:
        raise UsageError("folds train on all cases but those left out; leave shots out, or use train_draws")
    place = anchor(Path(out))
    refuse_locked(place)
    refuse_older(place, resume=how.resume, overwrite=how.overwrite)
    dataset = open_dataset(data, progress=progress)
    divided = resolve_folds(dataset, folds, path=how.splits, seed=how.seed)
    jobs = [_compose(dataset, data, place, how, fold) for fold in range(folds)]
    plan = _plan(dataset, divided, jobs[0], how, progress)
    with locked(place):
        _require_same_folds(place, divided, resume=how.resume)
        plan.open(place, resume=how.resume, overwrite=how.overwrite)
        save_folds(place / FOLDS, divided)
        save_splits(place / FILE_NAME, divided.whole, overwrite=True)
        _tell(divided, progress)
        return _train_all(dataset, divided, jobs, place, how, progress)


def _compose(dataset: Dataset, data: Path | str, out: Path, how: Training, fold: int) -> Job:
    changes = {"train.keep": "last", **(how.changes or {})}
    if "fold" in changes:
        raise UsageError("setting 'fold' chooses one of the folds, and all are trained; leave it out")
    chosen = replace(how, splits=out / FOLDS, changes={**changes, "fold": fold})
    return Job(compose_settings(dataset, [data], chosen), out / f"fold_{fold}", f"fold {fold}")


def _plan(dataset: Dataset, divided: Folds, job: Job, how: Training, progress: Progress) -> FoldsPlan:
    whole = divided.whole
    frozen = open_backbone(job.settings, accept_license=how.accept_license, progress=progress)
    return FoldsPlan(
        folds=len(divided.folds),
        content=digest_content(dataset.find((*whole.train, *whole.test))),
        backbone=frozen.digest,
        settings=job.settings,
    )


def _require_same_folds(out: Path, divided: Folds, *, resume: bool) -> None:
    path = out / FOLDS
    if not (resume and path.is_file()):
        return
    if [load_splits(path, fold=index) for index in range(len(divided.folds))] != list(divided.folds):
        raise RunError(f"{path} divides the cases otherwise than now; restore the data's splits, or {AGAIN}")


def _tell(divided: Folds, progress: Progress) -> None:
    whole, count = divided.whole, len(divided.folds)
    source = f"those of {divided.source}, as they are" if divided.source else f"drawn by {whole.unit}"
    tested = f"; {len(whole.test)} test cases are in none" if whole.test else ""
    progress.note(f"{count} folds of {len(whole.train)} cases, {source}{tested}")
    left_out = {id_ for fold in divided.folds for id_ in fold.val}
    if rest := len(whole.train) - len(left_out):
        progress.note(f"{rest} cases are left out by no fold, and are not scored")


def _train_all(
    dataset: Dataset, divided: Folds, jobs: Sequence[Job], out: Path, how: Training, progress: Progress
) -> CrossValidation:
    numbers = {job.folder: index for index, job in enumerate(jobs)}

    def read(job: Job) -> Fold:
        number = numbers[job.folder]
        fold = divided.folds[number]
        return Fold(number, job.folder, len(fold.train), len(fold.val))

    work = Work(
        dataset,
        None,
        how,
        find_splits=lambda job: divided.folds[numbers[job.folder]],
        read=read,
        describe=lambda fold: f"trained on {fold.trained_on} cases, {fold.left_out} left out",
    )
    page = report_folder(out, split=VALIDATION) / "index.html"
    if page.is_file() and (out / ENSEMBLE).is_file():
        progress.note("all folds are there already and stay as they are")
        return _read(out, page)
    trained = carry_out(work, jobs, publish=lambda done: _write(out, done), progress=progress)
    _keep_ensemble(out, trained)
    pooled = evaluate(
        SavedModel(out, accept_license=how.accept_license, device=how.device),
        dataset,
        split=VALIDATION,
        out=page.parent,
        overwrite=True,
        progress=progress,
    )
    _keep_calibration(out, pooled, progress)
    _write(out, [_score(fold, divided, pooled) for fold in trained], pooled)
    return _read(out, page)


def _keep_ensemble(out: Path, trained: Sequence[Fold]) -> None:
    """Write what makes the folder one model; the postprocessing that was chosen for it stays."""
    members = tuple(
        Member(fold.run.name, digest_file(RunFolder(fold.run).model / "decoder.safetensors"))
        for fold in trained
    )
    described = EnsembleDescription("folds", members)
    if (out / ENSEMBLE).is_file():
        described = replace(read_ensemble(out), members=members)
    write_json(out / ENSEMBLE, described.describe(), overwrite=True)


def _keep_calibration(out: Path, pooled: Evaluation, progress: Progress) -> None:
    """Fit confidence on what every case got from the model that did not see it."""
    calibration = fit_confidence(pooled.observations)
    tell_calibration(calibration, len(pooled.observations), progress)
    described = replace(read_ensemble(out), calibration=calibration)
    write_json(out / ENSEMBLE, described.describe(), overwrite=True)


def _score(fold: Fold, divided: Folds, pooled: Evaluation) -> Fold:
    ids = set(divided.folds[fold.fold].val)
    scores = [score for score in pooled.scores if score.case in ids]
    if not scores:  # none of its cases could be read
        return fold
    row = headline(summarise(scores, seed=0, draws=1))
    return replace(fold, dice=row.metric("dice").interval.mean)


def _write(out: Path, folds: Sequence[Fold], pooled: Evaluation | None = None) -> None:
    document: dict[str, Any] = {"folds": to_plain(list(folds), relative_to=out), "pooled": None}
    if pooled is not None:
        row = pooled.headline
        document["pooled"] = {
            "cases": row.cases,
            "groups": row.groups,
            "dice": row.metric("dice").interval,
            "missed": row.missed,
            "with_target": row.with_target,
        }
    write_json(out / DOCUMENT, document, overwrite=True)


def _read(out: Path, page: Path) -> CrossValidation:
    path = out / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        pooled = document["pooled"]
        return CrossValidation(
            out=out,
            folds=tuple(_read_fold(out, item) for item in document["folds"]),
            cases=int(pooled["cases"]),
            groups=int(pooled["groups"]),
            dice=Interval(**{name: _number(value) for name, value in pooled["dice"].items()}),
            missed=int(pooled["missed"]),
            with_target=int(pooled["with_target"]),
            report=page,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({error!r}); delete {page}, and use --resume") from error


def _read_fold(out: Path, item: Mapping[str, Any]) -> Fold:
    return Fold(**{**item, "run": out / item["run"], "dice": _number(item["dice"])})


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

"""Many runs that repeat one another: methods, numbers of shots, draws; checked first, then done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from dinoseg.config.training import ScoredSplit, Training
from dinoseg.data import Dataset, open_dataset
from dinoseg.data.splits.shots import draw_shots, refuse_empty_shots, refuse_shots
from dinoseg.data.splits.splits import Splits, check_splits, resolve_splits
from dinoseg.errors import SplitError, UsageError
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress
from dinoseg.training.features.items import digest_content
from dinoseg.training.fitting import open_backbone
from dinoseg.training.runs.beginning import begin_with
from dinoseg.training.runs.composition import compose_settings
from dinoseg.training.runs.locks import locked, refuse_locked
from dinoseg.training.runs.run_folder import anchor
from dinoseg.training.series.jobs import Job, Work, carry_out
from dinoseg.training.series.outcomes import Draw, read_draw
from dinoseg.training.series.plans import SPLITS, Plan, open_plan, refuse_older


@dataclass(frozen=True)
class Request:
    """What a series of runs shares.

    Attributes:
        data: folder (or CSV) of images and masks.
        out: folder of the series, from the root.
        methods: to train.
        shots: numbers of cases or groups.
        draws: trainings of each method and number of shots, with seeds from that of `how` up.
        split: to score; None is the test split where it holds cases, else the validation split.
        how: all else, with the first seed; method and shots are those of the lists. Of its changes a
            key such as "linear:train.lr" is for this method alone.
    """

    data: Path
    out: Path
    methods: tuple[str, ...]
    shots: tuple[int, ...]
    draws: int
    split: ScoredSplit | None
    how: Training

    @classmethod
    def make(cls, data: Path | str, out: Path | str, **lists: Any) -> Request:
        """A request with its paths as they are used.

        Raises:
            UsageError: several data folders.
        """
        if not isinstance(data, Path | str):
            raise UsageError(
                "draws and curves take one data folder; join several in one to repeat over draws"
            )
        return cls(Path(data), anchor(Path(out)), **lists)

    def describe(self) -> dict[str, Any]:
        """What the document of a series says of how its runs were trained."""
        how = self.how
        return {
            "data": str(self.data.absolute()),
            "backbone": str(how.backbone),
            "preset": how.preset,
            "shots_from": how.shots_from,
            "shot_unit": how.shot_unit,
        }


@dataclass(frozen=True)
class Series:
    """A request that was found possible.

    Attributes:
        request: what was asked for.
        dataset: the data, read once.
        splits: of all runs, checked once; written to the folder of the series.
        plan: all that the results follow from; written there too.
        split: what is scored, "test" or "val".
        parameters: method -> number of trained parameters.
    """

    request: Request
    dataset: Dataset
    splits: Splits
    plan: Plan
    split: str
    parameters: Mapping[str, int]

    def job(self, method: str, shots: int, draw: int, folder: str) -> Job:
        """One run of the series; `folder` lies within that of the series."""
        out = self.request.out
        settings = _compose(self.request, self.dataset, method, shots=shots, draw=draw, splits=out / SPLITS)
        name = f"{method}, {shots} {'shot' if shots == 1 else 'shots'}, draw {draw}"
        return Job(settings, out / folder, name)


def prepare(request: Request, kind: Literal["draws", "curve"], progress: Progress) -> Series:
    """Check all that can be checked before the first training; nothing is written.

    Raises:
        UsageError: an argument is not accepted, or a list names something twice.
        ConfigError: a setting is not accepted by one of the methods.
        SplitError: fewer cases than shots, or nothing to score.
        DataError: the data cannot be read, or the split leaks.
        OutputError: the folder holds something else.
        RunError: another process trains there.
        WeightsError: the backbone's weights are missing.
    """
    _refuse_lists(request)
    if request.how.devices * request.how.nodes > 1:
        raise UsageError(
            "several processes train one run; leave out devices and nodes where many runs follow"
        )
    refuse_locked(request.out)
    refuse_older(request.out, resume=request.how.resume, overwrite=request.how.overwrite)
    dataset = open_dataset(request.data, progress=progress)
    settings = {method: _try_settings(request, dataset, method) for method in request.methods}
    _refuse_own_folds(settings)
    splits = _choose_splits(request, dataset, settings[request.methods[0]])
    split = _choose_split(request, splits, dataset)
    digests, parameters = _try_models(request, settings, progress)
    files = dataset.find(dict.fromkeys((*splits.train, *splits.val, *dict(splits.items())[split])))
    plan = Plan(
        kind=kind,
        methods=request.methods,
        shots=request.shots,
        draws=request.draws,
        split=split,
        content=digest_content(files),
        backbones=digests,
        settings=settings,
    )
    return Series(request, dataset, splits, plan, split, parameters)


def train_and_score(
    series: Series,
    jobs: Sequence[Job],
    *,
    publish: Callable[[Sequence[Draw]], None],
    progress: Progress,
) -> tuple[Draw, ...]:
    """Open the folder of the series, train and score what is not there yet.

    Args:
        series: what the runs share.
        jobs: of the series, in the order of the work.
        publish: called with the outcomes so far after each run, and once if there is nothing to do.
        progress: shows a bar over all runs with the time left, and a line for each.

    Returns:
        One outcome per job, in their order.

    Raises:
        RunError: the folder holds a series with other settings, or another process trains there.
        DinosegError: a run failed; the error names it.
    """
    request, how = series.request, series.request.how
    work = Work(
        series.dataset,
        series.split,
        how,
        find_splits=lambda _: series.splits,
        read=lambda job: _read(series, job),
        describe=lambda draw: draw.describe(series.split),
    )
    with locked(request.out):
        open_plan(request.out, series.plan, series.splits, resume=how.resume, overwrite=how.overwrite)
        _tell(series, progress)
        return carry_out(work, jobs, publish=publish, progress=progress)


def _read(series: Series, job: Job) -> Draw:
    return read_draw(
        job.folder,
        job.settings,
        split=series.split,
        draw=job.settings.train.seed - series.request.how.seed,
        trained_parameters=series.parameters[job.settings.model.decoder.method],
    )


def _refuse_lists(request: Request) -> None:
    for name, items in (("methods", request.methods), ("shots", request.shots)):
        twice = sorted({str(item) for item in items if list(items).count(item) > 1})
        if twice or not items:
            found = f"{twice[0]} twice" if twice else "nothing"
            raise UsageError(f"the list of {name} names {found}; name each once, one at least")
    if request.draws < 1:
        raise UsageError(f"{request.draws} draws; 1 at least is accepted")


def _try_settings(request: Request, dataset: Dataset, method: str) -> RunSettings:
    """Settings of a method with the first seed; those of the last, the largest, are accepted too."""
    shots, splits = min(request.shots), request.how.splits
    _, first = (
        _compose(request, dataset, method, shots=shots, draw=draw, splits=splits)
        for draw in (request.draws - 1, 0)
    )
    return first


def _compose(
    request: Request, dataset: Dataset, method: str, *, shots: int, draw: int, splits: Path | str | None
) -> RunSettings:
    changes, seed = _changes_of(request, method), request.how.seed + draw
    how = replace(request.how, method=method, shots=shots, seed=seed, splits=splits, changes=changes)
    return compose_settings(dataset, [request.data], how)


def _changes_of(request: Request, method: str) -> dict[str, Any]:
    """The changes for all methods, then those for this one, whose keys begin with its name."""
    general, own = {}, {}
    for key, value in (request.how.changes or {}).items():
        name, colon, rest = key.rpartition(":")
        if not colon:
            general[key] = value
        elif name == method:
            own[rest] = value
        elif name not in request.methods:
            raise UsageError(
                f"setting {key!r} is for {name!r}, not among the methods: {', '.join(request.methods)}"
            )
    return general | own


def _refuse_own_folds(settings: Mapping[str, RunSettings]) -> None:
    folds = {item.fold for item in settings.values()}
    if len(folds) > 1:
        raise UsageError(
            f"setting 'fold' is {', '.join(map(str, sorted(folds)))}, depending on the method; all share one "
            "split: --set fold=N without a method's name"
        )


def _choose_splits(request: Request, dataset: Dataset, settings: RunSettings) -> Splits:
    """One split for all runs: a split that is drawn would otherwise follow the seed of each."""
    splits = resolve_splits(
        dataset,
        path=settings.splits,
        seed=request.how.seed,
        keep_first=max(request.shots) if request.how.shots_from == "first" else None,
        unit=request.how.shot_unit,
        fold=settings.fold,
    )
    check_splits(dataset, splits)
    for shots in request.shots:
        refuse_shots(dataset, splits.train, shots, unit=request.how.shot_unit)
    if request.how.shots_from == "first":
        fewest = draw_shots(dataset, splits.train, min(request.shots), unit=request.how.shot_unit, first=True)
        refuse_empty_shots(dataset, fewest)
    return splits


def _choose_split(request: Request, splits: Splits, dataset: Dataset) -> str:
    held = [name for name, ids in splits.items() if ids and name != "train"]
    wanted = request.split or ("test" if "test" in held else "val")
    if wanted not in ("test", "val"):
        raise UsageError(f"split {wanted!r} is not accepted; choose test or val")
    if wanted not in held:
        raise SplitError(
            f"the {wanted} split of {dataset.root} holds no case, so nothing can be scored; "
            f"make one with `dinoseg data split {dataset.root}`"
        )
    return wanted


def _try_models(
    request: Request, settings: Mapping[str, RunSettings], progress: Progress
) -> tuple[dict[str, str], dict[str, int]]:
    """Method -> digest of its backbone, and -> trained parameters; every model can be made."""
    digests, parameters = {}, {}
    for method, item in settings.items():
        frozen = open_backbone(item, accept_license=request.how.accept_license, progress=progress)
        with torch.random.fork_rng(devices=[]):
            model = Segmenter(item.model, frozen)
        if item.init is not None:
            begin_with(model, item.init, progress)
        digests[method] = frozen.digest
        parameters[method] = sum(parameter.numel() for parameter in model.decoder.parameters())
    return digests, parameters


def _tell(series: Series, progress: Progress) -> None:
    request, cases = series.request, dict(series.splits.items())[series.split]
    which = "" if request.split else " (no --split was given; test where it holds cases, else val)"
    progress.note(f"every run is scored on the {series.split} split, {len(cases)} cases{which}")
    if request.how.shots_from == "first" and request.draws > 1:
        progress.note("the first shots are the same cases in every draw: the spread is that of the seed")

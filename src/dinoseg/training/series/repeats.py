"""Many runs that belong together: trained one after the other, scored on one split, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from dinoseg.data import Dataset, open_dataset
from dinoseg.data.splits.shots import draw_shots, refuse_empty_shots, refuse_shots
from dinoseg.data.splits.splits import Splits, check_splits, resolve_splits
from dinoseg.errors import DinosegError, SplitError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.model.saved import SavedModel
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress
from dinoseg.training.fitting import digest_content, open_backbone, train_run
from dinoseg.training.runs.composition import compose_settings, require_device
from dinoseg.training.runs.locks import locked, refuse_locked
from dinoseg.training.series.outcomes import Draw, is_scored, is_trained, read_draw, report_folder
from dinoseg.training.series.plans import SPLITS, Plan, open_plan, refuse_older

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What a series of runs shares; the meaning of each is that of the argument of `train`.

    Attributes:
        changes: for all methods; a key such as "linear:train.lr" is for this method alone.
        split: to score; None is the test split where it holds cases, else the validation split.
        draws: trainings of each method and number of shots, with seeds from `seed` up.
    """

    data: Path
    out: Path
    methods: tuple[str, ...]
    shots: tuple[int, ...]
    draws: int
    backbone: str
    preset: Literal["paper", "default"]
    shots_from: Literal["random", "first"]
    shot_unit: Literal["case", "group"]
    split: Literal["test", "val"] | None
    splits: Path | None
    changes: Mapping[str, Any]
    seed: int
    device: str
    accept_license: bool
    resume: bool
    overwrite: bool


@dataclass(frozen=True)
class Job:
    """One run of a series: what is trained, and its folder within that of the series."""

    method: str
    shots: int
    draw: int
    folder: str

    @property
    def name(self) -> str:
        """How the run is called in messages."""
        return f"{self.method}, {self.shots} {'shot' if self.shots == 1 else 'shots'}, draw {self.draw}"


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
    refuse_locked(request.out)
    refuse_older(request.out, resume=request.resume, overwrite=request.overwrite)
    require_device(request.device)
    dataset = open_dataset(request.data)
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


def carry_out(
    series: Series,
    jobs: Sequence[Job],
    *,
    publish: Callable[[Sequence[Draw]], None],
    progress: Progress,
) -> tuple[Draw, ...]:
    """Open the folder of the series, train and score what is not there yet.

    Args:
        series: what the runs share.
        jobs: in the order of the work.
        publish: called with the outcomes so far after each run, and once if there is nothing to do.
        progress: shows a bar over all runs with the time left, and a line for each.

    Returns:
        One outcome per job, in their order.

    Raises:
        RunError: the folder holds a series with other settings, or another process trains there.
        DinosegError: a run failed; the error names it.
    """
    request = series.request
    with locked(request.out):
        open_plan(request.out, series.plan, series.splits, resume=request.resume, overwrite=request.overwrite)
        _tell(series, progress)
        return _carry_out_all(series, jobs, publish, progress)


def _carry_out_all(
    series: Series, jobs: Sequence[Job], publish: Callable[[Sequence[Draw]], None], progress: Progress
) -> tuple[Draw, ...]:
    out = series.request.out
    done = {job: _read(series, job) for job in jobs if is_scored(out / job.folder, split=series.split)}
    left = [job for job in jobs if job not in done]
    if done:
        progress.note(f"{len(done)} of {len(jobs)} runs are there already and stay as they are")
    for job in progress.track(left, total=len(left), label="all runs") if left else ():
        _carry_out_one(series, job, _Within(progress, job.name))
        done[job] = _read(series, job)
        progress.note(f"{job.name}: {done[job].describe(series.split)}")
        publish([done[other] for other in jobs if other in done])
    if not left:
        publish([done[job] for job in jobs])
    return tuple(done[job] for job in jobs)


def _carry_out_one(series: Series, job: Job, progress: Progress) -> None:
    request, run = series.request, series.request.out / job.folder
    try:
        if not is_trained(run):
            settings = _compose(
                request,
                series.dataset,
                job.method,
                shots=job.shots,
                seed=request.seed + job.draw,
                splits=request.out / SPLITS,
            )
            train_run(
                series.dataset,
                settings,
                series.splits,
                out=run,
                device=request.device,
                accept_license=request.accept_license,
                resume=(run / "config.yaml").is_file(),
                progress=progress,
            )
        evaluate(
            SavedModel(run, accept_license=request.accept_license, device=request.device),
            series.dataset,
            split=series.split,
            out=report_folder(run, split=series.split),
            overwrite=True,
            progress=progress,
        )
    except DinosegError as error:
        raise type(error)(f"{job.name}: {error}") from error


def _read(series: Series, job: Job) -> Draw:
    return read_draw(
        series.request.out / job.folder,
        split=series.split,
        method=job.method,
        shots=job.shots,
        draw=job.draw,
        seed=series.request.seed + job.draw,
        trained_parameters=series.parameters[job.method],
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
    seeds = (request.seed + request.draws - 1, request.seed)
    shots = min(request.shots)
    _, first = (
        _compose(request, dataset, method, shots=shots, seed=seed, splits=request.splits) for seed in seeds
    )
    return first


def _compose(
    request: Request, dataset: Dataset, method: str, *, shots: int, seed: int, splits: Path | None
) -> RunSettings:
    return compose_settings(
        dataset,
        request.data,
        method=method,
        backbone=request.backbone,
        preset=request.preset,
        shots=shots,
        shots_from=request.shots_from,
        shot_unit=request.shot_unit,
        splits=splits,
        changes=_changes_of(request, method),
        seed=seed,
    )


def _changes_of(request: Request, method: str) -> dict[str, Any]:
    """The changes for all methods, then those for this one, whose keys begin with its name."""
    general, own = {}, {}
    for key, value in request.changes.items():
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
        seed=request.seed,
        keep_first=max(request.shots) if request.shots_from == "first" else None,
        unit=request.shot_unit,
        fold=settings.fold,
    )
    check_splits(dataset, splits)
    for shots in request.shots:
        refuse_shots(dataset, splits.train, shots, unit=request.shot_unit)
    if request.shots_from == "first":
        fewest = draw_shots(dataset, splits.train, min(request.shots), unit=request.shot_unit, first=True)
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
        frozen = open_backbone(item, accept_license=request.accept_license, progress=progress)
        with torch.random.fork_rng(devices=[]):
            model = Segmenter(item.model, frozen)
        digests[method] = frozen.digest
        parameters[method] = sum(parameter.numel() for parameter in model.decoder.parameters())
    return digests, parameters


def _tell(series: Series, progress: Progress) -> None:
    request, cases = series.request, dict(series.splits.items())[series.split]
    which = "" if request.split else " (no --split was given; test where it holds cases, else val)"
    progress.note(f"every run is scored on the {series.split} split, {len(cases)} cases{which}")
    if request.shots_from == "first" and request.draws > 1:
        progress.note("the first shots are the same cases in every draw: the spread is that of the seed")


class _Within:
    """Progress of one of many runs: its name before every bar; no line per epoch, nothing told twice."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._name = name

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        yield from self._progress.track(items, total=total, label=f"{self._name}: {label}")

    def note(self, message: str) -> None:
        if not message.startswith("epoch "):  # metrics.csv of the run has them
            self._progress.note(f"{self._name}: {message}")

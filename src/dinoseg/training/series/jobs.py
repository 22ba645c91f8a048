"""Jobs: runs with settings and folders of their own, done one after the other and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from dinoseg.config.training import Training
from dinoseg.data import Dataset
from dinoseg.data.splits.splits import Splits
from dinoseg.errors import DinosegError
from dinoseg.evaluation import evaluate
from dinoseg.model.saved import SavedModel
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress
from dinoseg.training.fitting import train_run
from dinoseg.training.series.outcomes import is_scored, is_trained, report_folder

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A run that is to be there: any settings, and its folder.

    Attributes:
        settings: of the run.
        folder: its run folder.
        name: how it is called in messages.
    """

    settings: RunSettings
    folder: Path
    name: str


@dataclass(frozen=True)
class Work(Generic[R]):
    """What the jobs of a series share.

    Attributes:
        dataset: the data, read once.
        split: what is scored, "test" or "val"; None where the series scores all jobs together.
        how: device and licence.
        find_splits: the splits of a job, checked.
        read: what came of a finished job.
        describe: an outcome in one line.
    """

    dataset: Dataset
    split: str | None
    how: Training
    find_splits: Callable[[Job], Splits]
    read: Callable[[Job], R]
    describe: Callable[[R], str]


def carry_out(
    work: Work[R], jobs: Sequence[Job], *, publish: Callable[[Sequence[R]], None], progress: Progress
) -> tuple[R, ...]:
    """Train and score what is not there yet.

    Args:
        work: what the jobs share.
        jobs: in the order of the work.
        publish: called with the outcomes so far after each job, and once if there is nothing to do.
        progress: shows a bar over all jobs with the time left, and the name of each before its own.

    Returns:
        One outcome per job, in their order.

    Raises:
        DinosegError: a run failed; the error names it.
    """
    done = {job.folder: work.read(job) for job in jobs if _is_done(work, job)}
    left = [job for job in jobs if job.folder not in done]
    if done:
        progress.note(f"{len(done)} of {len(jobs)} runs are there already and stay as they are")
    for job in progress.track(left, total=len(left), label="all runs") if left else ():
        _carry_out_one(work, job, _Within(progress, job.name))
        done[job.folder] = work.read(job)
        progress.note(f"{job.name}: {work.describe(done[job.folder])}")
        publish(_in_order(done, jobs))
    if not left:
        publish(_in_order(done, jobs))
    return tuple(_in_order(done, jobs))


def _in_order(done: Mapping[Path, R], jobs: Sequence[Job]) -> list[R]:
    return [done[job.folder] for job in jobs if job.folder in done]


def _is_done(work: Work[R], job: Job) -> bool:
    return is_trained(job.folder) if work.split is None else is_scored(job.folder, split=work.split)


def _carry_out_one(work: Work[R], job: Job, progress: Progress) -> None:
    how = replace(work.how, resume=(job.folder / "config.yaml").is_file(), overwrite=False)
    try:
        if not is_trained(job.folder):
            splits = work.find_splits(job)
            train_run(work.dataset, job.settings, splits, job.folder, how=how, progress=progress)
        if work.split is not None:
            evaluate(
                SavedModel(job.folder, accept_license=how.accept_license, device=how.device),
                work.dataset,
                split=work.split,
                out=report_folder(job.folder, split=work.split),
                overwrite=True,
                progress=progress,
            )
    except DinosegError as error:
        raise type(error)(f"{job.name}: {error}") from error


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

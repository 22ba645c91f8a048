"""Files of one call of `predict`, computed by the workers of a Ray cluster.

Ray Data hands out a few files at a time, holds back while workers are busy, and gives what a lost worker had
to another one. The driver plans and keeps the lists; a worker loads the model once and writes the outputs,
each in one move, so that doing a file twice gives the same file.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dinoseg.config import Inference
from dinoseg.errors import RunError, UsageError
from dinoseg.inference.files.pipeline import Here
from dinoseg.inference.files.plan import Job
from dinoseg.inference.results.report import Failure, PredictedFile
from dinoseg.model.saved import SavedModel
from dinoseg.progress import Progress, Silent

LOCAL = "ray"
AUTO = "ray:auto"
TRIES = 3  # of a file whose worker is lost
MOST_AT_ONCE = 8  # files of one task
_ADDRESS = re.compile(r"ray:auto|ray://[\w.-]+:\d+", re.ASCII)


@dataclass(frozen=True)
class OnRay:
    """A runner whose workers are actors of Ray, each with a model of its own.

    Attributes:
        model: as it is saved, in a place that every worker sees.
        workers: how many.
        gpus: of each worker; a share such as 0.5 lets two have one.
        threads: cores of each worker.
        cluster: "ray" for workers on this machine, "ray://HOST:PORT" for a cluster that is reached from
            outside, "ray:auto" on one of its machines.
    """

    model: SavedModel
    workers: int = 2
    gpus: float = 0.0
    threads: int = 1
    cluster: str = LOCAL

    def __post_init__(self) -> None:
        if self.cluster != LOCAL and not _ADDRESS.fullmatch(self.cluster):
            raise UsageError(
                f"cluster {self.cluster!r}: accepted are 'ray' for workers on this machine, "
                "'ray://HOST:PORT', and 'ray:auto' on a machine of a cluster"
            )
        if self.workers < 1 or self.threads < 1 or self.gpus < 0:
            raise UsageError(
                f"workers and threads are at least 1, gpus at least 0; given {self.workers}, {self.threads} "
                f"and {self.gpus:g}"
            )

    def run(
        self, jobs: Sequence[Job], how: Inference, out: Path, progress: Progress
    ) -> Iterator[PredictedFile | Failure]:
        """Yield what came of each job, as it comes; a file that costs its worker again and again fails."""
        if not jobs:
            return
        with _connected(self.cluster) as ray:
            left = dict(enumerate(jobs))
            at_once = min(MOST_AT_ONCE, max(1, len(jobs) // (4 * self.workers)))
            # What a lost worker had may be the fault of one file: the second time each is alone.
            for size in (at_once, 1):
                for index, outcome in self._compute(ray, left, how, out, size):
                    del left[index]
                    if isinstance(outcome, Failure):
                        progress.note(outcome.reason)
                    yield outcome
                if not left:
                    return
        for job in left.values():
            lost = Failure(
                job.source,
                f"{job.source}: its worker was lost {TRIES} times; try it alone, without --cluster",
            )
            progress.note(lost.reason)
            yield lost

    def _compute(
        self, ray: Any, jobs: dict[int, Job], how: Inference, out: Path, size: int
    ) -> Iterator[tuple[int, PredictedFile | Failure]]:
        rows = ray.data.from_items(
            [{"index": index, "job": job} for index, job in jobs.items()],
            override_num_blocks=-(-len(jobs) // size),
        )
        done = rows.map_batches(
            Worker,
            fn_constructor_args=(self.model, how, out.absolute(), self.threads),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(jobs))),
            num_cpus=self.threads,
            num_gpus=self.gpus,
            max_task_retries=TRIES - 1,
        )
        for row in done.iter_rows():
            yield int(row["index"]), row["outcome"]


class Worker:
    """Loads the model once, then computes the jobs that it is handed, one batch after another."""

    def __init__(self, model: SavedModel, how: Inference, out: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._how = how
        self._out = out
        self._here = Here(model.open(), workers=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The outcomes of the jobs in `batch`, with their numbers."""
        indices = {job.source: int(index) for index, job in zip(batch["index"], batch["job"], strict=True)}
        found = self._here.run(list(batch["job"]), self._how, self._out, Silent())
        outcomes = {indices[outcome.source]: outcome for outcome in found}
        values = np.empty(len(outcomes), dtype=object)
        values[:] = list(outcomes.values())
        return {"index": np.array(list(outcomes), dtype=np.int64), "outcome": values}


@contextmanager
def _connected(cluster: str) -> Iterator[Any]:
    """Ray, connected as the person is already, or for the time of the block."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"--cluster needs Ray ({error}); run pip install 'dinoseg[ray]'") from error
    own = not ray.is_initialized()
    if own:
        address = None if cluster == LOCAL else "auto" if cluster == AUTO else cluster
        try:
            ray.init(
                address=address,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level="error",
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"no cluster of Ray could be reached at {cluster!r} ({first})") from error
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.max_errored_blocks
    context.enable_progress_bars, context.max_errored_blocks = False, -1
    try:
        yield ray
    finally:
        context.enable_progress_bars, context.max_errored_blocks = before
        logger.setLevel(level)
        if own:
            ray.shutdown()

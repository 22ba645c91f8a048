"""`Jobs`: work in the background, one computation at a time, a few waiting, results kept for a while."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinoseg.errors import DinosegError
from dinoseg.serving.answers import FINAL, JobAnswer, JobKind, JobState, ProgressAnswer
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import Refusal, word_unexpected
from dinoseg.serving.scratch import measure_folder, remove_folder

_SWEEP = 15.0  # seconds between two looks at what is old
_PATIENCE = 5.0  # seconds that the end of the server waits for work to stop

Result = Mapping[str, Any]


class CancelledError(Exception):
    """A job was cancelled; raised in its work, by `Reporter.check`."""


class Reporter:
    """What work tells and asks while it runs.

    Args:
        job: whose work it is.
        seconds: after which the work is given up; None for never.
    """

    def __init__(self, job: Job, seconds: float | None) -> None:
        self._job = job
        self._seconds = seconds
        self._started = time.monotonic()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._job.stopping.is_set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            CancelledError: the job was cancelled.
            DinosegError: it has taken longer than it may.
        """
        if self.cancelled:
            raise CancelledError
        if self._seconds is not None and time.monotonic() - self._started > self._seconds:
            raise DinosegError(f"it took longer than {self._seconds:g} s; raise --job-limit, or send less")

    def report(self, done: int, total: int) -> None:
        """Tell how far the work is; raises as `check`."""
        self.check()
        passed = time.monotonic() - self._started
        left = round(passed / done * (total - done), 1) if done else None
        self._job.change(progress=ProgressAnswer(done=done, total=total, eta_s=left))

    def tell(self, message: str) -> None:
        """Say one line about what is being done."""
        self._job.change(message=message)


Work = Callable[[Reporter], Result]


@dataclass(eq=False)
class Job:
    """One piece of work; `answer` is what is known of it, which is replaced and never changed.

    Attributes:
        answer: for clients.
        folder: its files; None where it has none.
        stopping: set when it is cancelled.
        finished: when it ended, on the monotonic clock; None before.
        bytes: of its files, once it ended.
    """

    answer: JobAnswer
    folder: Path | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    finished: float | None = None
    bytes: int = 0
    _watchers: set[Callable[[], object]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        """Its name, which nobody can guess."""
        return self.answer.id

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.answer.state in FINAL

    def change(self, **fields: Any) -> None:
        """Replace fields of the answer and tell who watches; nothing once it is final."""
        with self._lock:
            if self.is_final:
                return
            self.answer = self.answer.model_copy(update=fields)
            if self.is_final:
                self.finished = time.monotonic()
            watchers = [*self._watchers]
        for tell in watchers:
            with suppress(RuntimeError):  # the loop of who watched is closed
                tell()

    @contextmanager
    def watched(self, tell: Callable[[], object]) -> Iterator[None]:
        """Call `tell`, in any thread, at every change inside the block."""
        with self._lock:
            self._watchers.add(tell)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.discard(tell)


class Jobs:
    """All jobs of a server: one thread computes, in the order in which they came.

    Args:
        options: how many may wait, and how long results are kept.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self.closing = threading.Event()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[tuple[Job, Work]] = deque()
        self._condition = threading.Condition()
        self._worker = threading.Thread(target=self._run, name="compute", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return len(self._waiting)

    @property
    def is_running(self) -> bool:
        """Whether the compute thread is there."""
        return self._worker.is_alive() and not self.closing.is_set()

    def refuse_full(self) -> None:
        """Raise where no job could be submitted.

        Raises:
            Refusal: 429 where too many wait, 503 where the server is ending.
        """
        if self.closing.is_set():
            raise Refusal(503, "the server is ending", retry_after=10)
        if self.waiting >= self.options.queue:
            raise Refusal(
                429,
                f"{self.waiting} jobs are waiting, which is the most; try again in some seconds",
                retry_after=5,
            )

    def submit(self, kind: JobKind, work: Work, *, folder: Path | None = None, beside: bool = False) -> Job:
        """Let work be done.

        Args:
            kind: what it is.
            work: called once; what it returns is the job's result.
            folder: the job's files, removed when it is forgotten.
            beside: it waits for something else, such as a process, and gets a thread of its own.

        Raises:
            Refusal: as `refuse_full`.
        """
        answer = JobAnswer(id=secrets.token_hex(12), kind=kind, state="queued")
        job = Job(answer, folder)
        with self._condition:
            if not beside:
                self.refuse_full()
                self._waiting.append((job, work))
            self._jobs[job.id] = job
            self._condition.notify_all()
        if beside:
            threading.Thread(target=self._do, args=(job, work, None), name=kind, daemon=True).start()
        return job

    def find(self, name: str) -> Job:
        """The job of an id.

        Raises:
            Refusal: 404.
        """
        self._forget_old()
        job = self._jobs.get(name)
        if job is None:
            minutes = self.options.kept_seconds / 60
            raise Refusal(404, f"no such job; results are kept for {minutes:g} minutes")
        return job

    def list(self) -> list[Job]:
        """All jobs that are known, the oldest first."""
        with self._condition:
            return [*self._jobs.values()]

    def cancel(self, name: str) -> Job:
        """Stop a job, or forget the results of a finished one; its files are removed.

        Raises:
            Refusal: 404.
        """
        job = self.find(name)
        job.stopping.set()
        with self._condition:
            was_waiting = any(each is job for each, _ in self._waiting)
            self._waiting = deque(pair for pair in self._waiting if pair[0] is not job)
        if was_waiting:
            self._end(job, "cancelled")
        elif job.is_final:
            self._forget(job)
        return job

    def stop(self) -> None:
        """Take no more and cancel everything, without waiting for it."""
        self.closing.set()
        with self._condition:
            waiting = [job for job, _ in self._waiting]
            self._waiting.clear()
            self._condition.notify_all()
        for job in waiting:
            self._end(job, "cancelled")
        for job in self.list():
            job.stopping.set()

    def close(self) -> None:
        """As `stop`, and wait a little for it."""
        self.stop()
        self._worker.join(_PATIENCE)
        for job in self.list():
            job.change(state="cancelled")
            self._forget(job)

    def _run(self) -> None:
        while not self.closing.is_set():
            with self._condition:
                if not self._waiting:
                    self._condition.wait(_SWEEP)
                found = self._waiting.popleft() if self._waiting else None
            if found is not None:
                self._do(*found, self.options.job_seconds)
            self._forget_old()

    def _do(self, job: Job, work: Work, seconds: float | None) -> None:
        reporter = Reporter(job, seconds)
        job.change(state="running")
        try:
            reporter.check()
            result = work(reporter)
        except CancelledError:
            self._end(job, "cancelled")
        except DinosegError as error:
            self._end(job, "failed", error=hide_folder(str(error), job.folder))
        except Exception as error:
            self._end(job, "failed", error=word_unexpected(error))
        else:
            if job.stopping.is_set():
                self._end(job, "cancelled")
            else:
                self._end(job, "done", result=dict(result))

    def _end(self, job: Job, state: JobState, **fields: Any) -> None:
        if job.folder is not None and state != "done":
            remove_folder(job.folder)
        job.bytes = measure_folder(job.folder) if job.folder is not None else 0
        job.change(state=state, **fields)

    def _forget(self, job: Job) -> None:
        with self._condition:
            self._jobs.pop(job.id, None)
        if job.folder is not None:
            remove_folder(job.folder)

    def _forget_old(self) -> None:
        now = time.monotonic()
        finished = [job for job in self.list() if job.finished is not None]
        finished.sort(key=lambda job: job.finished or now)
        count, total = len(finished), sum(job.bytes for job in finished)
        for job in finished:
            is_old = now - (job.finished or now) > self.options.kept_seconds
            is_much = count > self.options.kept or total > self.options.kept_bytes
            if is_old or (is_much and job is not finished[-1]):
                self._forget(job)
                count, total = count - 1, total - job.bytes


def hide_folder(text: str, folder: Path | None) -> str:
    """An error without the place where the server keeps its files."""
    if folder is None:
        return " ".join(text.split())
    for place in (folder / "input", folder):
        text = text.replace(f"{place}/", "").replace(str(place), "the upload")
    return " ".join(text.split())

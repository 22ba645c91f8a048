"""Jobs: one computation at a time, a bounded queue, progress, cancelling, and results that are forgotten."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from dinoseg.errors import DataError, DiskFullError
from dinoseg.serving.jobs import Job, Jobs, Reporter
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import Refusal
from tests.inference.models import Threshold, make_glass
from tests.serving.servers import draw_png, list_left, post, serving, wait_until


class Slow(Threshold):
    """Waits at every batch until it is let go."""

    go = threading.Event()
    begun = threading.Event()

    def decode(self, features: Any, image: Any) -> Any:
        self.begun.set()
        self.go.wait(20)
        return super().decode(features, image)


@pytest.fixture
def gate() -> Iterator[None]:
    """Slow models wait until the test lets them go."""
    Slow.go.clear()
    Slow.begun.clear()
    yield
    Slow.go.set()


@pytest.fixture
def jobs() -> Iterator[Callable[..., Jobs]]:
    made: list[Jobs] = []

    def make(**options: Any) -> Jobs:
        made.append(Jobs(ServeOptions(**options)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def _finish(job: Job) -> Job:
    wait_until(lambda: job.is_final)
    return job


def _events(client: TestClient, job: str) -> list[dict[str, Any]]:
    lines = client.get(f"/api/v1/jobs/{job}/events").text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_one_job_is_computed_at_a_time_in_order(jobs: Callable[..., Jobs]) -> None:
    queue, running, order = jobs(), [], []

    def work(number: int) -> Callable[[Reporter], dict[str, Any]]:
        def run(reporter: Reporter) -> dict[str, Any]:
            running.append(number)
            assert running == [number]
            time.sleep(0.01)
            order.append(running.pop())
            return {"number": number}

        return run

    made = [queue.submit("predict", work(number)) for number in range(5)]
    assert [_finish(job).answer.state for job in made] == ["done"] * 5
    assert order == [0, 1, 2, 3, 4]
    assert made[3].answer.result == {"number": 3}


def test_what_waits_for_a_process_does_not_hold_the_queue(jobs: Callable[..., Jobs]) -> None:
    queue, go = jobs(queue=1), threading.Event()

    def wait(reporter: Reporter) -> dict[str, Any]:
        go.wait(20)
        return {}

    training = queue.submit("train", wait, beside=True)
    assert _finish(queue.submit("predict", lambda reporter: {})).answer.state == "done"
    assert training.answer.state == "running"
    go.set()
    assert _finish(training).answer.state == "done"


def test_errors_are_one_line_without_the_folder(
    jobs: Callable[..., Jobs], tmp_path: Path, caplog: Any
) -> None:
    def fail(error: Exception) -> Callable[[Reporter], dict[str, Any]]:
        def run(reporter: Reporter) -> dict[str, Any]:
            raise error

        return run

    folder = tmp_path / "job"
    folder.mkdir()
    error = DataError(f"{folder}/input/a.png is\n  truncated; see {folder}")
    job = _finish(jobs().submit("predict", fail(error), folder=folder))
    assert (job.answer.state, job.answer.error) == ("failed", "a.png is truncated; see the upload")
    assert not folder.exists()
    job = _finish(jobs().submit("predict", fail(DiskFullError("no room"))))
    assert job.answer.error == "no room"
    job = _finish(jobs().submit("predict", fail(ZeroDivisionError("secret of the code"))))
    assert job.answer.error == "unexpected ZeroDivisionError; the log of the server says more"
    assert "secret of the code" in caplog.text


def test_work_that_takes_too_long_is_given_up(jobs: Callable[..., Jobs]) -> None:
    def crawl(reporter: Reporter) -> dict[str, Any]:
        for done in range(1000):
            reporter.report(done, 1000)
            time.sleep(0.01)
        return {}

    job = _finish(jobs(job_seconds=0.05).submit("predict", crawl))
    assert (job.answer.state, job.answer.error) == (
        "failed",
        "it took longer than 0.05 s; raise --job-limit, or send less",
    )
    assert job.answer.progress is not None
    assert job.answer.progress.total == 1000


def test_results_are_forgotten_by_age_number_and_size(jobs: Callable[..., Jobs], tmp_path: Path) -> None:
    def write(folder: Path) -> Callable[[Reporter], dict[str, Any]]:
        def run(reporter: Reporter) -> dict[str, Any]:
            (folder / "result").write_bytes(bytes(1000))
            return {}

        return run

    def make(queue: Jobs, count: int) -> list[Path]:
        folders = []
        for number in range(count):
            folders.append(tmp_path / f"{id(queue)}-{number}")
            folders[-1].mkdir()
            _finish(queue.submit("predict", write(folders[-1]), folder=folders[-1]))
        return folders

    by_number, by_size = make(jobs(kept=2), 4), make(jobs(kept_bytes=1500), 3)
    wait_until(lambda: not by_number[1].exists() and not by_size[1].exists())
    assert [folder.exists() for folder in by_number] == [False, False, True, True]
    assert [folder.exists() for folder in by_size] == [False, False, True]
    queue = jobs(kept_seconds=0.05)
    (old,) = make(queue, 1)
    (job,) = queue.list()
    time.sleep(0.1)
    with pytest.raises(Refusal) as refused:
        queue.find(job.id)
    assert refused.value.status_code == 404
    assert not old.exists()


def test_the_end_cancels_and_removes_everything(jobs: Callable[..., Jobs], tmp_path: Path) -> None:
    def wait(reporter: Reporter) -> dict[str, Any]:
        while True:
            reporter.check()
            time.sleep(0.005)

    queue = jobs()
    folders = [tmp_path / str(number) for number in range(3)]
    made = []
    for folder in folders:
        folder.mkdir()
        made.append(queue.submit("predict", wait, folder=folder))
    queue.close()
    assert [job.answer.state for job in made] == ["cancelled"] * 3
    assert not any(folder.exists() for folder in folders)
    with pytest.raises(Refusal, match="the server is ending"):
        queue.submit("predict", wait)


def test_a_full_queue_refuses_and_says_when_to_come_back(gate: None) -> None:
    with serving({"slow": make_glass(decoder=Slow)}, queue=2) as client:
        first = [post(client, ("a.png", draw_png()), query="").json()["id"]]
        assert Slow.begun.wait(20)
        first += [post(client, ("a.png", draw_png()), query="").json()["id"] for _ in range(2)]
        before = list_left(client)
        answer = post(client, ("a.png", draw_png()), query="")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert answer.json() == {"detail": "2 jobs are waiting, which is the most; try again in some seconds"}
        assert list_left(client) == before
        states = [client.get(f"/api/v1/jobs/{job}").json()["state"] for job in first]
        assert states == ["running", "queued", "queued"]
        Slow.go.set()
        assert [_events(client, job)[-1]["state"] for job in first] == ["done"] * 3


def test_a_running_and_a_waiting_job_are_cancelled(gate: None) -> None:
    with serving({"slow": make_glass(decoder=Slow)}) as client:
        running = post(client, ("a.png", draw_png(64, 64)), query="", window="32").json()["id"]
        assert Slow.begun.wait(20)
        waiting = post(client, ("a.png", draw_png()), query="").json()["id"]
        assert client.delete(f"/api/v1/jobs/{waiting}").json()["state"] == "cancelled"
        assert client.delete(f"/api/v1/jobs/{running}").status_code == 200
        Slow.go.set()
        events = _events(client, running)
        assert events[-1]["state"] == "cancelled"
        assert events[-1]["result"] is None
        assert list_left(client) == []
        assert post(client, ("a.png", draw_png())).json()["state"] == "done"


def test_events_follow_a_job_to_its_end(gate: None) -> None:
    with serving({"slow": make_glass(decoder=Slow)}) as client:
        job = post(client, ("a.png", draw_png(64, 64)), query="", window="32").json()["id"]
        assert Slow.begun.wait(20)
        threading.Timer(0.3, Slow.go.set).start()
        events = _events(client, job)
    assert [event["state"] for event in events[:1] + events[-1:]] == ["running", "done"]
    assert events[0]["message"] == "windows"
    done = [event["progress"]["done"] for event in events]
    assert done == sorted(done)
    assert events[-1]["result"]["outputs"]


def test_wait_answers_at_once_when_it_is_over_and_with_the_job_when_not(gate: None) -> None:
    with serving({"slow": make_glass(decoder=Slow)}) as client:
        answer = post(client, ("a.png", draw_png()), query="wait=0.1")
        assert (answer.status_code, [*answer.json()]) == (202, ["id"])
        assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"
        Slow.go.set()
        assert post(client, ("a.png", draw_png()), query="wait=20").json()["state"] == "done"
        assert post(client, ("a.png", draw_png()), query="wait=61").status_code == 422


def test_jobs_have_names_that_nobody_guesses(jobs: Callable[..., Jobs]) -> None:
    queue = jobs()
    names = {queue.submit("predict", lambda reporter: {}).id for _ in range(10)}
    assert len(names) == 10
    assert all(len(bytes.fromhex(name)) == 12 for name in names)
    with pytest.raises(Refusal, match="no such job"):
        queue.find("0" * 24)


def test_memory_of_results_is_bounded(jobs: Callable[..., Jobs]) -> None:
    queue = jobs(kept=8)
    for _ in range(50):
        _finish(queue.submit("predict", lambda reporter: {"pixels": np.zeros(10).tolist()}))
    wait_until(lambda: len(queue.list()) == 8)

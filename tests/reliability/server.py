"""A process that has imported everything, and forks a child for each command: a kill costs only that.

Reads lines of JSON, {"words": [...], "after": seconds or null, "home": folder}, and answers each with
{"code": ..., "seconds": ..., "error": ...}; a child that outlives `after` is killed, and its code is -9.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time


def _import_all() -> None:

    import dinoseg.cli.walkthrough
    import dinoseg.data.conversion.conversion
    import dinoseg.evaluation.page
    import dinoseg.model.loading
    import dinoseg.model.opening
    import dinoseg.training.learning.trainer
    import dinoseg.training.series.curve  # noqa: F401


def _serve(line: str) -> dict[str, object]:
    asked = json.loads(line)
    os.environ["DINOSEG_HOME"] = asked["home"]
    with tempfile.TemporaryFile("w+") as error:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _run(asked["words"], error.fileno())
        code = _wait(child, asked["after"])
        error.seek(0)
        return {"code": code, "seconds": time.monotonic() - started, "error": error.read()}


def _run(words: list[str], error: int) -> None:
    code = 70
    try:
        os.dup2(error, 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        from dinoseg.cli import main

        code = main(words)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, after: float | None) -> int:
    end = None if after is None else time.monotonic() + after
    while True:
        done, status = os.waitpid(child, 0 if end is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            end = None
        else:
            time.sleep(0.0005)


if __name__ == "__main__":
    _import_all()
    answers = os.fdopen(os.dup(1), "w")
    answers.write("ready\n")
    answers.flush()
    for request in sys.stdin:
        answers.write(json.dumps(_serve(request)) + "\n")
        answers.flush()

"""One command as several processes: started here, or by torchrun or SLURM, as the environment says."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from dinoseg.cli.output import FAILED, INTERRUPTED, report_error
from dinoseg.errors import UsageError

#: The command line that is running, to be started again in other processes.
WORDS: ContextVar[Sequence[str]] = ContextVar("WORDS", default=())
GRACE = 10.0  # seconds for the first process to say what another has found wrong
PAUSE = 0.1
PREFIX = "error: "


@dataclass(frozen=True)
class Launch:
    """How many processes a command is, and whether this one has to start them."""

    devices: int
    nodes: int
    starts: bool


def find_launch(devices: int | None, nodes: int | None) -> Launch:
    """What was asked for, filled in with what torchrun says of the processes that it started.

    Raises:
        UsageError: several machines were asked for, and nobody started this process on each.
    """
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if torchrun:
        local, world = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        return Launch(devices or local, nodes or max(1, world // local), starts=False)
    count = (devices or 1) * (nodes or 1)
    slurm = "SLURM_PROCID" in os.environ and os.environ.get("SLURM_NTASKS") == str(count)
    if count > 1 and not slurm and (nodes or 1) > 1:
        raise UsageError(
            f"--nodes {nodes} needs a process on each machine; start them with `torchrun --nnodes {nodes} "
            f"--nproc-per-node {devices or 1} --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m dinoseg "
            "train ...`, or with srun"
        )
    return Launch(devices or 1, nodes or 1, starts=count > 1 and not slurm)


def start(count: int, *, threads: int | None, as_json: bool) -> int:
    """Run the command line that is running in `count` processes on this machine.

    The first one speaks for all. When one ends with an error, or is killed, all are ended.

    Args:
        count: of processes.
        threads: cores of each; an equal part of all if not given.
        as_json: of the command: an error is an object as well.

    Returns:
        The exit code of the command.
    """
    port = _find_port()
    share = threads or max(1, (os.cpu_count() or 1) // count)
    team = [_Process.start(rank, count, port, share) for rank in range(count)]
    interrupted = False

    def forward(number: int, _: object) -> None:
        nonlocal interrupted
        interrupted = True
        for each in team:
            each.send(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        failed = _watch(team)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if failed is None:
        return 0
    code = failed.process.returncode
    if interrupted:
        return INTERRUPTED
    if failed.rank or code < 0:  # else it has spoken itself
        reason = failed.errors[-1] if failed.errors else _word_end(code)
        message = f"process {failed.rank} of {count}: {reason}; all were ended"
        report_error(f"{message}; run the same command with --resume to go on", FAILED, as_json=as_json)
    return code if code > 0 else FAILED


@dataclass
class _Process:
    rank: int
    process: subprocess.Popen[bytes]
    errors: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, rank: int, count: int, port: int, threads: int) -> _Process:
        given = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": count,
            "LOCAL_WORLD_SIZE": count,
            "RANK": rank,
            "LOCAL_RANK": rank,
            "GROUP_RANK": 0,
            "TORCHELASTIC_RUN_ID": "dinoseg",
            "OMP_NUM_THREADS": threads,
        }
        environment = {**os.environ, **{name: str(value) for name, value in given.items()}}
        words = [sys.executable, "-m", "dinoseg", *WORDS.get()]
        process = subprocess.Popen(
            words,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches it through `forward`, once
            stdout=subprocess.DEVNULL if rank else None,
            stderr=subprocess.PIPE if rank else None,
        )
        started = cls(rank, process)
        if rank:
            threading.Thread(target=started._listen, daemon=True).start()
        return started

    def _listen(self) -> None:
        for line in self.process.stderr or ():
            text = line.decode("utf-8", "replace").rstrip()
            if text.startswith(PREFIX):
                self.errors.append(text.removeprefix(PREFIX))

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


def _watch(team: Sequence[_Process]) -> _Process | None:
    """Wait for all; the first that ended with an error, or None, when none is left."""
    failed = None
    while failed is None and any(each.process.poll() is None for each in team):
        failed = next((each for each in team if each.process.poll()), None)
        time.sleep(PAUSE)
    failed = failed or next((each for each in team if each.process.returncode), None)
    if failed is None:
        return None
    first, code = team[0], failed.process.returncode
    if code > 0:  # what is wrong with the data is found by all: let the first say it
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.process.wait(GRACE)
    for each in team:  # whatever they write is whole at any moment
        each.send(signal.SIGKILL)
        each.process.wait()
    return first if first.process.returncode == code > 0 else failed


def _word_end(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _find_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

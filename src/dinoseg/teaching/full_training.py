"""Training any method on what was accepted: `dinoseg train` in a process of its own, watched by its files."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dinoseg.config import from_yaml
from dinoseg.config.training import DEFAULT_METHOD
from dinoseg.errors import DinosegError, RunError
from dinoseg.methods import find_method
from dinoseg.model.settings import RunSettings
from dinoseg.teaching.exporting import export
from dinoseg.teaching.project import Project

_PAUSE = 0.5  # seconds between two looks at its files
_PATIENCE = 20.0  # seconds that it gets to end by itself


@dataclass(frozen=True)
class TrainingPlan:
    """What is to be trained.

    Attributes:
        method: one of `dinoseg.METHODS`.
        preset: "default" or "paper".
        epochs: instead of those of the preset.
    """

    method: str = DEFAULT_METHOD
    preset: str = "default"
    epochs: int | None = None


def train_fully(
    project: Project,
    plan: TrainingPlan,
    *,
    report: Callable[[int, int], None],
    is_cancelled: Callable[[], bool],
) -> Path:
    """Export what is accepted, train on it, and wait for the end.

    Args:
        project: a teaching project.
        plan: what is to be trained.
        report: called with how many epochs are done, and of how many.
        is_cancelled: asked twice a second; once it is true the process ends.

    Returns:
        The run folder; what a cancelled training left there can be resumed.

    Raises:
        UsageError: nothing was accepted, or the method is unknown.
        RunError: the training failed, with its own last line, or was cancelled.
    """
    find_method(plan.method)
    name = _choose_name(project, plan.method)
    data = export(project, name, layout="nnunet" if _is_volumes(project) else "folder")
    run, log = project.place / "runs" / name, project.place / "runs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = word_command(plan, data.folder, run, project.backbone)
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
        try:
            _watch(process, run, report, is_cancelled)
        finally:
            _end(process)
    if process.returncode:
        raise RunError(f"the training failed: {_read_last_line(log)}")
    return run


def word_command(plan: TrainingPlan, data: Path, run: Path, backbone: str) -> list[str]:
    """The command that trains."""
    command = [sys.executable, "-m", "dinoseg", "train", str(data), "--out", str(run)]
    command += ["--method", plan.method, "--preset", plan.preset, "--backbone", backbone]
    return command if plan.epochs is None else [*command, "--epochs", str(plan.epochs)]


def _watch(
    process: subprocess.Popen[bytes],
    run: Path,
    report: Callable[[int, int], None],
    is_cancelled: Callable[[], bool],
) -> None:
    while process.poll() is None:
        if is_cancelled():
            _end(process)
            raise RunError(f"cancelled; go on with `dinoseg train … --out {run} --resume`")
        total = _count_epochs(run)
        if total:
            report(min(_count_rows(run / "metrics.csv"), total), total)
        time.sleep(_PAUSE)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _count_epochs(run: Path) -> int | None:
    try:
        return from_yaml(RunSettings, (run / "config.yaml").read_text(encoding="utf-8")).train.epochs
    except (DinosegError, OSError):  # not written yet
        return None


def _count_rows(path: Path) -> int:
    try:
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:  # not written yet
        return 0


def _read_last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    told = [line for line in lines if line.startswith("error:")] or [line for line in lines if line]
    return told[-1].removeprefix("error: ") if told else f"it said nothing; see {log}"


def _choose_name(project: Project, method: str) -> str:
    """METHOD-1, METHOD-2 and so on, the first that is free."""
    number = 1
    while any((project.place / part / f"{method}-{number}").exists() for part in ("exports", "runs")):
        number += 1
    return f"{method}-{number}"


def _is_volumes(project: Project) -> bool:
    return any(subject.is_volume for subject in project.subjects if project.drawings.list_accepted(subject))

"""One process at a time trains in a folder, and a killed one stands in nobody's way."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from dinoseg.errors import OutputError, RunError
from dinoseg.outputs import claim, is_temporary, remove_ours, write_text
from dinoseg.training.runs import locks
from dinoseg.training.runs.locks import LOCK, locked, refuse_locked

# `locked` without the package around it: a process that imports torch takes ten times as long to start.
HOLD = f"""
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

spec = spec_from_file_location("locks", {locks.__file__!r})
module = module_from_spec(spec)
spec.loader.exec_module(module)
with module.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that holds a folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    with hold(run) as process:
        with pytest.raises(RunError, match=f"another process is training in {run}; wait for its end, or"):
            refuse_locked(run)
        with pytest.raises(RunError, match="another process"), locked(run):
            pytest.fail("two processes in one folder")
        with locked(tmp_path / "runs" / "two"):  # another folder is free
            pass
        process.communicate("")
    assert list(run.iterdir()) == []
    with locked(run):
        assert [path.name for path in run.iterdir()] == [LOCK]
    assert list(run.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free_and_no_content(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        process.kill()
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert all(is_temporary(path) for path in tmp_path.iterdir())  # what the checks of folders ask
    refuse_locked(tmp_path)
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "run"):
        raise ZeroDivisionError
    with locked(tmp_path / "run"):
        pass


def test_clearing_keeps_the_lock(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with locked(run):
        claim(run)
        write_text(run / "model" / "config.json", "{}")
        write_text(run / "metrics.csv", "")
        remove_ours(run)
        assert [path.name for path in run.iterdir()] == [LOCK]
        with pytest.raises(RunError, match="another process"):
            refuse_locked(run)


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(errno.ENOLCK, "no locks")])
def test_a_disk_without_locks_is_no_obstacle(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(OutputError, match="could not be opened for training: a part of its path is a file"),
        locked(tmp_path / "file" / "run"),
    ):
        pytest.fail("no folder, no run")
    assert (tmp_path / "file").read_text() == "mine"

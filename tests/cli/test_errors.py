"""How a command ends when something is wrong: exit code, one line, one object with --json."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dinoseg.data
import dinoseg.errors
from dinoseg.errors import DinosegError
from tests.cli.conftest import Run

KINDS = {
    "DinosegError": 1,
    "OutputError": 1,
    "DiskFullError": 1,
    "RunError": 1,
    "UsageError": 2,
    "ConfigError": 2,
    "DataError": 3,
    "FileFormatError": 3,
    "LayoutError": 3,
    "LabelError": 3,
    "SplitError": 3,
    "WeightsError": 4,
    "LicenseError": 4,
}
BEGIN = "splitting folder\n"  # what the command says first
GO_ON = {"DiskFullError": ", then run the same command again"}


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(dinoseg.data, "open_dataset", fail)


def test_every_kind_of_error_is_tested() -> None:
    kinds = {name for name, kind in vars(dinoseg.errors).items() if isinstance(kind, type)}
    assert kinds == set(KINDS)


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_error_is_one_line_and_an_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    _raise(monkeypatch, getattr(dinoseg.errors, kind)("this is\n  wrong; do that"))
    ended = run("data", "split", "folder")
    assert ended.code == code
    assert ended.err == f"{BEGIN}error: this is wrong; do that{GO_ON.get(kind, '')}\n"
    assert ended.out == ""


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_error_with_json_is_one_object(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    _raise(monkeypatch, getattr(dinoseg.errors, kind)("wrong"))
    ended = run("data", "split", "folder", "--json")
    assert ended.code == code
    message = f"wrong{GO_ON.get(kind, '')}"
    assert ended.json == {"error": message, "exit_code": code}
    assert ended.error == message


def test_debug_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, DinosegError("wrong"))
    ended = run("data", "split", "folder", "--debug")
    assert ended.code == 1
    assert ended.err.startswith(f"{BEGIN}Traceback (most recent call last)")
    assert ended.error == "wrong"


def test_unexpected_error_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, ZeroDivisionError("division\nby zero"))
    ended = run("data", "split", "folder")
    assert ended.code == 1
    said = "error: unexpected ZeroDivisionError: division by zero; run again with --debug\n"
    assert ended.err == f"{BEGIN}{said}"


def test_interrupt_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, KeyboardInterrupt())
    ended = run("data", "split", "folder", "--json")
    assert ended.code == 130
    assert ended.json == {"error": "interrupted; run the same command again", "exit_code": 130}


def test_interrupt_that_a_library_turned_into_an_exit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = SystemExit(1)
    stop.__context__ = KeyboardInterrupt()
    _raise(monkeypatch, stop)
    ended = run("data", "split", "folder")
    assert ended.code == 130
    assert ended.error.startswith("interrupted; ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?; see `dinoseg --help`"),
        (["predict", "run"], "Missing argument 'INPUT...'; see `dinoseg predict --help`"),
        (
            ["train", "data", "--sed", "9"],
            "No such option: --sed (Possible options: --seed, --set, --size); see `dinoseg train --help`",
        ),
        (["data"], ""),
    ],
)
def test_wrong_words_are_wrong_usage(run: Run, words: list[str], message: str) -> None:
    ended = run(*words)
    assert ended.code == 2
    assert ended.out == ""
    if message:
        assert ended.err == f"error: {message}\n"
    else:
        assert "Usage: dinoseg data" in ended.err


def test_wrong_words_with_json(run: Run) -> None:
    ended = run("predict", "run", "--json")
    assert ended.json == {"error": ended.error, "exit_code": 2}


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["info", "nowhere"], 1, "nowhere is no run folder"),
        (["weights", "get", "dinov3_vits"], 2, "did you mean dinov3_vits16"),
        (["weights", "get", "dinov3_vitl16"], 2, "dinov3_vitl16.lvd1689m or dinov3_vitl16.sat493m"),
        (["weights", "get", "dinov3_vits16"], 4, "--accept-license"),
        (["weights", "check", "dinov3_vits16"], 4, "are not on this machine"),
        (["data", "split", "nowhere"], 3, "nowhere"),
        (["data", "split", "nowhere", "--fractions", "a,b"], 2, "--fractions 'a,b'"),
        (["predict", "nowhere", ".", "--out", "o"], 3, ". holds no images"),
        (["evaluate", "nowhere", "."], 3, ". holds no image with a mask"),
        (["predict", "nowhere", ".", "--out", "o", "--device", "warp"], 2, "accepted on this machine: cpu"),
        (["predict", "nowhere", ".", "--out", "o", "--device", "meta"], 2, "accepted on this machine: cpu"),
        (["train", ".", "--out", "o", "--method", "m", "--backbone", "b", "--set", "lr"], 2, "given 'lr'"),
    ],
)
def test_real_mistakes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(*words)
    assert (ended.code, part in ended.error) == (code, True), ended.err
    assert list(tmp_path.iterdir()) == []


def test_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m dinoseg info settings --json | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_ctrl_c_in_a_real_process(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal, dinoseg.data\n"
        "dinoseg.data.open_dataset = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
        "from dinoseg.cli import main\n"
        "sys.exit(main(['data', 'split', 'folder']))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 128 + signal.SIGINT
    assert result.stderr == f"{BEGIN}error: interrupted; run the same command again\n"

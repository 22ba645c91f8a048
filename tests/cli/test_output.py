"""Strict JSON, tables, and progress on terminals and in logs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dinoseg.cli import bars
from dinoseg.cli.bars import LineProgress, TerminalProgress, create_progress
from dinoseg.cli.output import Output, session, write_json_line
from dinoseg.outputs import to_plain


@dataclass(frozen=True)
class Thing:
    path: Path
    values: tuple[float, ...]


def test_json_is_strict_and_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "thing": Thing(Path("größe/\udcff.png"), (1.5, float("nan"), float("inf"))),
        3: np.float32(0.5),
        "array": np.array([[1, 2]], dtype=np.uint8),
        "flag": np.bool_(True),
        "none": None,
    }
    write_json_line(value)
    text = capsys.readouterr().out
    assert text.isascii()
    assert text.endswith("\n")
    assert json.loads(text) == {
        "thing": {"path": "größe/\udcff.png", "values": [1.5, None, None]},
        "3": 0.5,
        "array": [[1, 2]],
        "flag": True,
        "none": None,
    }


def test_what_json_does_not_know_becomes_text() -> None:
    assert to_plain({"kind": complex(1, 2)}) == {"kind": "(1+2j)"}


def test_json_session_keeps_stdout_for_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    with session(as_json=True, debug=False) as output:
        sys.stdout.write("a library that prints\n")
        output.line("for people")
        output.table(("a",), [("b",)])
        output.facts = {"x": 1}
    captured = capsys.readouterr()
    assert captured.out == '{"x": 1}\n'
    assert captured.err == "a library that prints\n"


def test_table_shows_every_cell_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("[red]a[/red]", 3), (":smile:", 12)]
    Output(as_json=False).table(("name", "count"), rows, title="Things")
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert "Things" in lines[0]
    (first,) = [line for line in lines if "[red]a[/red]" in line]
    (second,) = [line for line in lines if ":smile:" in line]
    assert len(first) == len(second)  # numbers end in the same column


def test_lines_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 4.0, 12.0, 13.0, 14.0, 3720.0])
    monkeypatch.setattr(bars.time, "monotonic", lambda: next(clock))
    assert list(LineProgress().track("abcd", total=4, label="work")) == list("abcd")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "work: 2/4, 12 s left\nwork: 4/4, took 1 h 02 min\n"


def test_log_gets_lines_and_a_terminal_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(create_progress(), LineProgress)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert isinstance(create_progress(), TerminalProgress)


def test_bars_nest_and_leave_notes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress()
    seen = []
    for outer in progress.track([1, 2], total=2, label="[outer]"):
        for inner in progress.track("ab", total=2, label="inner"):
            seen.append((outer, inner))
        progress.note(f"done with [{outer}]")
    progress.close()
    assert seen == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "done with [1]" in captured.err
    assert "[outer]" in captured.err
    assert "inner" not in captured.err  # what is done within leaves the screen


def test_bars_of_failed_work_are_closed() -> None:
    progress = TerminalProgress()
    work = progress.track([1, 2], total=2, label="work")
    next(work)
    progress.close()
    progress.close()
    assert next(work) == 2  # a bar that is gone does not stop the work

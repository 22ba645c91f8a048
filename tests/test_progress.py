"""Progress without the command line: silent, or for notebooks."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dinoseg.progress import NotebookProgress


class Handle:
    """What IPython's display returns: a place in the output of a cell."""

    def __init__(self, shown: Any) -> None:
        self.shown = [shown]

    def update(self, shown: Any) -> None:
        self.shown.append(shown)


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """A notebook: IPython with a kernel."""
    made: list[Handle] = []

    def display(shown: Any, *, display_id: bool) -> Handle:
        assert display_id
        made.append(Handle(shown))
        return made[-1]

    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    ipython.display = ModuleType("IPython.display")
    ipython.display.display, ipython.display.HTML = display, str
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return made


def test_a_bar_in_a_notebook(handles: list[Handle], capsys: pytest.CaptureFixture[str]) -> None:
    progress = NotebookProgress()
    progress.seconds = 0.0
    assert list(progress.track("ab", total=2, label="<b>")) == ["a", "b"]
    progress.note("a remark")
    (bar,) = handles
    assert 'value="0" max="2"' in bar.shown[0]
    assert "&lt;b&gt;: 1/2 0 s left" in bar.shown[1]
    assert bar.shown[-1].endswith("2/2 took 0 s</div>")
    assert capsys.readouterr().out == "a remark\n"


def test_a_slow_notebook_is_not_flooded(handles: list[Handle]) -> None:
    assert len(list(NotebookProgress().track(range(1000), total=1000, label="x"))) == 1000
    assert len(handles[0].shown) <= 4


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["plain", "terminal"])
def test_lines_elsewhere(
    shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert list(NotebookProgress().track([], total=0, label="nothing")) == []
    assert list(NotebookProgress().track("a", total=1, label="one")) == ["a"]
    assert capsys.readouterr().out == "nothing: 0/0, took 0 s\none: 1/1, took 0 s\n"

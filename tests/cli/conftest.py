"""Running the program inside the test's process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dinoseg.cli import main
from tests.cli.validation import find_problem, find_verb


@dataclass(frozen=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str
    words: tuple[str, ...] = ()

    @property
    def json(self) -> dict:
        """The one object on stdout, as the schema of the verb says; anything else there is an error."""
        assert self.out.count("\n") == 1
        value = json.loads(self.out)
        assert find_problem(find_verb(self.words), value) is None
        return value

    @property
    def error(self) -> str:
        """The one line that starts with `error: `, without that start."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call it with the words after `dinoseg`."""

    def call(*words: object) -> Ended:
        capsys.readouterr()
        line = tuple(map(str, words))
        code = main(line)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err, line)

    return call

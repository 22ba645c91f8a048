"""Inputs of all commands, and what each writes when nothing goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.cli import main, walkthrough
from tests.cli.conftest import Run, run
from tests.cli.test_demo import TINY as TINY_DEMO
from tests.reliability.verbs import VERBS, Inputs, make_inputs

__all__ = ["run"]


def call(*words: object) -> None:
    """Run a command that must succeed."""
    assert main([str(word) for word in words]) == 0, words


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("inputs"), call)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, inputs: Inputs) -> dict[str, Path]:
    """What each command writes, by its name."""
    root = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walkthrough, "QUICK", TINY_DEMO)
        for verb in VERBS:
            call(*verb.words(inputs, root / verb.name))
    return {verb.name: root / verb.name for verb in VERBS}


@pytest.fixture(autouse=True)
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walkthrough, "QUICK", TINY_DEMO)


_ = Run

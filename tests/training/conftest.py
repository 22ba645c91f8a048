"""Data and runs that the tests of this folder share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from dinoseg.model import Segmenter
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, train_small


@dataclass(frozen=True)
class Finished:
    """A run that is not to be changed; copy the folder to do so."""

    root: Path
    model: Segmenter
    notes: list[str]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("phantoms") / "data")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, data: Path, cache: Path) -> Finished:
    root, notes = tmp_path_factory.mktemp("runs") / "finished", Notes()
    model = train_small(data, root, cache, progress=notes)
    return Finished(root, model, notes.notes)

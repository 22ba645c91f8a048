"""Data and runs that the tests of this folder share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import dinoseg.training.fitting as fitting
from dinoseg.backbones import create_backbone
from dinoseg.backbones.extractors import Backbone, Precision
from dinoseg.model.segmenter import Segmenter
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, train_small


@dataclass(frozen=True)
class Finished:
    """A run that is not to be changed; copy the folder to do so."""

    root: Path
    model: Segmenter
    notes: list[str]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture, and one frozen backbone for all runs: two thirds of the time of so small a run."""
    monkeypatch.setattr(fitting, "draw_learning_curve", lambda *arguments, **keywords: None)
    monkeypatch.setattr(fitting, "create_backbone", _create_once)


def _create_once(
    name: str,
    *,
    layers: tuple[int, ...] | None,
    precision: Precision,
    scales: tuple[float, ...] = (1.0,),
    **keywords: Any,
) -> Backbone:
    return _create(name, layers, precision, scales)


@lru_cache
def _create(
    name: str, layers: tuple[int, ...] | None, precision: Precision, scales: tuple[float, ...]
) -> Backbone:
    return create_backbone(name, layers=layers, precision=precision, scales=scales)


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

"""`Study`: what is known of an evaluation and of the training before it, for a method statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinoseg import __version__
from dinoseg.config import from_yaml
from dinoseg.data.splits.splits import FILE_NAME, Splits, load_splits
from dinoseg.errors import DinosegError
from dinoseg.model.settings import ModelSettings, RunSettings


@dataclass(frozen=True)
class Training:
    """What a run folder says of its training.

    Attributes:
        settings: of the run.
        splits: the cases that were used for what.
        environment: versions and machine, as environment.json has them.
    """

    settings: RunSettings
    splits: Splits
    environment: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Study:
    """An evaluation, as a paper tells it.

    Attributes:
        data: name of the data set.
        kind: "images" or "volumes".
        cases: that were scored.
        groups: of them: patients, videos; equal to `cases` where nothing is known.
        split: "test", "val", "train" or "all"; "" where masks were scored.
        classes: name of each foreground class.
        protocol: "native" or "paper".
        tolerance: of the NSD, with its unit, such as "2 px".
        unscored: cases that could not be read.
        seed: of the intervals.
        model: settings of the model; None where masks were scored.
        applied: how the model was applied, name -> words.
        training: of the model; None where no run folder tells.
        leaks: one line about cases that the model was trained on, or "".
        version: of dinoseg.
    """

    data: str
    kind: str
    cases: int
    groups: int
    split: str
    classes: tuple[str, ...]
    protocol: str
    tolerance: str
    unscored: int
    seed: int
    model: ModelSettings | None = None
    applied: Mapping[str, str] = field(default_factory=dict)
    training: Training | None = None
    leaks: str = ""
    version: str = __version__


def read_training(run: Path | None) -> Training | None:
    """What a run folder says of its training; None for none, an imported one, or one that cannot be read."""
    if run is None:
        return None
    try:
        settings = from_yaml(RunSettings, (run / "config.yaml").read_text(encoding="utf-8"))
        environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        return Training(settings, load_splits(run / FILE_NAME), dict(environment))
    except (OSError, ValueError, TypeError, DinosegError):  # a statement with blanks is better than no report
        return None

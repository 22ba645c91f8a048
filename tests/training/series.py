"""Small series of runs: what their tests share."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import dinoseg.model.loading as loading
import dinoseg.training.fitting as fitting
from tests.training.conftest import _create_once
from tests.training.folders import SMALL

#: One short epoch on small pictures: as many runs as possible in a second.
TINY: dict[str, Any] = {**SMALL, "train.epochs": 1, "train.views": 1, "model.preprocessing.size": 32}


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture of each run, and one frozen backbone for all: two thirds of the time of so small runs."""
    monkeypatch.setattr(fitting, "draw_learning_curve", lambda *arguments, **keywords: None)
    for module in (fitting, loading):
        monkeypatch.setattr(module, "create_backbone", _create_once)


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV with comments, without the seconds, which no two runs share."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]


def read_comments(path: Path) -> list[str]:
    """The lines on top of a CSV."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("# ") for line in lines if line.startswith("#")]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def stamps(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

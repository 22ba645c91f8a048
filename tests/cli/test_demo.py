"""The demo's steps at the smallest size, and the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.cli import walkthrough
from dinoseg.cli.contact_sheet import COLUMNS, Row, draw_sheet
from dinoseg.cli.demo import CLAIM
from dinoseg.cli.walkthrough import Plan
from dinoseg.data.case import Image
from dinoseg.outputs.manifest import MANIFEST
from tests.cli.conftest import Run

TINY = Plan(
    kind="dermoscopy",
    pictures=10,
    size=(48, 64),
    changes={
        "train.epochs": 1,
        "train.views": 1,
        "train.min_bank": 1,
        "train.min_epoch_samples": 6,
        "model.preprocessing.size": 64,
    },
    each=1,
)


def test_demo_leaves_everything_that_it_names(
    run: Run, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walkthrough, "QUICK", TINY)
    out = tmp_path / "demo"
    ended = run("demo", "--quick", "--out", out)
    assert ended.code == 0
    assert ended.out.count(CLAIM) == 2
    names = [MANIFEST, "contact_sheet.png", "data", "predictions", "run"]
    assert sorted(path.name for path in out.iterdir()) == names
    for path in ("contact_sheet.png", "predictions/overlays", "run", "run/report/index.html"):
        assert str(out / path) in ended.out
        assert (out / path).exists()
    assert "dinoseg train DATA" in ended.out
    # Nothing is left elsewhere, but what its checks found out about files.
    assert {path.name for path in (home / "dinoseg").glob("*")} <= {"checks"}


def test_demo_refuses_what_it_did_not_write(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    for words in ((), ("--overwrite",)):
        error = run("demo", "--out", tmp_path, *words).error
        assert "is not empty: " in error
        assert "thesis.txt was not written by dinoseg" in error
        assert "--overwrite" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_sheet_shows_each_row_in_three_pictures(tmp_path: Path) -> None:
    target = np.zeros((40, 60), dtype=np.uint8)
    target[10:30, 20:40] = 1
    image = Image(np.full((1, 40, 60), 0.5, dtype=np.float32))
    rows = [Row(image, target, np.zeros_like(target), ("worst", "Dice 0.00"))] * 2
    draw_sheet(rows, tmp_path / "sheet.png", title="title", notes=["a note"])
    sheet = np.asarray(PillowImage.open(tmp_path / "sheet.png")).astype(int)
    grey = (np.abs(sheet - 128) <= 1).all(axis=2)
    assert len(COLUMNS) == 3
    # Two rows of an image, a mask with a hole in the grey, and an empty prediction.
    assert grey.sum() == pytest.approx(2 * (3 * 2400 - 400), abs=400)


@pytest.mark.slow
def test_quick_demo_learns(run: Run, tmp_path: Path) -> None:
    ended = run("demo", "--quick", "--out", tmp_path / "demo", "--json")
    assert ended.code == 0
    (lesion,) = ended.json["classes"]
    assert lesion["metrics"][0]["interval"]["mean"] > 0.6
    assert ended.json["claim"] == CLAIM

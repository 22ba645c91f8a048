"""`train` ends with what would help next, and `info RUN` repeats it."""

from __future__ import annotations

import json
from pathlib import Path

from dinoseg.data.phantoms.phantoms import write_phantoms
from tests.cli.conftest import Run

SMALL = ["train.views=1", "train.min_bank=0", "train.min_epoch_samples=0", "train.warmup_epochs=0"]


def test_train_and_info_say_what_would_help(run: Run, tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", kind="ultrasound", count=10, size=(32, 40))
    words = ["--method", "linear", "--backbone", "untrained-vitt16", "--size", 32, "--epochs", 1]
    words += [word for item in [*SMALL, f"cache.folder={tmp_path}/features"] for word in ("--set", item)]
    trained = run("train", tmp_path / "data", "--out", tmp_path / "run", *words)
    path = tmp_path / "run" / "report" / "advice.json"
    document = json.loads(path.read_text())
    for shown in (trained, run("info", tmp_path / "run")):
        assert shown.code == 0, shown.err
        assert "what would help next" in shown.out
        for line in document["lines"]:
            assert line in shown.out
    assert run("info", tmp_path / "run", "--json").json["advice"] == document
    assert f"--out {tmp_path}/run/report\n" in trained.out  # the place is still free for a report
    path.write_text('{"lines": 3}')
    damaged = run("info", tmp_path / "run")
    assert damaged.code != 0
    assert "advice.json is damaged" in damaged.error

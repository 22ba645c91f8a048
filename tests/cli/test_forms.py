"""Every form of the objects that training, ensembles and bundles print is as its schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.data.phantoms.phantoms import write_phantoms
from tests.cli.conftest import Run

TINY = {"train.epochs": 1, "train.views": 1, "train.min_bank": 0, "train.min_epoch_samples": 0}
TRAIN = ["train", "data", "--method", "linear", "--backbone", "untrained-vitt16", "--size", "32"]
FORMS = [
    [*TRAIN, "--out", "a"],
    [*TRAIN, "--out", "b", "--seed", "1"],
    [*TRAIN, "--out", "folds", "--folds", "2"],
    [*TRAIN, "--out", "draws", "--shots", "2", "--draws", "1"],
    ["ensemble", "a", "b", "--out", "both"],
    ["info", "both"],
    ["info", "folds"],
    ["evaluate", "a", "data", "--split", "val", "--choose-postprocessing"],
    ["predict", "both", "data/images", "--out", "masks", "--uncertainty", "--review"],
    ["predict", "a", "data/images", "--out", "memory://masks-of-forms"],
    ["export", "a", "--out", "bundle", "--license-file", "licence.txt"],
    ["info", "bundle"],
    ["predict", "bundle", "data/images", "--out", "masks-of-bundle"],
]


@pytest.mark.slow  # trains six models and exports one
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries that export
def test_every_form_is_as_its_schema_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime", "fsspec"):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "data", kind="ultrasound", count=12, size=(32, 40))
    (tmp_path / "licence.txt").write_text("free", encoding="utf-8")
    changes = {**TINY, "cache.folder": str(tmp_path / "features")}
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    for words in FORMS:
        ended = run(*words, *(sets if words[0] == "train" else []), "--json")
        assert "error" not in ended.json, words
        assert ended.code == 0, words

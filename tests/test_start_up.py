"""A verb imports what it needs and no more: libraries by name, and modules counted, torch's own apart.

A budget is what was counted, and a tenth more for other versions of the libraries. What grows beyond it waits
for somebody at every call: find out with `python -X importtime -m dinoseg ...` which import is new.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.training import train

# torchmetrics, which Lightning imports, imports whatever else is installed.
PROGRAM = """
import sys
from dinoseg.cli import main
code = main(sys.argv[1:])
own = [name for name in sys.modules if name.partition(".")[0] != "torch"]
print("LOADED", len(own), *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""
LEARNING = {"lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics", "tensorboard"}
ORACLES = {"monai", "transformers"}
FILES = {"nibabel", "h5py", "pydicom", "highdicom", "tifffile"}
DRAWING = {"matplotlib"}
ALGEBRA = {"scipy", "sympy"}
TORCH = {"torch"}


@dataclass(frozen=True)
class Budget:
    """What a command line may import: how many modules beside torch's, and which libraries not at all."""

    words: str
    modules: int
    without: set[str]


EVERYTHING = TORCH | LEARNING | ORACLES | FILES | DRAWING | ALGEBRA
BUDGETS = {
    "help": Budget("--help", 220, EVERYTHING | {"numpy", "pydantic", "PIL"}),
    "info": Budget("info methods", 420, EVERYTHING | {"numpy", "PIL"}),
    "info for programs": Budget("info --json", 405, EVERYTHING | {"numpy", "PIL"}),
    "info schemas": Budget("info schemas --json", 340, EVERYTHING | {"numpy", "PIL"}),
    "info of a run": Budget("info run", 620, EVERYTHING),
    "weights": Budget("weights list", 390, EVERYTHING | {"PIL"}),
    "split": Budget("data split data --out new.json", 600, EVERYTHING),
    "check": Budget("data check data", 740, EVERYTHING - {"scipy"}),
    "predict": Budget("predict run {image} --out masks", 745, EVERYTHING - TORCH),
    "evaluate": Budget("evaluate run data --split test", 1100, EVERYTHING - TORCH - {"scipy"}),
    "score": Budget("score data/masks data", 940, EVERYTHING - {"scipy"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("start")
    write_phantoms(root / "data", kind="ultrasound", count=6, size=(32, 40))
    changes = {
        "train.epochs": 1,
        "train.views": 1,
        "train.min_bank": 0,
        "train.min_epoch_samples": 0,
        "train.warmup_epochs": 0,
        "model.preprocessing.size": 32,
        "cache.folder": str(root / "features"),
    }
    train(root / "data", method="linear", backbone="untrained-vitt16", out=root / "run", changes=changes)
    return root


@pytest.mark.parametrize("name", BUDGETS)
def test_a_verb_imports_no_more_than_its_budget(name: str, folder: Path) -> None:
    budget = BUDGETS[name]
    image = next((folder / "data" / "images").iterdir())
    words = budget.words.format(image=image).split()
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    count, *loaded = result.stderr.rpartition("LOADED ")[2].split()
    assert budget.without & set(loaded) == set()
    assert int(count) <= budget.modules


def test_a_training_that_is_refused_loads_no_trainer(folder: Path) -> None:
    words = ["train", "data", "--out", "run", "--method", "linear", "--backbone", "untrained-vitt16"]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stderr
    assert (LEARNING | ORACLES | DRAWING) & set(result.stderr.rpartition("LOADED ")[2].split()) == set()

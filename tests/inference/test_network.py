"""A network of somebody else's: predicting and scoring with it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.data.volumes import Volume
from dinoseg.errors import SplitError
from dinoseg.evaluation import evaluate
from dinoseg.inference import predict
from tests.inference.brightness import make_brightness
from tests.inference.volumes import make_volume, save_nifti

ROOT = Path(__file__).parents[2]
WITHOUT_TORCH = """
import sys
from pathlib import Path

for name in ("torch", "monai", "lightning", "transformers", "safetensors"):
    sys.modules[name] = None  # importing it is an error now
from tests.inference.brightness import main

main(*map(Path, sys.argv[1:]))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three pictures with a bright box, and masks of it that are one column too wide."""
    root = tmp_path / "images"
    for number in range(3):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 90, (40 + number, 52, 3), dtype=np.uint8)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        pixels[8:30, 10:34] += 150
        mask[8:30, 10:35] = 255
        for folder, array in (("images", pixels), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(array).save(root / folder / f"case{number}.png")
    return root


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset001_Made"
    for number in range(2):
        volume = make_volume((6, 20, 24), seed=number)
        label = Volume((volume.array > 500).astype(np.uint8), volume.geometry, volume.source, "label")
        save_nifti(root / "imagesTr" / f"p{number}_0000.nii.gz", volume)
        save_nifti(root / "labelsTr" / f"p{number}.nii.gz", label)
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "lesion": 1}}
    described |= {"numTraining": 2, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(described))
    return root


def test_everything_goes_where_torch_cannot_be_imported(images: Path, volumes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(images), str(volumes), str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    flat, solid = json.loads((out / "scores.json").read_text())
    assert 0.9 < flat < 1
    assert solid > 0.6
    bright = np.asarray(PillowImage.open(images / "images" / "case0.png")).mean(axis=2) > 127.5
    assert (np.asarray(PillowImage.open(out / "single.png")) == bright).mean() > 0.97
    assert (np.asarray(PillowImage.open(out / "masks" / "masks" / "case0.png")) == bright).mean() > 0.999
    assert len(list((out / "volumes" / "masks").glob("*.nii.gz"))) == 2
    made = json.loads((out / "masks" / "predictions.json").read_text())
    assert made["model"]["method"] == "brightness"
    assert made["settings"] == {
        "window": 24, "overlap": 0.25, "symmetries": 4, "planes": None, "postprocessing": None
    }  # fmt: skip
    facts = json.loads((out / "report" / "summary.json").read_text())["facts"]
    assert facts["Backbone"] == "none (000000000000, float32)"
    assert [facts[name] for name in ("Window", "Overlap", "Symmetries")] == ["24", "0.25", "4"]


def test_batches_are_no_larger_than_asked_and_change_nothing(images: Path) -> None:
    one, many = make_brightness(), make_brightness()
    alone = predict(one, images / "images", batch_size=1)
    together = predict(many, images / "images", batch_size=2)
    assert (one.batches, many.batches) == ([1, 1, 1], [2, 1])
    for first, second in zip(alone, together, strict=True):
        assert np.array_equal(first.mask, second.mask)


def test_cases_that_a_network_was_trained_on_are_refused_by_its_run(images: Path, tmp_path: Path) -> None:
    names = ("case0", "case1", "case2")
    splits = Splits(train=names[:1], val=names[1:2], test=names[2:], seed=None, unit="case")
    save_splits(tmp_path / "run" / "splits.json", splits)
    model = make_brightness()
    model.run = tmp_path / "run"
    assert [score.case for score in evaluate(model, images).scores] == ["case2"]
    with pytest.raises(SplitError, match="trained on 1 of the 3 cases"):
        evaluate(model, images, split="all")

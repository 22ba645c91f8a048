"""predict and evaluate of volumes on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dinoseg.config import PercentileIntensity, PreprocessingSettings
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.data.volumes import Volume, read_label
from dinoseg.model.opening import load
from tests.cli.conftest import Run
from tests.inference.models import THREE, make_vit
from tests.inference.volumes import make_volume, save_nifti

CASES = ("a", "b", "c")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "Dataset001_Made"
    for number, case in enumerate(CASES):
        image = make_volume((4, 20, 24), seed=number)
        label = (image.array > 500).astype(np.int16) * (1 + (np.arange(24) > 8))
        save_nifti(root / "imagesTr" / f"{case}_0000.nii.gz", image)
        label = Volume(label.astype(np.int16), image.geometry, image.source, case)
        save_nifti(root / "labelsTr" / f"{case}.nii.gz", label)
    described = {"channel_names": {"0": "MRI"}, "labels": {name: id_ for id_, name in THREE.items()}}
    (root / "dataset.json").write_text(json.dumps({**described, "numTraining": 3, "file_ending": ".nii.gz"}))
    return root


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    settings = PreprocessingSettings(size=32, intensity=PercentileIntensity())
    make_vit("linear", size=32, preprocessing=settings).save(tmp_path / "run" / "model")
    splits = Splits(train=("a",), val=("b",), test=("c",), seed=None, unit="case")
    save_splits(tmp_path / "run" / "splits.json", splits)
    return tmp_path / "run"


def test_predict(run: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--planes", "axial,coronal", "--format", "nrrd", "--batch-size", "3"]
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    ended = run("predict", trained, data / "imagesTr", tmp_path / "bad.nii.gz", "--out", out, *words)
    assert ended.code == 3
    assert "3 masks in" in ended.out
    assert " ml, instrument " in ended.out
    assert "1 of 4 files could not be read" in ended.err
    found = sorted((out / "masks").rglob("*.nrrd"))
    assert [path.name for path in found] == ["a_0000.nrrd", "b_0000.nrrd", "c_0000.nrrd"]
    assert read_label(found[0]).array.shape == (4, 20, 24)
    summary = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert summary["settings"]["planes"] == ["axial", "coronal"]
    assert set(summary["files"][0]["volumes_ml"]) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--probabilities"], "probabilities are for images"),
        (["--planes", "oblique"], "plane 'oblique' is unknown"),
        (["--planes", ""], "planes are one to three different ones"),
        (["--format", "dicom-seg"], "choose nifti, nrrd or mha with --format"),
    ],
)
def test_what_predict_refuses(
    run: Run, data: Path, trained: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = run("predict", trained, data / "imagesTr", "--out", tmp_path / "out", *words)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "out").exists()


def test_evaluate_chooses_postprocessing_on_validation_only(run: Run, data: Path, trained: Path) -> None:
    refused = run("evaluate", trained, data, "--choose-postprocessing")
    assert refused.code == 2
    assert "postprocessing is chosen on the split val, given test" in refused.err
    both = run("evaluate", trained, data, "--split", "val", "--choose-postprocessing", "--no-postprocessing")
    assert both.code == 2
    ended = run("evaluate", trained, data, "--split", "val", "--choose-postprocessing", "--json")
    assert ended.code == 0
    facts = json.loads(ended.out)
    assert [entry["class_name"] for entry in facts["postprocessing"]] == ["lesion", "instrument"]
    for entry in facts["postprocessing"]:
        assert entry["after"] >= entry["before"]
    chosen = load(trained).postprocessing
    assert chosen is None or (chosen.dimensions, chosen.unit) == (3, "mm")
    told = run("evaluate", trained, data, "--split", "val", "--choose-postprocessing")
    assert "postprocessing chosen on 1 validation cases and kept with the model" in " ".join(told.out.split())
    assert "Dice before" in told.out


def test_evaluate_shows_regions_as_such(run: Run, data: Path, tmp_path: Path) -> None:
    root = tmp_path / "Dataset002_Regions"
    shutil.copytree(data, root)
    content = json.loads((root / "dataset.json").read_text())
    content["labels"] = {"background": 0, "whole": [1, 2], "core": [2]}
    (root / "dataset.json").write_text(json.dumps({**content, "regions_class_order": [1, 2]}))
    settings = PreprocessingSettings(size=32, intensity=PercentileIntensity())
    classes = {0: "background", 1: "whole (1)", 2: "core"}
    make_vit("linear", classes, size=32, preprocessing=settings).save(tmp_path / "run" / "model")
    told = run("evaluate", tmp_path / "run", root, "--split", "all")
    assert told.code == 0
    words = " ".join(told.out.split())
    places = [
        words.index(name) for name in ("whole (1)", "mean over classes", "whole (region)", "mean over reg")
    ]
    assert places == sorted(places)
    assert "The headline is the mean over the regions" in words
    ended = run("evaluate", tmp_path / "run", root, "--split", "all", "--json")
    assert [(row["class_name"], row["kind"], row["region"]) for row in ended.json["classes"]] == [
        ("whole (1)", "class", []),
        ("core", "class and region", [2]),
        ("mean over classes", "mean", []),
        ("whole", "region", [1, 2]),
        ("mean over regions", "mean", []),
    ]

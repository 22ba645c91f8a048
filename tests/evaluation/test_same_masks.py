"""`evaluate` scores exactly the files that `predict_files` writes with the same options."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.config import Inference
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.data.volumes import Volume
from dinoseg.evaluation import evaluate, score_case
from dinoseg.evaluation.metrics import DEFAULT_TOLERANCE, ClassScore
from dinoseg.inference import predict_files
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import THREE, Slope, make_glass, make_vit
from tests.inference.volumes import UNITS, make_volume, save_nifti

FOREGROUND = {0: "background", 1: "foreground"}
WAYS = [
    Inference(),
    Inference(flips=True),
    Inference(window=32, overlap=0.5),
    Inference(window=32, flips=True, batch_size=3),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for number in range(3):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (40 + 9 * number, 66, 3), dtype=np.uint8)
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[4:30, 12:50] = 255
        for folder, array in (("images", pixels), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(array).save(root / folder / f"case{number}.png")
    return root


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset001_Made"
    for number in range(2):
        volume = make_volume((6, 20, 24), seed=number)
        ids = (volume.array > 500).astype(np.uint8)
        ids[0, 2:4, 2:5, 2:6] = 2
        save_nifti(root / "imagesTr" / f"p{number}_0000.nii.gz", volume)
        label = Volume(ids, volume.geometry, volume.source, "label")
        save_nifti(root / "labelsTr" / f"p{number}.nii.gz", label)
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "lesion": 1, "instrument": 2}}
    described |= {"numTraining": 2, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(described))
    return root


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return make_glass(FOREGROUND, size=48, decoder=Slope)


@pytest.mark.parametrize("how", WAYS, ids=["whole", "flips", "windows", "windows and flips"])
def test_of_images(model: Segmenter, images: Path, how: Inference, tmp_path: Path) -> None:
    found = evaluate(model, images, split="all", how=how, out=tmp_path / "report")
    predict_files(model, [images / "images"], tmp_path / "out", how=how)
    scores: list[ClassScore] = []
    for name in ("case0", "case1", "case2"):
        mask = np.asarray(PillowImage.open(tmp_path / "out" / "masks" / f"{name}.png"))
        target = (np.asarray(PillowImage.open(images / "masks" / f"{name}.png")) > 0).astype(np.uint8)
        scores += _score(name, mask, target, FOREGROUND, None)
    assert [_numbers(score) for score in found.scores] == [_numbers(score) for score in scores]
    assert len({score.dice for score in scores}) == 3
    _compare_words(tmp_path)


def test_the_ways_differ(model: Segmenter, images: Path) -> None:
    """Else the test above would say nothing about windows and flips."""
    found = {
        tuple(score.dice for score in evaluate(model, images, split="all", how=how).scores) for how in WAYS
    }
    assert len(found) == len(WAYS)


@pytest.mark.parametrize(
    "how",
    [Inference(planes=("axial", "sagittal")), Inference(window=16, flips=True, planes=("coronal",))],
    ids=["planes", "windows and flips"],
)
def test_of_volumes(volumes: Path, how: Inference, tmp_path: Path) -> None:
    model = make_glass(THREE, intensity=UNITS)
    found = evaluate(model, volumes, split="all", how=how, out=tmp_path / "report")
    predict_files(model, [volumes / "imagesTr"], tmp_path / "out", how=how)
    scores: list[ClassScore] = []
    for name in ("p0", "p1"):
        written = nibabel.load(tmp_path / "out" / "masks" / f"{name}_0000.nii.gz")
        mask, target = (
            np.asarray(file.dataobj).astype(np.uint8).transpose(2, 1, 0)
            for file in (written, nibabel.load(volumes / "labelsTr" / f"{name}.nii.gz"))
        )
        spacing = tuple(float(value) for value in written.header.get_zooms()[::-1])
        scores += score_case(
            mask,
            target,
            classes=THREE,
            spacing=spacing,
            tolerance=DEFAULT_TOLERANCE["mm"],
            case=name,
            group=name,
        )
    for ours, theirs in zip(found.scores, scores, strict=True):
        assert _numbers(ours) == pytest.approx(_numbers(theirs), rel=1e-5)
    assert any(score.dice > 0 for score in scores)
    _compare_words(tmp_path)


def test_a_loaded_model_is_scored_as_its_run(images: Path, tmp_path: Path) -> None:
    """Its own splits, its own training cases refused, whatever names it."""
    run = tmp_path / "run"
    make_vit("linear", FOREGROUND, size=48).save(run / "model")
    names = ("case0", "case1", "case2")
    splits = Splits(train=names[:1], val=names[1:2], test=names[2:], seed=None, unit="case")
    save_splits(run / "splits.json", splits)
    wanted = evaluate(run, images).scores
    assert [score.case for score in wanted] == ["case2"]
    assert load(run).run == load(run / "model").run == run
    for model in (load(run), load(run / "model"), run / "model", str(run)):
        assert evaluate(model, images).scores == wanted


def _score(
    name: str,
    mask: np.ndarray,
    target: np.ndarray,
    classes: dict[int, str],
    spacing: tuple[float, ...] | None,
) -> list[ClassScore]:
    tolerance = DEFAULT_TOLERANCE["px" if spacing is None else "mm"]
    return score_case(
        mask, target, classes=classes, spacing=spacing, tolerance=tolerance, case=name, group=name
    )


def _numbers(score: ClassScore) -> tuple[float, ...]:
    return (score.class_id, score.dice, score.iou, score.hd95, score.assd, score.nsd)


def _compare_words(folder: Path) -> None:
    """The report says what predictions.json says."""
    settings = json.loads((folder / "out" / "predictions.json").read_text())["settings"]
    facts = json.loads((folder / "report" / "summary.json").read_text())["facts"]
    assert facts["Symmetries"] == str(settings["symmetries"])
    if settings["window"] is None:
        assert facts["Window"].startswith("none")
        assert "Overlap" not in facts
    else:
        assert (facts["Window"], facts["Overlap"]) == (str(settings["window"]), str(settings["overlap"]))
    assert facts.get("Planes") == (", ".join(settings["planes"]) if settings["planes"] else None)
    assert facts["Postprocessing"] == "none"

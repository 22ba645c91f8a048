from __future__ import annotations

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from dinoseg.config import PercentileIntensity, PreprocessingSettings, RangeIntensity
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.data.volumes import Geometry, LabelVolume, Volume, upright_geometry
from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.evaluation.volume_views import find_telling_slice
from dinoseg.inference import predict, volumes
from dinoseg.model.segmenter import Segmenter
from tests.inference.models import THREE, make_glass, make_vit
from tests.inference.volumes import orientations, save_nifti

SPACING = (3.0, 0.7, 1.2)
SHAPE = (6, 18, 20)
CASES = ("p1", "p2", "p3", "p4")
NAMES = {"background": 0, "lesion": 1, "instrument": 2}


class Listening:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items, *, total, label):
        yield from items

    def note(self, message: str) -> None:
        self.notes.append(message)


def _draw(seed: int) -> tuple[Volume, LabelVolume]:
    """Intensities that a threshold reads nearly right, and the labels that it should find."""
    rng = np.random.default_rng(seed)
    ids = np.zeros(SHAPE, np.uint8)
    row, column = rng.integers(2, 6, 2)
    ids[1:5, row : row + 9, column : column + 10] = 1
    ids[2:4, row + 3 : row + 6, column + 3 : column + 7] = 2
    array = np.array([100, 500, 850], np.int16)[ids] + rng.integers(-40, 40, SHAPE).astype(np.int16)
    moved = np.roll(array, (1, -1, 2), (0, 1, 2))  # so that no score is perfect
    affine = upright_geometry(SHAPE, spacing=SPACING).affine.copy()
    affine[:3, 3] = (5.0, -8.0, 13.0)
    geometry, path = Geometry(SHAPE, affine), Path(f"p{seed}.nii.gz")
    return Volume(moved[None], geometry, path, path.name), LabelVolume(ids, geometry, path, path.name)


def _turned(volume: Volume, label: LabelVolume, number: int) -> tuple[Volume, Volume]:
    images = list(orientations(volume))
    labels = list(orientations(Volume(label.array[None], label.geometry, label.source, label.id)))
    return images[number], labels[number]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """nnU-Net raw; each case has its axes in another order and direction."""
    root = tmp_path / "Dataset001_Made"
    for number, case in enumerate(CASES):
        image, label = _turned(*_draw(number), number * 13)
        save_nifti(root / "imagesTr" / f"{case}_0000.nii.gz", image)
        save_nifti(root / "labelsTr" / f"{case}.nii.gz", label)
    described = {"channel_names": {"0": "MRI"}, "labels": NAMES, "numTraining": 4, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(described))
    return root


@pytest.fixture
def model() -> Segmenter:
    return make_glass(THREE, size=32, intensity=RangeIntensity(minimum=0, maximum=1000))


def _monai(prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, ...]:
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    pair = [
        torch.from_numpy(np.stack([mask, mask])[None, :1].astype(np.float32)) for mask in (prediction, target)
    ]
    options = {"include_background": True, "spacing": spacing}
    return (
        float(compute_dice(*pair)),
        float(compute_hausdorff_distance(*pair, percentile=95, **options)),
        float(compute_average_surface_distance(*pair, symmetric=True, **options)),
        float(compute_surface_dice(*pair, class_thresholds=[1.0], **options)),
    )


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_scores_in_mm_are_those_of_monai(model: Segmenter, data: Path) -> None:
    found = evaluate(model, data, split="all")
    assert (found.unit, found.tolerance, found.protocol) == ("mm", 1.0, "native")
    assert [(score.case, score.class_id) for score in found.scores] == [(c, k) for c in CASES for k in (1, 2)]
    for score in found.scores:
        prediction = predict(model, data / "imagesTr" / f"{score.case}_0000.nii.gz")
        target = np.asarray(nibabel.load(data / "labelsTr" / f"{score.case}.nii.gz").dataobj).T
        wanted = _monai(prediction.mask == score.class_id, target == score.class_id, prediction.spacing)
        assert (score.dice, score.hd95, score.assd, score.nsd) == pytest.approx(wanted, abs=1e-5)
        assert 0 < score.dice < 1
        assert sorted(prediction.spacing) == pytest.approx(sorted(SPACING))


def test_report_of_volumes(model: Segmenter, data: Path, tmp_path: Path) -> None:
    found = evaluate(model, data, split="all", out=tmp_path / "report", planes=("axial", "sagittal"))
    page = found.report.read_text()
    assert page.count("<figure id=") == 3
    assert "lesion" in page
    assert "HD95 (mm)" in page
    described = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert described["facts"]["Postprocessing"] == "none"
    assert [row["class_name"] for row in described["classes"]] == [
        "lesion",
        "instrument",
        "mean over classes",
    ]


def test_a_broken_volume_is_in_no_mean(model: Segmenter, data: Path) -> None:
    path = data / "labelsTr" / "p2.nii.gz"
    label = nibabel.load(path)
    moved = label.affine.copy()
    moved[0, 3] += 4
    nibabel.save(nibabel.Nifti1Image(np.asarray(label.dataobj), moved), path)
    progress = Listening()
    found = evaluate(model, data, split="all", progress=progress)
    assert {score.case for score in found.scores} == {"p1", "p3", "p4"}
    assert [failure.case for failure in found.failures] == ["p2"]
    assert "does not lie on the grid of its image" in found.failures[0].message
    assert progress.notes[-1].startswith("p2 failed and is in no mean")


def test_without_spacing_distances_are_in_voxels(model: Segmenter, tmp_path: Path) -> None:
    root = tmp_path / "h5"
    root.mkdir()
    for number, case in enumerate(("a", "b")):
        image, label = _draw(number)
        with h5py.File(root / f"{case}.h5", "w") as file:
            file["image"], file["label"] = image.array[0], label.array
    (root / "dataset.yaml").write_text("classes: [background, lesion, instrument]\n")
    progress = Listening()
    found = evaluate(model, root, split="all", progress=progress)
    assert (found.unit, found.tolerance) == ("px", 2.0)
    assert progress.notes[-1] == (
        "the files say nothing of the size of a voxel: distances are in voxels (px), not mm"
    )


def test_what_is_ignored_counts_in_no_score(model: Segmenter, data: Path) -> None:
    described = json.loads((data / "dataset.json").read_text())
    described["labels"]["ignore"] = 3
    (data / "dataset.json").write_text(json.dumps(described))
    before = evaluate(model, data, split="all")
    for case in CASES:
        path = data / "labelsTr" / f"{case}.nii.gz"
        stored = nibabel.load(path)
        ids = np.asarray(stored.dataobj).astype(np.uint8)
        found = predict(model, data / "imagesTr" / f"{case}_0000.nii.gz").mask.T
        ids[found != ids] = 3
        nibabel.save(nibabel.Nifti1Image(ids, stored.affine), path)
    after = evaluate(model, data, split="all")
    assert all(score.dice < 1 for score in before.scores)
    assert [score.dice for score in after.scores] == [1.0] * len(after.scores)


def test_one_volume_at_a_time(model: Segmenter, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import weakref

    alive: list[weakref.ref] = []
    most = 0
    segment = volumes.segment_volume

    def watch(model: Segmenter, volume: Volume, *words, **options):
        nonlocal most
        gc.collect()
        most = max(most, sum(item() is not None for item in alive))
        alive.append(weakref.ref(volume.array))
        return segment(model, volume, *words, **options)

    monkeypatch.setattr("dinoseg.evaluation.volume_views.segment_volume", watch)
    evaluate(model, data, split="all")
    assert len(alive) == 4
    assert most == 0


def test_what_makes_no_sense_is_refused(model: Segmenter, data: Path) -> None:
    with pytest.raises(UsageError, match="protocol paper is that of programs for images"):
        evaluate(model, data, split="all", protocol="paper")
    with pytest.raises(DataError, match="holds volumes, and the model was trained on images"):
        evaluate(make_glass(THREE), data, split="all")


def test_the_telling_slice() -> None:
    target = np.zeros((4, 3, 3), np.uint8)
    prediction = target.copy()
    assert find_telling_slice(target, prediction) == 0
    target[2], prediction[2] = 1, 1
    assert find_telling_slice(target, prediction) == 2
    prediction[1, 0, 0] = 1
    assert find_telling_slice(target, prediction) == 1


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    settings = PreprocessingSettings(size=32, intensity=PercentileIntensity())
    make_vit("linear", size=32, preprocessing=settings).save(tmp_path / "run" / "model")
    splits = Splits(train=CASES[:1], val=CASES[1:3], test=CASES[3:], seed=None, unit="case")
    save_splits(tmp_path / "run" / "splits.json", splits)
    return tmp_path / "run"


def test_a_run_on_volumes_is_scored_on_its_own_test_split(run: Path, data: Path) -> None:
    found = evaluate(run, data)
    assert {score.case for score in found.scores} == {"p4"}

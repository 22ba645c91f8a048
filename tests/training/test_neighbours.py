"""Slices learned beside their neighbours: the bank gives what prediction gives, all in one view."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from dinoseg.config import AugmentationSettings, override
from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.data.splits.splits import load_splits
from dinoseg.inference import predict, segment_volume
from dinoseg.methods import decoder_settings
from dinoseg.model.opening import load
from dinoseg.progress import Silent
from dinoseg.training.features.bank import Sample, ViewBank
from dinoseg.training.learning.calibrating import _answer_anew
from tests.backbones.tiny import Notes
from tests.data.volume_folders import SHAPE, make_raw
from tests.methods.small import SMALL
from tests.training import test_volumes
from tests.training.folders import read_decoder, train_small

DEPTH = SHAPE[0]
TURNED = AugmentationSettings(rotation=90, rotation_probability=1)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("raw") / "raw", 5)


@pytest.fixture
def bank(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ViewBank:
    """Of two volumes, for a model that reads two slices on either side."""
    settings = decoder_settings("guided", **SMALL["guided"], reach=2)
    monkeypatch.setattr(test_volumes, "decoder_settings", lambda _: settings)
    made = test_volumes.make_bank(raw, tmp_path / "features", count=2, views=3, augmentation=TURNED)
    made.build(Silent())
    return made


def test_neighbours_are_the_slices_around_in_the_same_view(bank: ViewBank) -> None:
    for position in (0, 1, DEPTH - 1, DEPTH, DEPTH + 2):
        features = bank.batch([Sample(position, 2)]).features
        assert features.around is not None
        for place, step in enumerate((-2, -1, 1, 2)):
            inside = 0 <= position % DEPTH + step < DEPTH
            for level, maps in zip(features.levels, features.around, strict=True):
                wanted = torch.zeros_like(level)
                if inside:
                    other = bank.batch([Sample(position + step, 2)]).features
                    index = [id(each) for each in features.levels].index(id(level))
                    wanted = other.levels[index]
                assert torch.equal(maps[:, place], wanted)


def test_slices_of_a_volume_are_moved_alike_and_volumes_apart(bank: ViewBank) -> None:
    turns = [[bank._view(Sample(position, view)) for position in range(len(bank))] for view in range(3)]
    for views in turns[1:]:
        assert len(set(views[:DEPTH])) == len(set(views[DEPTH:])) == 1
        assert views[0] != views[DEPTH]
    assert turns[1] != turns[2]


def test_a_batch_of_the_bank_is_what_a_slab_gives(bank: ViewBank) -> None:
    """The same features reach the decoder in training and in prediction."""
    samples = [Sample(position, 0) for position in range(DEPTH)]
    batch = bank.batch(samples)
    slab = batch.features.with_neighbours(2)
    assert batch.features.around is not None
    assert slab.around is not None
    assert all(torch.equal(*pair) for pair in zip(batch.features.around, slab.around, strict=True))


def test_confidence_is_of_the_slices_as_prediction_turns_them(bank: ViewBank, raw: Path) -> None:
    model = bank._model
    model.settings = override(model.settings, {"symmetries": 2})
    cases = open_dataset(raw).cases[:2]
    found = {size: dict(_answer_anew(model, bank, size)) for size in (2, DEPTH)}
    for subject, case in enumerate(cases):
        volume = read_volume_case(case, open_dataset(raw).labels).canonical()
        seen: dict[int, np.ndarray] = {}
        segment_volume(model, volume.image, watch=seen.__setitem__)
        for answers in found.values():
            assert len(answers) == 2 * DEPTH
            for index, expected in seen.items():
                ours = answers[subject * DEPTH + index].probabilities
                np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("reach", [0, 1])
def test_it_trains_saves_and_predicts(raw: Path, tmp_path: Path, reach: int) -> None:
    options = {**SMALL["guided"], "reach": reach}
    changes = {f"model.decoder.{key}": value for key, value in options.items()}
    cache = tmp_path / "cache"
    train_small(raw, tmp_path / "run", cache, method="guided", changes={**changes, "train.lr": 1e-2})
    model = load(tmp_path / "run")
    assert model.reach == reach
    weights = [name for name in read_decoder(tmp_path / "run") if name.startswith("depth.")]
    assert bool(weights) == bool(reach)
    assert all(bool(weight.abs().sum() > 0) for weight in model.decoder.depth.parameters())
    source = open_dataset(raw).cases[0].image
    assert np.asarray(predict(model, source).mask).shape == SHAPE  # type: ignore[union-attr]


def find_spacing(name: str) -> float:
    return 1.0 + int(name[1])


def change_spacing(path: Path, spacing: float) -> None:
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[2, 2] = spacing
    nibabel.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(path)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes whose slices are 2, 3, 4, 5 and 6 mm apart."""
    folder = make_raw(tmp_path_factory.mktemp("uneven") / "raw", 5)
    for path in folder.glob("*Tr/*.nii.gz"):
        change_spacing(path, find_spacing(path.name))
    return folder


def test_the_bank_reads_slices_at_that_distance(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        test_volumes, "decoder_settings", lambda _: decoder_settings("guided", **SMALL["guided"])
    )
    settings = test_volumes.WINDOW.model_copy(update={"slice_spacing": 3.0})
    bank = test_volumes.make_bank(uneven, tmp_path / "features", count=2, settings=settings)
    for volume, stride in ((0, 1.5), (1, 1.0)):
        batch = bank.batch([Sample(volume * DEPTH + index, 0) for index in range(DEPTH)])
        slab = batch.features.with_neighbours(1, stride)
        assert batch.features.around is not None
        assert slab.around is not None
        for found, wanted in zip(batch.features.around, slab.around, strict=True):
            torch.testing.assert_close(found, wanted)


def test_a_run_keeps_the_distance_of_its_cases_or_none(uneven: Path, tmp_path: Path) -> None:
    """Runs of older releases have none, and go on without."""
    changes = {f"model.decoder.{key}": value for key, value in SMALL["guided"].items()}
    run, cache = tmp_path / "run", tmp_path / "cache"
    notes = Notes()
    train_small(uneven, run, cache, method="guided", changes=changes, progress=notes)
    known = [find_spacing(name) for name in load_splits(run / "splits.json").train]
    spacing = statistics.median(known)
    assert load(run).settings.preprocessing.slice_spacing == spacing
    (told,) = [line for line in notes.notes if "mm apart" in line]
    ends = f"{min(known):g} to {max(known):g} mm"
    wanted = f"read {spacing:g} mm apart, the median of the training volumes ({ends})"
    assert told == f"the slices around each are {wanted}"
    for name in ("config.yaml", "model/config.json"):
        path = run / name
        before = path.read_text()
        path.write_text(re.sub(r",?\n *\"?slice_spacing\"?: [0-9.]+", "", before))
        assert "slice_spacing" in before
        assert "slice_spacing" not in path.read_text()
    assert load(run).settings.preprocessing.slice_spacing is None
    longer = {**changes, "train.epochs": 3}
    train_small(uneven, run, cache, method="guided", changes=longer, resume=True)
    assert load(run).settings.preprocessing.slice_spacing is None

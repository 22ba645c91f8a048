"""Volumes learned in several planes: one bank of all slices, and a prediction that averages them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dinoseg.cli.info import word_input
from dinoseg.config import PreprocessingSettings, from_yaml, override
from dinoseg.data import open_dataset
from dinoseg.data.cases.volumes import VolumeSlices, read_volume_case
from dinoseg.errors import ConfigError
from dinoseg.inference import predict, predict_files, segment_volume
from dinoseg.methods import decoder_settings
from dinoseg.model.opening import load
from dinoseg.training.features.bank import Sample, ViewBank
from dinoseg.training.learning.calibrating import _answer_anew
from tests.backbones.tiny import Notes
from tests.data.volume_folders import SHAPE, draw_label, make_raw
from tests.methods.small import SMALL
from tests.training import test_volumes
from tests.training.folders import make_data, train_small

PLANES = ("axial", "coronal", "sagittal")
STARTS = np.cumsum([0, *SHAPE]).tolist()  # of the planes of a volume, then of the next volume


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("raw") / "raw", 3)


@pytest.fixture
def bank(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ViewBank:
    """Of two volumes in three planes, for a model that reads the slices around."""
    settings = decoder_settings("guided", **SMALL["guided"])
    monkeypatch.setattr(test_volumes, "decoder_settings", lambda _: settings)
    preprocessing = test_volumes.WINDOW.model_copy(update={"plane": PLANES, "slice_spacing": 0.8, "size": 32})
    return test_volumes.make_bank(raw, tmp_path / "features", count=2, settings=preprocessing)


def test_a_bank_holds_the_slices_of_all_planes(bank: ViewBank) -> None:
    assert len(bank) == 2 * sum(SHAPE)
    assert [bank.subject(position) for position in range(len(bank))] == [0] * sum(SHAPE) + [1] * sum(SHAPE)
    upright = draw_label(2)[::-1, ::-1, ::-1]
    for axis, start in enumerate(STARTS[:3]):
        for index in (0, SHAPE[axis] // 2):
            wanted = np.take(upright, index, axis)
            label = bank.native_label(STARTS[3] + start + index)
            np.testing.assert_array_equal(label.numpy(), wanted)
            assert bool(bank.foreground[STARTS[3] + start + index]) == bool(wanted.any())
            assert bank._items.size(STARTS[3] + start + index) == wanted.shape
    assert len(set(bank._images)) == len(set(bank._labels)) == len(bank)


def test_a_plane_of_several_is_remembered_as_if_it_were_alone(
    bank: ViewBank, raw: Path, tmp_path: Path
) -> None:
    alone = test_volumes.WINDOW.model_copy(update={"plane": "coronal", "size": 32})
    other = test_volumes.make_bank(raw, tmp_path / "other", count=1, settings=alone)
    assert list(other._images) == list(bank._images[STARTS[1] : STARTS[2]])


def test_neighbours_end_with_the_plane_and_lie_in_its_distance(bank: ViewBank) -> None:
    """Axial slices are 3 mm apart, coronal ones 0.7 and sagittal ones 0.8; a step is 0.8 mm."""
    for axis, stride in enumerate((0.3, 1.1, 1.0)):
        samples = [Sample(position, 0) for position in range(STARTS[axis], STARTS[axis + 1])]
        batch = bank.batch(samples)
        slab = batch.features.with_neighbours(1, stride)
        for found, wanted in zip(batch.features.around or (), slab.around or (), strict=True):
            torch.testing.assert_close(found, wanted)


class Asked:
    """A model under four symmetries that keeps what it is asked about."""

    def __init__(self, bank: ViewBank) -> None:
        self.settings = bank._model.settings.model_copy(update={"symmetries": 4})
        self.found: list[tuple[set[tuple[int, int]], float]] = []

    def answer(self, pixels: Any, sizes: Any, *, spacing: float, **keywords: Any) -> list[None]:
        self.found.append((set(sizes), spacing))
        return [None] * len(sizes)


def test_what_is_asked_anew_of_a_slab_lies_in_one_plane(bank: ViewBank) -> None:
    asked: Any = Asked(bank)
    assert [position for position, _ in _answer_anew(asked, bank, 4)] == list(range(len(bank)))
    spacings = {(20, 24): 3.0, (6, 24): 0.7, (6, 20): 0.8}
    for sizes, spacing in asked.found:
        (size,) = sizes
        assert spacing == pytest.approx(spacings[size])


@pytest.fixture(scope="module")
def told() -> Notes:
    """What was told while `run` was trained."""
    return Notes()


@pytest.fixture(scope="module")
def run(raw: Path, told: Notes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planes")
    changes: dict[str, Any] = {f"model.decoder.{key}": value for key, value in SMALL["guided"].items()}
    changes |= {"model.preprocessing.plane": "axial, coronal,sagittal", "train.epochs": 1}
    changes |= {"model.preprocessing.size": 32, "train.views": 1}
    train_small(raw, folder / "run", folder / "cache", method="guided", changes=changes, progress=told)
    return folder / "run"


def test_one_step_in_mm_is_read_from_all_planes(run: Path, told: Notes) -> None:
    assert load(run).settings.preprocessing.slice_spacing == pytest.approx(0.8)  # of 0.7, 0.8 and 3
    words = "the slices around each are read 0.8 mm apart, the median of the training volumes (0.7 to 3 mm)"
    assert [line for line in told.notes if "mm apart" in line] == [words]


def test_a_model_predicts_in_the_planes_that_it_learned(run: Path, raw: Path) -> None:
    model = load(run)
    assert model.settings.preprocessing.planes == PLANES
    case = open_dataset(raw).cases[0]
    found: Any = predict(run, case.image)
    assert found.planes == PLANES
    volume = read_volume_case(case, open_dataset(raw).labels).image
    np.testing.assert_array_equal(found.mask, segment_volume(model, volume, planes=PLANES).mask)
    assert segment_volume(model, volume, planes=("axial",)).planes == ("axial",)


def test_it_is_said_that_planes_are_averaged(run: Path, raw: Path, tmp_path: Path) -> None:
    described = json.loads((run / "model/config.json").read_text())["settings"]["preprocessing"]
    words = "axial, coronal, sagittal slices"
    assert word_input(described) == f"{words} are resized to 32 px, and averaged"
    assert f"Input: {words} of 32×32 px, whose answers are averaged." in (run / "model/README.md").read_text()
    source, notes = open_dataset(raw).cases[0].image, Notes()
    predict_files(run, source, tmp_path / "all", progress=notes)
    assert any(f"cut into {words}" in line for line in notes.notes)
    quiet = Notes()
    predict_files(run, source, tmp_path / "one", planes=("axial",), progress=quiet)
    assert not any("cut into" in line for line in quiet.notes)


def test_slices_are_cut_in_one_plane(raw: Path) -> None:
    settings = test_volumes.WINDOW.model_copy(update={"plane": PLANES})
    case = read_volume_case(open_dataset(raw).cases[0], open_dataset(raw).labels).canonical()
    with pytest.raises(ConfigError, match="slices lie in one plane, given axial, coronal, sagittal"):
        VolumeSlices(case.image, settings)
    assert len(VolumeSlices(case.image, settings.in_plane("coronal"))) == SHAPE[1]


def test_the_forms_of_the_setting() -> None:
    for text in ("'axial,coronal'", "[axial, coronal]"):
        settings = from_yaml(PreprocessingSettings, f"{{intensity: {{kind: percentiles}}, plane: {text}}}")
        assert settings.planes == ("axial", "coronal")
        assert from_yaml(PreprocessingSettings, settings.model_dump_json()) == settings
    for text in ("coronal", "[coronal]"):
        settings = from_yaml(PreprocessingSettings, f"plane: {text}")
        assert (settings.plane, settings.planes) == ("coronal", ("coronal",))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plane": "axial,oblique"}, "'plane': a plane is one of axial, coronal, sagittal, not 'oblique'"),
        ({"plane": "axial,axial"}, "'plane': a plane is named twice"),
        ({"plane": []}, "'plane': give one of axial, coronal, sagittal, or a list of several"),
        ({"plane": "axial,coronal", "intensity": None}, "several planes are for volumes; images have one"),
        (
            {"plane": "axial,coronal", "window": 48, "size": 48},
            "several planes and a window exclude each other",
        ),
    ],
)
def test_what_several_planes_are_refused_for(changes: dict[str, Any], words: str) -> None:
    volumes = PreprocessingSettings(intensity={"kind": "percentiles"})
    with pytest.raises(ConfigError, match=words) as caught:
        override(volumes, changes)
    assert "\n" not in str(caught.value)


def test_images_and_windows_are_refused_before_any_work(raw: Path, tmp_path: Path) -> None:
    changes = {"model.preprocessing.plane": "axial,coronal"}
    images = make_data(tmp_path / "images", count=6)
    with pytest.raises(ConfigError, match="several planes are for volumes"):
        train_small(images, tmp_path / "run", tmp_path / "cache", changes=changes)
    window = {"train.window": 48, "model.preprocessing.size": 48}
    with pytest.raises(ConfigError, match="several planes and a window exclude each other"):
        train_small(raw, tmp_path / "run", tmp_path / "cache", changes={**changes, **window})
    assert not (tmp_path / "run").exists()

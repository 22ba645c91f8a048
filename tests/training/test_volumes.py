"""Training on volumes: slices in the bank, subjects in the splits, Dice in three dimensions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dinoseg.training.features.items as items_module
from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.config import (
    AugmentationSettings,
    BackboneSettings,
    PercentileIntensity,
    PreprocessingSettings,
    RangeIntensity,
    TrainSettings,
    WindowIntensity,
    from_yaml,
    override,
)
from dinoseg.data import open_dataset
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.volumes import VolumeSlices, read_volume_case
from dinoseg.data.volumes import read_volume
from dinoseg.errors import ConfigError, DataError, SplitError
from dinoseg.inference import predict
from dinoseg.methods import decoder_settings
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.progress import Silent
from dinoseg.training.features.bank import Batch, Sample, ViewBank
from dinoseg.training.features.epochs import draw_epoch
from dinoseg.training.features.items import KEPT_VOLUMES, read_digests
from dinoseg.training.learning.history import History
from dinoseg.training.learning.module import DecoderTraining
from tests.backbones.tiny import Notes
from tests.data.volume_folders import SHAPE, draw_label, make_acdc, make_raw
from tests.training.folders import make_data, read_decoder, read_rows, train_small

WINDOW = PreprocessingSettings(size=48, intensity=WindowIntensity(windows=((200, 800),)))
DEPTH = SHAPE[0]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("raw") / "raw", 5)


def make_bank(
    data: Path,
    store: Path,
    *,
    settings: PreprocessingSettings = WINDOW,
    count: int | None = None,
    **keywords: Any,
) -> ViewBank:
    dataset = open_dataset(data)
    backbone = create_backbone("untrained-vitt16")
    model_settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("linear"),
        preprocessing=settings,
        classes=dataset.classes,
    )
    cache = FeatureCache(backbone, backbone.digest, EntryStore(store, limit_gb=1), dtype="float32")
    cases = dataset.cases[:count]
    keywords = {"augmentation": None, "views": 1, "seed": 0, **keywords}
    model = Segmenter(model_settings, backbone)
    return ViewBank(cases, dataset.labels, model, cache, digests=read_digests(cases), **keywords)


def test_every_slice_is_an_item(raw: Path, tmp_path: Path) -> None:
    bank = make_bank(raw, tmp_path, count=2)
    assert len(bank) == 2 * DEPTH
    assert [bank.subject(position) for position in range(len(bank))] == [0] * DEPTH + [1] * DEPTH
    bank.build(Silent())
    dataset = open_dataset(raw)
    case = read_volume_case(dataset.cases[1], dataset.labels).canonical()
    model = bank._model
    pixels = model.prepare(VolumeSlices(case.image, WINDOW).image(2))
    batch = bank.batch([Sample(DEPTH + 2, 0)])
    assert torch.equal(batch.features.levels[-1], model.backbone(pixels[None]).levels[-1])
    upright = draw_label(2)[::-1, ::-1, ::-1]
    assert np.array_equal(bank.native_label(DEPTH + 2).numpy(), upright[2])
    assert batch.label.shape == (1, 48, 48)
    assert set(batch.label.unique().tolist()) == {0, 1, 2}


def test_a_volume_is_read_once_and_few_are_kept(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, most = [], 0
    original = items_module.read_volume_case

    def note(files: Any, mapping: Any) -> Any:
        nonlocal most
        most = max(most, len(bank._items._opened))  # type: ignore[attr-defined]
        read.append(files.id)
        return original(files, mapping)

    monkeypatch.setattr(items_module, "read_volume_case", note)
    bank = make_bank(raw, tmp_path, views=2, augmentation=AugmentationSettings())
    bank.build(Silent())
    assert read == ["c1", "c2", "c3", "c4", "c5"]
    assert most == KEPT_VOLUMES - 1  # and the one that is being read
    assert bank.foreground.sum() == 5 * (DEPTH - 2)
    read.clear()
    again = make_bank(raw, tmp_path, views=2, augmentation=AugmentationSettings())
    again.build(Silent())
    again.batch([Sample(position, 1) for position in range(len(again))])
    assert torch.equal(again.foreground, bank.foreground)
    assert read == []


@pytest.mark.parametrize(
    "change",
    [
        {"intensity": WindowIntensity(windows=((200, 400),))},
        {"intensity": PercentileIntensity()},
        {"intensity": RangeIntensity(minimum=-200, maximum=700)},
        {"context": 3},
        {"plane": "coronal"},
    ],
)
def test_each_setting_of_volumes_changes_the_bank(
    raw: Path, tmp_path: Path, change: Mapping[str, Any]
) -> None:
    """Another name of every entry, and other features."""
    settings = WINDOW.model_copy(update=dict(change))
    bank, other = make_bank(raw, tmp_path, count=1), make_bank(raw, tmp_path, settings=settings, count=1)
    assert not set(bank._images) & set(other._images)
    sample = [Sample(3, 0)]
    first, second = (item.batch(sample).features.levels[-1] for item in (bank, other))
    assert not torch.equal(first, second)
    assert len(other) == (SHAPE[1] if "plane" in change else DEPTH)


def test_views_of_slices_are_drawn_for_each(raw: Path, tmp_path: Path) -> None:
    bank = make_bank(raw, tmp_path, count=1, views=3, augmentation=AugmentationSettings())
    assert len({repr(views) for views in bank._drawn}) == DEPTH


def test_the_smallest_bank_counts_slices(raw: Path, tmp_path: Path) -> None:
    augmentation = AugmentationSettings()
    assert make_bank(raw, tmp_path, views=2, min_bank=100, augmentation=augmentation).views == 4
    assert make_bank(raw, tmp_path, views=2, min_bank=60, augmentation=augmentation).views == 2


def shares(bank: ViewBank, share: float, *, epochs: int = 5, **keywords: Any) -> list[float]:
    drawn = [
        draw_epoch(bank, foreground_share=share, seed=0, epoch=epoch, **keywords) for epoch in range(epochs)
    ]
    return [
        float(bank.foreground[[sample.position for sample in samples]].float().mean()) for samples in drawn
    ]


def test_slices_with_a_class_come_more_often(raw: Path, tmp_path: Path) -> None:
    bank = make_bank(raw, tmp_path)  # 4 of 6 slices show a class
    assert shares(bank, 0.0) == pytest.approx([4 / 6] * 5)
    assert shares(bank, 0.5) == pytest.approx([4 / 6] * 5)  # more than asked for: as they come
    assert shares(bank, 0.9) == pytest.approx([0.9] * 5)
    assert shares(bank, 1.0, count=17) == [1.0] * 5
    samples = draw_epoch(bank, foreground_share=0.9, seed=0, epoch=0)
    assert len(samples) == len(bank)
    assert samples == draw_epoch(bank, foreground_share=0.9, seed=0, epoch=0)
    assert samples != draw_epoch(bank, foreground_share=0.9, seed=0, epoch=1)
    # Each slice with a class once before any comes twice.
    counts = np.bincount([s.position for s in samples], minlength=len(bank))[bank.foreground.numpy()]
    assert counts.min() >= 1
    assert counts.max() <= 2


def test_training_draws_by_the_share_of_the_settings(raw: Path, tmp_path: Path) -> None:
    bank = make_bank(raw, tmp_path)
    module = DecoderTraining(bank._model, TrainSettings(foreground_share=1.0), bank, None)
    module.trainer = type("Trainer", (), {"global_rank": 0, "world_size": 1, "current_epoch": 0})()
    chunks = module.train_dataloader()._chunks
    assert all(bank.foreground[sample.position] for chunk in chunks for sample in chunk)


class Pass(torch.nn.Module):
    """A decoder that gives what it is given."""

    def forward(self, features: Tensor, pixels: None) -> Tensor:
        return features


def score(bank: ViewBank, masks: list[Tensor]) -> float:
    """val_dice of masks (H, W), one per slice, as the module counts it."""
    module = DecoderTraining(bank._model, TrainSettings(), bank, bank)
    module.decoder = Pass()  # type: ignore[assignment]
    logged: dict[str, float] = {}
    module.log = lambda name, value, **keywords: logged.update({name: float(value)})  # type: ignore[method-assign, assignment, misc]
    outputs = len(bank._model.classes) if len(bank._model.classes) > 2 else 1
    for position, mask in enumerate(masks):
        if outputs == 1:
            logits = ((mask.float() * 2 - 1) * 9)[None, None]
        else:
            logits = torch.nn.functional.one_hot(mask.long(), outputs).movedim(-1, 0)[None].float() * 9
        shown: Any = logits  # what the decoder of this test hands on
        batch = Batch(features=shown, label=mask[None], pixels=None, positions=(position,))
        module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    return logged["val_dice"]


def test_dice_is_that_of_whole_volumes(raw: Path, tmp_path: Path) -> None:
    """Not the mean over slices: an empty slice that is answered with nothing earns nothing."""
    bank = make_bank(raw, tmp_path, count=2)
    truth = [draw_label(number)[::-1, ::-1, ::-1] for number in (1, 2)]
    masks = [volume.copy() for volume in truth]
    masks[0][1] = 0
    masks[1][masks[1] == 2] = 1
    expected = []
    for mask, label in zip(masks, truth, strict=True):
        for class_id in (1, 2):
            ours, theirs = mask == class_id, label == class_id
            expected.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    found = score(bank, [torch.from_numpy(item) for volume in masks for item in volume])
    assert found == pytest.approx(np.mean(expected), rel=1e-6)


def test_what_nobody_decided_is_in_no_score(tmp_path: Path) -> None:
    data = make_raw(tmp_path / "raw", 1, labels={"background": 0, "organ": 1, "ignore": 2})
    bank = make_bank(data, tmp_path / "features")
    assert bank.ignores
    label = draw_label(1)[::-1, ::-1, ::-1]
    assert set(bank.native_label(2).unique().tolist()) == {0, 1, IGNORE_ID}
    for filled in (0, 1):
        mask = np.where(label == 2, filled, label)
        assert score(bank, [torch.from_numpy(item.copy()) for item in mask]) == 1.0


# Whole runs.


@pytest.fixture(scope="module")
def acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_acdc(tmp_path_factory.mktemp("acdc"))


@pytest.mark.usefixtures("quick")
def test_a_run_on_the_first_shots(acdc: Path, cache: Path, tmp_path: Path) -> None:
    notes = Notes()
    train_small(acdc, tmp_path / "run", cache, shots=3, shots_from="first", progress=notes)
    splits = json.loads((tmp_path / "run/splits.json").read_text())
    assert splits["train"] == ["patient003_ES", "patient003_ED", "patient001_ED"]
    assert splits["val"] == ["patient002_ED", "patient002_ES"]
    assert any(note.startswith("intensities of the volumes (channels: not named)") for note in notes.notes)
    assert all(0 <= float(row["val_dice"]) <= 1 for row in read_rows(tmp_path / "run"))
    settings = load(tmp_path / "run").settings.preprocessing
    assert settings.intensity == PercentileIntensity()
    assert settings.for_volumes


@pytest.mark.usefixtures("quick")
def test_resumed_equals_uninterrupted(
    acdc: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"train.epochs": 3, "train.foreground_share": 0.9, "model.preprocessing.context": 3}
    train_small(acdc, tmp_path / "whole", cache, changes=changes)
    original = History.on_train_epoch_start

    def fail(self: History, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 2:
            raise InterruptedError
        original(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(History, "on_train_epoch_start", fail)
        with pytest.raises(InterruptedError):
            train_small(acdc, tmp_path / "run", cache, changes=changes)
    torch.rand(11)
    train_small(acdc, tmp_path / "run", cache, changes=changes, resume=True)
    whole, resumed = read_decoder(tmp_path / "whole"), read_decoder(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert read_rows(tmp_path / "whole") == read_rows(tmp_path / "run")


@pytest.mark.usefixtures("quick")
def test_a_fold(raw: Path, cache: Path, tmp_path: Path) -> None:
    folds = [{"train": ["c1", "c2", "c3", "c4"], "val": ["c5"]}, {"train": ["c2", "c5"], "val": ["c1"]}]
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps(folds))
    train_small(raw, tmp_path / "run", cache, splits=path, changes={"fold": 1, "train.epochs": 1})
    splits = json.loads((tmp_path / "run/splits.json").read_text())
    assert (splits["train"], splits["val"]) == (["c2", "c5"], ["c1"])
    with pytest.raises(SplitError, match="holds 2 folds, given fold 2"):
        train_small(raw, tmp_path / "other", cache, splits=path, changes={"fold": 2})


@pytest.mark.usefixtures("quick")
def test_ct_is_windowed_and_ignored_pixels_teach_nothing(cache: Path, tmp_path: Path) -> None:
    labels = {"background": 0, "organ": 1, "ignore": 2}
    notes = Notes()
    data = make_raw(tmp_path / "raw", 5, channels=("CT",), labels=labels)
    model = train_small(data, tmp_path / "run", cache, changes={"train.epochs": 1}, progress=notes)
    assert model.settings.preprocessing.intensity == WindowIntensity()
    assert model.classes == {0: "background", 1: "organ"}
    assert any("(channels: CT): kind window, windows [[40.0, 400.0]]" in note for note in notes.notes)


def test_intensities_belong_to_volumes(acdc: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is null, and .* holds volumes, which need one"):
        train_small(acdc, tmp_path / "run", cache, changes={"model.preprocessing.intensity": None})
    images = make_data(tmp_path / "images")
    with pytest.raises(ConfigError, match=r"is set, and .* holds images, which have none"):
        train_small(
            images, tmp_path / "run", cache, changes={"model.preprocessing.intensity": {"kind": "window"}}
        )
    with pytest.raises(ConfigError, match="context 3 is for volumes"):
        train_small(images, tmp_path / "run", cache, changes={"model.preprocessing.context": 3})


# Settings.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intensity": {"kind": "window", "windows": [[40, 400], [0, 1]]}}, "one or three windows"),
        ({"intensity": {"kind": "window", "windows": [[40, 0]]}}, "one or three windows"),
        ({"intensity": {"kind": "percentiles", "low": 50, "high": 50}}, "low 50.0 is not below high 50.0"),
        ({"intensity": {"kind": "range", "minimum": 5, "maximum": 5}}, "minimum 5.0 is not below maximum"),
        ({"intensity": {"kind": "hounsfield"}}, "setting 'intensity'"),
        ({"intensity": {"kind": "window", "windows": [[0, 1]] * 3}, "context": 3}, "nine channels"),
        ({"context": 2}, "setting 'context'"),
        ({"plane": "oblique"}, "setting 'plane'"),
    ],
)
def test_wrong_settings(changes: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        override(PreprocessingSettings(), changes)
    assert "window.windows" not in str(caught.value)


def test_models_of_older_versions_are_for_images() -> None:
    settings = from_yaml(PreprocessingSettings, "size: 256")
    assert settings == PreprocessingSettings(size=256)
    assert not settings.for_volumes


def test_settings_survive_the_file() -> None:
    text = (
        "{size: 64, intensity: {kind: window, windows: [[40, 400], [50, 100], [600, 1500]]}, plane: coronal}"
    )
    settings = from_yaml(PreprocessingSettings, text)
    assert settings.intensity == WindowIntensity(windows=((40, 400), (50, 100), (600, 1500)))
    assert from_yaml(PreprocessingSettings, settings.model_dump_json()) == settings


@pytest.mark.usefixtures("quick")
def test_channels_are_counted_and_asked_for_again(cache: Path, tmp_path: Path) -> None:
    data = make_raw(tmp_path / "raw", 5, channels=("T1", "T2"))
    model = train_small(data, tmp_path / "run", cache, changes={"train.epochs": 1})
    assert model.settings.preprocessing.channels == 2
    found = predict(model, data / "imagesTr")
    assert [item.id for item in found] == [f"c{number}_0000" for number in range(1, 6)]
    alone = read_volume(data / "imagesTr" / "c1_0000.nii.gz")
    with pytest.raises(DataError, match="has 1 channels, and the model was trained on 2"):
        predict(model, alone)
    with pytest.raises(ConfigError, match=r"'model.preprocessing.channels' cannot be changed here"):
        train_small(data, tmp_path / "no", cache, changes={"model.preprocessing.channels": 1})

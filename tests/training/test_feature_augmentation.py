"""WT-Aug in training: on the features of training batches, from the run's seed, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import dinoseg.training.learning.step as step_module
from dinoseg.backbones.features import Features
from dinoseg.config import TrainSettings
from dinoseg.methods import METHODS
from dinoseg.methods.blocks.wt_aug import wt_aug
from dinoseg.training.features.bank import Batch
from dinoseg.training.learning.feature_augmentation import augment_features
from dinoseg.training.learning.module import DecoderTraining
from tests.inference.models import BINARY, make_glass
from tests.training.folders import NARROW, read_decoder, train_small

WAVELET = TrainSettings(feature_augmentation="wavelet", wavelet_probability=1.0)


def make_features(batch: int = 3) -> Features:
    generator = torch.Generator().manual_seed(0)
    levels = tuple(torch.randn(batch, 6, size, size, generator=generator) for size in (16, 8, 4, 2))
    return Features(levels, (4, 8, 16, 32), (64, 64), (64, 64))


def same(first: Features, second: Features) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.levels, second.levels, strict=True))


def augment(settings: TrainSettings, *, epoch: int = 0, step: int = 0, process: int = 0) -> Features:
    return augment_features(make_features(), settings, epoch=epoch, step=step, process=process)


def test_without_it_the_features_are_handed_on() -> None:
    features = make_features()
    assert augment_features(features, TrainSettings(), epoch=0, step=0, process=0) is features


def test_all_four_maps_change() -> None:
    before, after = make_features(), augment(WAVELET)
    assert [torch.equal(a, b) for a, b in zip(before.levels, after.levels, strict=True)] == [False] * 4


def test_what_is_drawn_follows_from_seed_epoch_and_step() -> None:
    again = augment(WAVELET, epoch=3, step=7)
    assert same(again, augment(WAVELET, epoch=3, step=7))
    others = [
        augment(WAVELET, epoch=7, step=3),
        augment(WAVELET, epoch=3, step=8),
        augment(WAVELET, epoch=3, step=7, process=1),
        augment(WAVELET.model_copy(update={"seed": 1}), epoch=3, step=7),
    ]
    assert not any(same(again, other) for other in others)


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    augment(WAVELET)
    assert torch.equal(torch.get_rng_state(), state)


def test_its_settings_are_those_of_wt_aug(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = WAVELET.model_copy(update={"wavelet_probability": 0.0})
    assert same(augment(nothing), make_features())
    everything = augment(WAVELET.model_copy(update={"wavelet_drop": 1.0}))
    assert not any(level.any() for level in everything.levels)
    seen: dict[str, float] = {}

    def note(features: Features, generator: torch.Generator, **keywords: float) -> Features:
        seen.update(keywords)
        return wt_aug(features, generator, **keywords)

    monkeypatch.setattr("dinoseg.training.learning.feature_augmentation.wt_aug", note)
    augment(TrainSettings(feature_augmentation="wavelet"))
    assert seen == {"probability": 0.7, "drop": 0.3}  # as published


class Watched(DecoderTraining):
    """A training module whose decoder notes the features it is given."""

    def __init__(self, settings: TrainSettings) -> None:
        bank: Any = SimpleNamespace(
            native_label=lambda position: torch.zeros(64, 64, dtype=torch.uint8),
            ignores=False,
            subject=lambda position: position,
        )
        super().__init__(make_glass(BINARY), settings, bank, bank)
        self.seen: list[Features] = []
        self.decoder.forward = self._note  # type: ignore[method-assign]
        self.trainer = SimpleNamespace(  # type: ignore[assignment]
            current_epoch=2, global_rank=0, num_training_batches=99
        )
        self.log = lambda *arguments, **keywords: None  # type: ignore[method-assign]

    def _note(self, features: Features, image: Tensor | None = None) -> Tensor:
        self.seen.append(features)
        return torch.zeros(len(features.levels[0]), 1, 64, 64, requires_grad=True)


@pytest.mark.parametrize("settings", [WAVELET, TrainSettings()])
def test_training_batches_are_augmented_and_validation_is_not(settings: TrainSettings) -> None:
    module, features = Watched(settings), make_features()
    batch = Batch(features, torch.zeros(3, 64, 64, dtype=torch.uint8), None, (0, 1, 2))
    module.training_step(batch, 5)
    module.validation_step(batch, 5)
    trained, validated = module.seen
    assert same(trained, augment(settings, epoch=2, step=5))
    assert same(trained, features) == (settings.feature_augmentation is None)
    assert validated is features


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_can_use_it(
    method: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {f"model.decoder.{key}": value for key, value in NARROW.get(method, {}).items()}
    changes = {**changes, "train.epochs": 1, "train.views": 1, "train.warmup_epochs": 0}
    changed = []

    def note(features: Features, settings: TrainSettings, **place: int) -> Features:
        augmented = augment_features(features, settings, **place)
        changed.append(not same(features, augmented))
        return augmented

    monkeypatch.setattr(step_module, "augment_features", note)
    train_small(data, tmp_path / "off", cache, method=method, changes=changes)
    assert changed
    assert not any(changed)
    changed.clear()
    wavelet = {**changes, "train.feature_augmentation": "wavelet"}
    train_small(data, tmp_path / "on", cache, method=method, changes=wavelet)
    assert any(changed)
    first, second = read_decoder(tmp_path / "off"), read_decoder(tmp_path / "on")
    assert any(not torch.equal(first[name], second[name]) for name in first)

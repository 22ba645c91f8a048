"""A training at 32 px, whose coarsest maps have one cell, with a last batch of one image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from dinoseg.backbones.features import Features
from dinoseg.config import DecoderSettings, TrainSettings
from dinoseg.errors import ConfigError
from dinoseg.inference import predict
from dinoseg.methods import METHODS, Card
from dinoseg.methods.decoder import Decoder
from dinoseg.training.features.bank import ViewBank
from tests.training.folders import NARROW, make_data, train_small

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize("method", METHODS.ours)
def test_a_last_batch_of_one_is_learned_from(data: Path, tmp_path: Path, method: str) -> None:
    narrow = {f"model.decoder.{key}": value for key, value in NARROW.get(method, {}).items()}
    changes = {**narrow, "model.preprocessing.size": 32, "train.batch_size": 4, "train.epochs": 1}
    model = train_small(data, tmp_path / "run", tmp_path / "cache", method=method, changes=changes)
    assert all(weight.isfinite().all() for weight in model.decoder.parameters())
    picture = sorted((data / "images").iterdir())[0]
    assert predict(model, picture).mask.shape == (60, 72)  # type: ignore[union-attr]


class StrictSettings(DecoderSettings):
    method: Literal["strict"] = "strict"


class Strict(Decoder):
    """Of somebody else's: normalises maps of half the size, which must not have one value."""

    levels = None

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels[0], outputs, 1)
        self.norm = nn.BatchNorm2d(outputs)

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        maps = self.norm(self.classify(features.levels[0])[..., ::2, ::2])
        return torch.nn.functional.interpolate(maps, size=features.padded)


@pytest.fixture
def card() -> Card:
    return Card(
        name="strict",
        title="strict",
        source="nobody",
        settings=StrictSettings,
        recipe=TrainSettings(epochs=1),
        decoder=f"{__name__}:Strict",
    )


def test_what_a_foreign_method_cannot_take_is_refused_before_features_are_computed(
    data: Path, tmp_path: Path, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr(ViewBank, "build", build)
    with pytest.raises(
        ConfigError,
        match=r"'strict' takes no batch of one image of 32 px \(Expected more than 1 value.*"
        r"--set model.preprocessing.size=64 is accepted",
    ) as caught:
        train_small(
            data,
            tmp_path / "run",
            tmp_path / "cache",
            method=card,
            changes={"model.preprocessing.size": 32, "model.decoder": {"method": "strict"}},
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()

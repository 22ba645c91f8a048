"""The loop without Lightning takes the trainer's steps, bit for bit, and leaves the process alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.config import from_yaml
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import load_splits
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.features.items import read_digests
from dinoseg.training.learning.loop import Loop, Taken
from dinoseg.training.learning.module import DecoderTraining
from tests.training.folders import NARROW, train_small

STEPS = 10
#: With momentum, clipping, a warm-up, drawn features and DropPath: all that a step may hold.
RECIPES: dict[str, dict[str, Any]] = {
    "segdino-v2": {"train.warmup_epochs": 1},
    "dino-unet": {
        **{"train.optimizer": "sgd", "train.schedule": "poly", "train.gradient_clip": 0.5},
        **{f"model.decoder.{key}": value for key, value in NARROW["dino-unet"].items()},
    },
    "dino-augseg": {"train.feature_augmentation": "wavelet", "model.decoder.final_width": 8},
}


class Spy:
    """What the trainer saw and made of its first steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.losses: list[float] = []
        self.positions: list[tuple[int, ...]] = []
        self.weights: list[dict[str, Tensor]] = []
        step = DecoderTraining.training_step

        def watch(module: DecoderTraining, batch: Any, index: int) -> Tensor:
            loss = step(module, batch, index)
            self.losses.append(float(loss.detach()))
            self.positions.append(batch.positions)
            return loss

        def keep(module: DecoderTraining, *arguments: Any) -> None:
            self.weights.append({key: value.clone() for key, value in module.decoder.state_dict().items()})

        monkeypatch.setattr(DecoderTraining, "training_step", watch)
        monkeypatch.setattr(DecoderTraining, "on_train_batch_end", keep)


def make_loop(run: Path, data: Path, cache: Path) -> tuple[Segmenter, Loop]:
    """A model as fresh as that of the run was, and a loop over the same training cases."""
    settings = from_yaml(RunSettings, (run / "config.yaml").read_text())
    dataset, vit = open_dataset(data), create_backbone("untrained-vitt16")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.train.seed)
        model = Segmenter(settings.model, vit)
    cases = dataset.find(load_splits(run / "splits.json").train)
    bank = ViewBank(
        cases,
        dataset.labels,
        model,
        FeatureCache(vit, vit.digest, EntryStore(cache, limit_gb=1), dtype=settings.cache.dtype),
        digests=read_digests(cases),
        augmentation=settings.train.augmentation,
        views=settings.train.views if settings.train.augmentation else 1,
        seed=settings.train.seed,
    )
    return model, Loop(model, settings.train, bank)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", RECIPES)
def test_first_ten_steps_are_the_trainers(
    method: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    changes = {"train.epochs": 3, "train.batch_size": 2, **RECIPES[method]}
    train_small(data, tmp_path / "run", cache, method=method, changes=changes, seed=4)
    model, loop = make_loop(tmp_path / "run", data, cache)
    taken: list[Taken] = []
    for step, expected in zip(loop.steps(), spy.weights[:STEPS], strict=False):
        taken.append(step)
        found = model.decoder.state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items()), step
        torch.rand(3)  # what others draw meanwhile changes nothing
        assert not model.decoder.training
    assert len(taken) == STEPS
    assert taken[-1].epoch > 0  # an epoch has ended among them
    assert [step.loss for step in taken] == spy.losses[:STEPS]
    assert [step.positions for step in taken] == spy.positions[:STEPS]


def test_between_steps_the_process_is_as_it_was(data: Path, cache: Path, tmp_path: Path) -> None:
    train_small(data, tmp_path / "run", cache, method="linear", changes={"train.epochs": 1})
    _, loop = make_loop(tmp_path / "run", data, cache)
    before = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    for _ in islice(loop.steps(), 2):
        now = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
        assert torch.equal(now[0], before[0])
        assert now[1:] == before[1:]


def test_a_loop_ends_after_its_epochs(data: Path, cache: Path, tmp_path: Path) -> None:
    train_small(data, tmp_path / "run", cache, method="linear", changes={"train.epochs": 1})
    _, loop = make_loop(tmp_path / "run", data, cache)
    steps = list(loop.steps())
    assert {step.epoch for step in steps} == {0}
    assert [step.index for step in steps] == list(range(len(steps)))

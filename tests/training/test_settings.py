"""Every setting changes something that can be observed."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.config import (
    AugmentationSettings,
    BackboneSettings,
    CacheSettings,
    PreprocessingSettings,
    TrainSettings,
)
from dinoseg.data import open_dataset
from dinoseg.data.tensors.augmentation import draw_view
from dinoseg.errors import ConfigError, UsageError
from dinoseg.methods import METHODS, decoder_settings
from dinoseg.methods.presets import preset
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.processes import ALONE, Processes
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.features.items import read_digests
from dinoseg.training.learning.module import DecoderTraining
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, read_decoder, read_rows, train_small

pytestmark = pytest.mark.usefixtures("quick")

# What is observed of a run. A setting is shown to matter by the first of them that it changes.
MODEL, TABLE, ROWS, ENTRIES, BYTES = "model", "table", "rows", "entries", "bytes"

BASE: dict[str, Any] = {"train.warmup_epochs": 0, "model.preprocessing.size": 48}
EFFECTS: dict[str, tuple[Any, str]] = {
    "train.epochs": (3, ROWS),
    "train.steps_per_epoch": (5, MODEL),
    "train.batch_size": (3, MODEL),
    "train.optimizer": ("adam", MODEL),
    "train.lr": (1e-2, MODEL),
    "train.weight_decay": (0.9, MODEL),
    "train.gradient_clip": (1e-3, MODEL),
    "train.loss": ("focal", TABLE),
    "train.class_weights": ([1.0, 5.0], MODEL),
    "train.schedule": ("constant", MODEL),
    "train.warmup_epochs": (1, MODEL),
    "train.views": (3, ENTRIES),
    "train.min_bank": (30, ENTRIES),
    "train.min_epoch_samples": (20, MODEL),
    "train.augmentation": (None, ENTRIES),
    "train.feature_augmentation": ("wavelet", MODEL),
    "train.validate_every": (2, TABLE),
    "train.window": (48, MODEL),
    "model.preprocessing.size": (32, BYTES),
    "model.backbone.layers": ([1, 2, 3, 4], MODEL),
    "model.backbone.precision": ("bfloat16", MODEL),
    "model.backbone.scales": ([1.0, 0.5], MODEL),
    "cache.dtype": ("float32", BYTES),
    "cache.limit_gb": (1e-6, ENTRIES),
}
ELSEWHERE = {
    "train.logger": "test_loggers.py: test_csv_is_kept_when_a_run_goes_on_and_replaced_when_it_begins_anew",
    "train.wandb_mode": "test_loggers.py: test_wandb_offline",
    "train.mlflow_uri": "test_loggers.py: test_mlflow_in_a_file_of_the_run",
    "train.advice": "test_advice.py: test_it_can_be_left_out_and_changes_no_model",
    "train.seed": "an argument of its own; test_train.py: test_another_seed_gives_another_model",
    "train.momentum": "test_optimisation.py: test_sgd_steps_by_hand",
    "train.wavelet_probability": "test_feature_augmentation.py: test_its_settings_are_those_of_wt_aug",
    "train.wavelet_drop": "test_feature_augmentation.py: test_its_settings_are_those_of_wt_aug",
    "train.keep": "test_train.py: test_the_best_or_the_last_epoch_is_kept",
    "train.patience": "test_train.py: test_patience_counts_epochs",
    "train.window_foreground": "test_windows.py: test_features_of_windows_are_remembered_by_seed",
    "model.preprocessing.window": "that of train.window; test_windows.py",
    "train.foreground_share": "test_volumes.py: test_slices_with_a_class_come_more_often",
    "model.preprocessing.intensity": "test_volumes.py: test_each_setting_of_volumes_changes_the_bank",
    "model.preprocessing.context": "test_volumes.py: test_each_setting_of_volumes_changes_the_bank",
    "model.preprocessing.channels": "inference/test_volumes.py: test_another_number_of_channels_is_refused",
    "model.preprocessing.plane": "test_volumes.py: test_each_setting_of_volumes_changes_the_bank",
    "model.preprocessing.slice_spacing": "test_neighbours.py: test_the_bank_reads_slices_at_that_distance",
    "cache.folder": "below: every run has its own",
    "model.backbone.engine": "test_engines.py: test_an_engine_trains_the_model_that_torch_trains",
    "model.backbone.name": "test_train.py: an argument",
    "model.decoder": "test_model.py: test_every_decoder_setting_changes_the_decoder",
    "model.decision": "inference/test_decision.py: test_a_model_decides_as_its_settings_say",
    "model.symmetries": "inference/test_symmetries.py: test_a_leaning_model_turns_with_the_image",
    "model.classes": "test_train.py: test_several_classes",
}


@dataclass(frozen=True)
class Seen:
    """What a person can see of a run."""

    decoder: dict[str, Tensor]
    table: list[dict[str, str]]
    sizes: list[int]

    def of(self, kind: str) -> Any:
        return {
            MODEL: {name: value.tolist() for name, value in self.decoder.items()},
            TABLE: self.table,
            ROWS: len(self.table),
            ENTRIES: len(self.sizes),
            BYTES: sum(self.sizes),
        }[kind]


def observe(data: Path, root: Path, **changes: Any) -> Seen:
    cache = root / "features"
    train_small(data, root / "run", cache, changes={**BASE, **changes})
    sizes = [path.stat().st_size for path in cache.glob("??/*.safetensors")]
    return Seen(read_decoder(root / "run"), read_rows(root / "run"), sizes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("few") / "data", count=8)


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return observe(data, tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("key", EFFECTS)
def test_setting_changes_a_run(key: str, base: Seen, data: Path, tmp_path: Path) -> None:
    value, kind = EFFECTS[key]
    seen = observe(data, tmp_path, **{key: value})
    assert seen.of(kind) != base.of(kind)


def test_only_settings_change_a_run(base: Seen, data: Path, tmp_path: Path) -> None:
    again = observe(data, tmp_path)
    for kind in (MODEL, TABLE, ROWS, ENTRIES, BYTES):
        assert again.of(kind) == base.of(kind)
    assert base.sizes, "cache.folder was not used"


def test_no_setting_is_forgotten() -> None:
    groups = {
        "train": TrainSettings,
        "cache": CacheSettings,
        "model": ModelSettings,
        "model.backbone": BackboneSettings,
        "model.preprocessing": PreprocessingSettings,
    }
    fields = {f"{group}.{name}" for group, kind in groups.items() for name in kind.model_fields}
    assert {*EFFECTS, *ELSEWHERE} == fields - groups.keys()


AUGMENTATION = AugmentationSettings(zoom=0.1, zoom_probability=0.5)
OTHER_AUGMENTATION: dict[str, float] = {
    "horizontal_flip": 0.9,
    "vertical_flip": 0.9,
    "rotation": 30.0,
    "rotation_probability": 0.9,
    "zoom": 0.2,
    "zoom_probability": 0.9,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.2,
    "colour_probability": 0.9,
}


@pytest.mark.parametrize("name", AugmentationSettings.model_fields)
def test_augmentation_setting_changes_views(name: str) -> None:
    changed = AUGMENTATION.model_copy(update={name: OTHER_AUGMENTATION[name]})
    views = [
        [draw_view(settings, case="a", index=index, seed=0) for index in range(50)]
        for settings in (AUGMENTATION, changed)
    ]
    assert views[0] != views[1]


# What the optimiser and an epoch make of the settings, in numbers.


@pytest.fixture(scope="module")
def bank(data: Path, cache: Path) -> ViewBank:
    dataset = open_dataset(data)
    backbone = create_backbone("untrained-vitt16")
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("linear"),
        preprocessing=PreprocessingSettings(size=48),
        classes=dataset.classes,
    )
    store = FeatureCache(backbone, backbone.digest, EntryStore(cache, limit_gb=1))
    model = Segmenter(settings, backbone)
    cases = dataset.cases[:7]
    digests = read_digests(cases)
    return ViewBank(
        cases, dataset.labels, model, store, digests=digests, augmentation=AUGMENTATION, views=2, seed=0
    )


class Training:
    """The Lightning module of a run without Lightning around it."""

    def __init__(self, bank: ViewBank, processes: Processes = ALONE, **settings: Any) -> None:
        self.trainer = SimpleNamespace(current_epoch=0)
        self.module = DecoderTraining(bank._model, TrainSettings(**settings), bank, None, processes)
        self.module.trainer = self.trainer  # type: ignore[assignment]
        self.trainer.num_training_batches = len(self.module.train_dataloader())
        self.logged: dict[str, float] = {}
        self.module.log = self._log  # type: ignore[method-assign, assignment]

    def _log(self, name: str, value: Tensor, **keywords: Any) -> None:
        assert name not in self.logged, "logged twice in one epoch"
        self.logged[name] = float(value)

    def optimizer(self) -> torch.optim.Optimizer:
        configured: Any = self.module.configure_optimizers()
        return configured["optimizer"]

    def factors(self) -> list[float]:
        """Rate of every step, relative to lr."""
        configured: Any = self.module.configure_optimizers()
        scheduler = configured["lr_scheduler"]
        assert scheduler["interval"] == "step"
        steps = len(self.module.train_dataloader()) * self.module._step.settings.epochs
        return [scheduler["scheduler"].lr_lambdas[0](step) for step in range(steps)]

    def positions(self) -> list[tuple[int, ...]]:
        return [batch.positions for batch in self.module.train_dataloader()]


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_rate_and_decay_are_the_optimisers(name: str, bank: ViewBank) -> None:
    optimizer = Training(bank, lr=0.25, weight_decay=0.125, optimizer=name).optimizer()
    (group,) = optimizer.param_groups
    assert type(optimizer).__name__.lower() == name
    assert (group["initial_lr"], group["weight_decay"]) == (0.25, 0.125)
    assert len(group["params"]) == len(list(bank._model.decoder.parameters()))


def test_the_schedule_counts_the_steps_of_the_bank(bank: ViewBank) -> None:
    """7 images in batches of 4 are 2 steps an epoch, unless the settings say how many."""
    assert Training(bank, epochs=3, schedule="constant").factors() == [1.0] * 6
    assert Training(bank, epochs=2, schedule="cosine").factors() == pytest.approx(
        [1, 0.8535534, 0.5, 0.1464466]
    )
    warm = Training(bank, epochs=2, steps_per_epoch=4, warmup_epochs=1).factors()
    assert warm[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert len(warm) == 8


@pytest.mark.parametrize(("size", "sizes"), [(1, [1] * 7), (4, [4, 3]), (7, [7]), (100, [7])])
def test_batch_size(size: int, sizes: list[int], bank: ViewBank) -> None:
    assert [len(each) for each in Training(bank, batch_size=size).positions()] == sizes


def test_an_epoch_is_repeated_up_to_min_epoch_samples(bank: ViewBank) -> None:
    positions = Training(bank, min_epoch_samples=15, batch_size=100).positions()
    assert sorted(sum(positions, ())) == sorted([*range(7)] * 3)


@pytest.mark.parametrize(("steps", "size"), [(1, 4), (2, 4), (5, 3), (3, 9)])
def test_steps_per_epoch_are_that_many_full_batches(steps: int, size: int, bank: ViewBank) -> None:
    """All images before any again, as often as it takes, whatever min_epoch_samples says."""
    training = Training(bank, steps_per_epoch=steps, batch_size=size, min_epoch_samples=1000)
    assert [len(each) for each in training.positions()] == [size] * steps
    drawn = sum(training.positions(), ())
    counts = [drawn.count(position) for position in range(7)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == steps * size


def test_steps_per_epoch_reach_every_image_in_time(bank: ViewBank) -> None:
    training = Training(bank, steps_per_epoch=1, batch_size=2)
    seen: set[int] = set()
    for epoch in range(30):
        training.trainer.current_epoch = epoch
        seen.update(*training.positions())
    assert seen == set(range(7))


def test_every_epoch_has_its_own_order(bank: ViewBank) -> None:
    training = Training(bank, seed=3)
    first = training.positions()
    assert training.positions() == first
    training.trainer.current_epoch = 1
    assert training.positions() != first
    assert Training(bank, seed=4).positions() != first


@pytest.mark.parametrize("steps", [None, 3])
def test_processes_share_each_batch(bank: ViewBank, steps: int | None) -> None:
    """Of 7 samples, or three steps: every batch is that of one process, in two parts."""
    settings: dict[str, Any] = {"batch_size": 4, "steps_per_epoch": steps}
    alone = Training(bank, **settings).positions()
    shares = [Training(bank, Processes(rank, 2), **settings).positions() for rank in (0, 1)]
    for whole, first, second in zip(alone, *shares, strict=True):
        assert (first, second) == (whole[::2], whole[1::2])


def test_a_batch_too_small_for_all_has_a_stand_in_that_counts_for_nothing(bank: ViewBank) -> None:
    parts = [
        list(Training(bank, Processes(rank, 2), batch_size=2).module.train_dataloader()) for rank in (0, 1)
    ]
    assert [(len(part[-1].positions), part[-1].counts) for part in parts] == [(1, True), (1, False)]
    assert [part[-1].whole for part in parts] == [1, 1]  # 7 samples in batches of 2


def test_a_batch_of_fewer_images_than_processes_is_refused(bank: ViewBank) -> None:
    with pytest.raises(UsageError, match="raise it with --batch-size 3, or lower --devices"):
        Training(bank, Processes(0, 3), batch_size=2)


def test_the_losses_are_those_of_the_settings(bank: ViewBank) -> None:
    losses = {}
    for name in get_args(TrainSettings.model_fields["loss"].annotation):
        training = Training(bank, loss=name)
        (batch, _) = training.module.train_dataloader()
        losses[name] = float(training.module.training_step(batch, 0).detach())
    assert losses["focal"] < losses["cross_entropy"] < losses["dice_cross_entropy"]
    assert losses["half_dice_half_cross_entropy"] < losses["dice_cross_entropy"]


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples(bank: ViewBank) -> None:
    """7 samples in batches of 4 and 3: the smaller batch weighs less."""
    training = Training(bank)
    for _ in range(2):  # the second epoch begins with nothing
        training.module.on_train_epoch_start()
        training.logged.clear()
        batches = list(training.module.train_dataloader())
        losses = [float(training.module.training_step(batch, i).detach()) for i, batch in enumerate(batches)]
        assert losses[0] != pytest.approx(losses[1])
        assert training.logged == {"train_loss": pytest.approx((4 * losses[0] + 3 * losses[1]) / 7)}


def test_validation_is_every_case_once_as_it_is(bank: ViewBank) -> None:
    module = DecoderTraining(bank._model, TrainSettings(batch_size=3), bank, bank)
    batches = list(module.val_dataloader())
    assert [batch.positions for batch in batches] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert DecoderTraining(bank._model, TrainSettings(), bank, None).val_dataloader() == []


@pytest.mark.parametrize(
    ("name", "method"), [("default", "linear"), *(("paper", method) for method in METHODS)]
)
def test_no_preset_asks_for_views_that_it_does_not_draw(name: str, method: str) -> None:
    recipe = preset(name, method)
    assert (recipe.views > 1 or recipe.min_bank > 0) <= (recipe.augmentation is not None)


@pytest.mark.parametrize(
    "changes",
    [
        {"train.views": 1, "train.augmentation.rotation": 90},
        {"train.views": 1, "train.min_bank": 1, "train.augmentation": {"hue": 0.5}},
    ],
)
def test_a_change_of_an_augmentation_that_no_view_shows_is_refused(
    changes: dict[str, Any], data: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"'train\.augmentation' is changed without effect: .*train\.views=8"
    ):
        train_small(data, tmp_path / "run", cache, changes=changes)
    assert not (tmp_path / "run").exists()


def test_an_augmentation_that_the_paper_lacks_needs_views(data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"train.views": 1, "train.augmentation.zoom": 0.1}  # one view is the paper's too
    with pytest.raises(ConfigError, match="changed without effect"):
        train_small(data, tmp_path / "run", cache, changes=changes, method="linear", preset="paper")
    changes |= {"train.views": 2, "train.epochs": 1}
    train_small(data, tmp_path / "run", cache, changes=changes, method="linear", preset="paper")
    assert (tmp_path / "run" / "model").is_dir()


def test_a_bank_that_holds_enough_without_views_is_told(data: Path, cache: Path, tmp_path: Path) -> None:
    told = Notes()
    changes = {"train.views": 1, "train.min_bank": 2, "train.augmentation.zoom": 0.1, "train.epochs": 1}
    train_small(data, tmp_path / "run", cache, changes=changes, progress=told)
    assert "no view is augmented: train.views is 1, and the bank holds 5 without more" in "\n".join(
        told.notes
    )
    told = Notes()
    train_small(data, tmp_path / "more", cache, changes={**changes, "train.min_bank": 30}, progress=told)
    assert "no view is augmented" not in "\n".join(told.notes)


def test_the_rate_of_the_table_follows_the_schedule(data: Path, cache: Path, tmp_path: Path) -> None:
    """The table shows the rate that the next epoch begins with."""
    changes = {"train.lr": 0.5, "train.schedule": "cosine", "train.epochs": 4, "train.warmup_epochs": 0}
    train_small(data, tmp_path / "run", cache, changes=changes)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    assert rates == pytest.approx([0.4267767, 0.25, 0.0732233, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2, 3], "has 3 weights, and the data 2 classes: background, lesion; give one for each"),
        ({"tumour": 2}, "names 'tumour'; the classes of the data are background, lesion"),
        ([1, 0], "a weight is a number above 0, not 0"),
        ([1, True], "a weight is a number above 0, not True"),
        ({"lesion": "much"}, "a weight is a number above 0, not 'much'"),
        (3, "give a list of weights, that of the background first, or {name: weight}"),
    ],
)
def test_weights_that_are_not_those_of_the_classes_are_refused(
    weights: Any, message: str, data: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^setting 'train.class_weights'.*" + re.escape(message)):
        train_small(data, tmp_path / "run", cache, changes={"train.class_weights": weights})
    assert not (tmp_path / "run").exists()


def test_a_weight_by_name_is_that_of_the_list(data: Path, cache: Path, tmp_path: Path) -> None:
    """What is not named weighs 1; a dotted key names a class as well."""
    forms = {"list": [1, 4], "names": {"lesion": 4}}
    for name, weights in forms.items():
        train_small(data, tmp_path / name, cache, changes={"train.class_weights": weights})
    train_small(data, tmp_path / "dotted", cache, changes={"train.class_weights.lesion": 4})
    found = [read_decoder(tmp_path / name) for name in ("list", "names", "dotted")]
    for other in found[1:]:
        assert all(torch.equal(found[0][key], other[key]) for key in found[0])

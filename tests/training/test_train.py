"""`train()`: from a folder to a run, and everything that may be wrong on the way."""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import dinoseg.data.digests as digests_module
import dinoseg.training.features.items as items_module
import dinoseg.training.fitting as fitting
import dinoseg.training.learning.checkpoints as checkpoints_module
from dinoseg.config import LossName, from_yaml
from dinoseg.data import Dataset, content_digest, open_dataset, read_case
from dinoseg.data.splits.splits import Splits, load_splits, save_splits
from dinoseg.errors import (
    ConfigError,
    DinosegError,
    LabelError,
    OutputError,
    RunError,
    SplitError,
    UsageError,
)
from dinoseg.methods import METHODS
from dinoseg.methods.presets import preset
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.training.learning.history import History
from dinoseg.training.learning.learning_curve import draw_learning_curve
from dinoseg.training.learning.module import DecoderTraining
from tests.backbones.tiny import Notes
from tests.training.conftest import Finished
from tests.training.folders import NARROW, make_data, read_decoder, read_rows, train_small

pytestmark = pytest.mark.usefixtures("quick")


def same_weights(first: Path, second: Path) -> bool:
    one, other = read_decoder(first), read_decoder(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def checkpoint_of(run: Path, name: str) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key.removeprefix("decoder."): value for key, value in state.items()}


def holds(run: Path, name: str) -> bool:
    """Whether the finished model is that of a checkpoint."""
    state, decoder = checkpoint_of(run, name), read_decoder(run)
    return all(torch.equal(state[key], value) for key, value in decoder.items())


def dice_of(model: Segmenter, dataset: Dataset, ids: Sequence[str]) -> float:
    """Mean Dice at native size, computed without anything of the training."""
    scores = []
    for files in dataset.find(ids):
        case = read_case(files, dataset.labels)
        assert case.label is not None
        with torch.no_grad():
            mask = model.mask(model(model.prepare(case.image)[None]), case.label.size)[0].numpy()
        for index in range(1, len(model.classes)):
            found, target = mask == index, case.label.array == index
            total = found.sum() + target.sum()
            scores.append(2 * (found & target).sum() / total if total else 1.0)
    return float(np.mean(scores))


def rewrite_splits(path: Path, **lists: Sequence[str]) -> Path:
    splits = Splits(*(tuple(lists.get(name, ())) for name in ("train", "val", "test")), None, "case")
    save_splits(path, splits, overwrite=True)
    return path


def lists_of(data: Path) -> dict[str, list[str]]:
    return {name: (data / "splits" / f"{name}.txt").read_text().split() for name in ("train", "val", "test")}


def rate(monkeypatch: pytest.MonkeyPatch, scores: Sequence[float]) -> None:
    """Let the validation Dice of each epoch be the given one; the last goes on."""

    def give(self: DecoderTraining, logits: torch.Tensor, position: int) -> torch.Tensor:
        score = scores[min(self.current_epoch, len(scores) - 1)]
        return torch.tensor([[score, 2.0, 1.0, 1.0]])  # in common, of both, of the target, decided

    monkeypatch.setattr(DecoderTraining, "_native_overlap", give)


class Interruption(Exception):
    pass


def interrupt(monkeypatch: pytest.MonkeyPatch, epoch: int, error: BaseException) -> None:
    """Let training fail at the start of an epoch (from 0)."""
    original = History.on_train_epoch_start

    def fail(self: History, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == epoch:
            raise error
        original(self, trainer, module)

    monkeypatch.setattr(History, "on_train_epoch_start", fail)


def test_the_same_seed_gives_the_same_bits(finished: Finished, data: Path, tmp_path: Path) -> None:
    """Also with an empty cache, another state of torch's generator, and after other work."""
    torch.manual_seed(1234)
    torch.rand(7)
    train_small(data, tmp_path / "run", tmp_path / "cache")
    assert same_weights(tmp_path / "run", finished.root)
    assert read_rows(tmp_path / "run") == read_rows(finished.root)


def test_another_seed_gives_another_model(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    train_small(data, tmp_path / "run", cache, seed=1)
    assert not same_weights(tmp_path / "run", finished.root)
    assert read_rows(tmp_path / "run") != read_rows(finished.root)
    assert load_splits(tmp_path / "run" / "splits.json") == load_splits(finished.root / "splits.json")


def test_torch_is_left_as_it_was(data: Path, cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
    train_small(data, tmp_path / "run", cache, changes={"train.epochs": 1})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.are_deterministic_algorithms_enabled() == before[1]
    assert torch.is_grad_enabled() == before[2]


def test_the_model_that_comes_back_is_the_one_on_disk(finished: Finished) -> None:
    loaded = load(finished.root)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(pixels), finished.model(pixels))
    assert not finished.model.training
    assert finished.model.classes == {0: "background", 1: "lesion"}
    assert finished.model.size == (64, 64)


def test_validation_dice_is_that_of_the_model(data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"train.lr": 0.01, "cache.dtype": "float32"}
    model = train_small(data, tmp_path / "run", cache, method="linear", changes=changes)
    dice = [float(row["val_dice"]) for row in read_rows(tmp_path / "run")]
    splits = load_splits(tmp_path / "run" / "splits.json")
    assert dice_of(model, open_dataset(data), splits.val) == pytest.approx(max(dice), abs=2e-3)
    assert max(dice) > 0.01


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_or_the_last_epoch_is_kept(
    keep: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate(monkeypatch, [0.1, 0.5, 0.5, 0.2])
    changes = {"train.epochs": 4, "train.keep": keep}
    train_small(data, tmp_path / "run", cache, changes=changes)
    assert [float(row["val_dice"]) for row in read_rows(tmp_path / "run")] == pytest.approx(
        [0.1, 0.5, 0.5, 0.2]
    )
    assert holds(tmp_path / "run", "best") == (keep == "best")
    assert holds(tmp_path / "run", "last") == (keep == "last")
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 2  # the later of the two


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains(method: str, data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {f"model.decoder.{key}": value for key, value in NARROW.get(method, {}).items()}
    changes = {**changes, "train.epochs": 1, "train.views": 1, "train.warmup_epochs": 0}
    train_small(data, tmp_path / "run", cache, method=method, changes=changes)
    (row,) = read_rows(tmp_path / "run")
    assert np.isfinite(float(row["train_loss"]))
    assert load(tmp_path / "run").settings.decoder.method == method


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_published_recipe_trains_at_its_size(
    method: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"dino-unet": 64, "dino-augseg": 48}.get(method, 32)  # in place of 512, 768 and 256 px
    small = replace(METHODS[method], size=size)
    monkeypatch.setitem(METHODS.ours, method, small)
    few = {"epochs": 2, "steps_per_epoch": 1, "batch_size": 2, "views": 1}
    changes = {f"model.decoder.{key}": value for key, value in NARROW.get(method, {}).items()}
    changes |= {f"train.{key}": value for key, value in few.items()} | {"cache.folder": str(cache)}
    run = tmp_path / "run"
    backbone = "untrained-vitt16"
    model = fitting.train(data, method=method, backbone=backbone, out=run, preset="paper", changes=changes)
    assert model.size == (size, size)
    assert model.run == run
    settings = from_yaml(RunSettings, (run / "config.yaml").read_text())
    recipe = preset("paper", method)
    assert settings.train == recipe.model_copy(update=few)
    assert all(np.isfinite(float(row["train_loss"])) for row in read_rows(run))
    assert holds(run, recipe.keep)


def test_training_learns(data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"train.epochs": 20, "train.lr": 3e-3, "train.augmentation": None, "train.keep": "last"}
    model = train_small(data, tmp_path / "run", cache, method="segdino-v1", changes=changes)
    losses = [float(row["train_loss"]) for row in read_rows(tmp_path / "run")]
    assert losses[-1] < 0.6 * losses[0]
    dataset, splits = open_dataset(data), load_splits(tmp_path / "run" / "splits.json")
    empty = sum(id_ in dataset.empty for id_ in splits.train) / len(splits.train)
    assert dice_of(model, dataset, splits.train) > empty + 0.3


def make_classes(root: Path, *, count: int = 8) -> Path:
    """Grey noise with a bright square (class 1) and a dark bar (class 2)."""
    generator = np.random.default_rng(0)
    for number in range(count):
        image = generator.integers(100, 140, (64, 80), dtype=np.uint8)
        mask = np.zeros((64, 80), dtype=np.uint8)
        row, column = generator.integers(2, 30, 2)
        mask[row : row + 24, column : column + 24] = 1
        mask[:, 64:76] = 2
        image[mask == 1], image[mask == 2] = 230, 20
        for folder, pixels in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(pixels).save(root / folder / f"c{number}.png")
    return root


@pytest.mark.parametrize("method", [pytest.param("dino-unet", marks=pytest.mark.slow), "dino-augseg"])
def test_the_default_recipe_learns(method: str, data: Path, cache: Path, tmp_path: Path) -> None:
    """With its own rate and its own widths, in few steps."""
    changes = {"train.epochs": 5, "train.steps_per_epoch": 8, "train.warmup_epochs": 0, "train.keep": "last"}
    model = train_small(data, tmp_path / "run", cache, method=method, changes=changes)
    losses = [float(row["train_loss"]) for row in read_rows(tmp_path / "run")]
    assert losses[-1] < 0.85 * losses[0]
    dataset, splits = open_dataset(data), load_splits(tmp_path / "run" / "splits.json")
    empty = sum(id_ in dataset.empty for id_ in splits.train) / len(splits.train)
    assert dice_of(model, dataset, splits.train) > empty + 0.15


@pytest.mark.parametrize("loss", get_args(LossName))
def test_several_classes(
    loss: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, cache: Path
) -> None:
    data = make_classes(tmp_path / "data")
    changes = {
        "train.loss": loss,
        "train.epochs": 12,
        "train.lr": 1e-2,
        "train.augmentation": None,
        "train.keep": "last",
    }
    model = train_small(data, tmp_path / "run", cache, method="linear", changes=changes)
    assert model.classes == {0: "background", 1: "class_1", 2: "class_2"}
    assert read_decoder(tmp_path / "run")["classify.weight"].shape[0] == 3
    splits = load_splits(tmp_path / "run" / "splits.json")
    assert dice_of(model, open_dataset(data), splits.train) > 0.5
    assert float(read_rows(tmp_path / "run")[-1]["val_dice"]) > 0.3


def test_shots_draw_so_many_cases_and_keep_the_last(data: Path, cache: Path, tmp_path: Path) -> None:
    names = lists_of(data)
    drawn = {}
    for shots, seed in ((2, 0), (4, 0), (4, 1)):
        run = tmp_path / f"{shots}-{seed}"
        train_small(data, run, cache, shots=shots, seed=seed, changes={"train.epochs": 1})
        splits = load_splits(run / "splits.json")
        drawn[shots, seed] = splits.train
        assert len(splits.train) == shots
        assert set(splits.train) < set(names["train"])
        assert (list(splits.val), list(splits.test)) == (names["val"], names["test"])
        assert holds(run, "last")
        assert "keep: last" in (run / "config.yaml").read_text()
    assert drawn[4, 0][:2] == drawn[2, 0]
    assert drawn[4, 0] != drawn[4, 1]


def test_shots_may_be_the_first_or_whole_groups(data: Path, cache: Path, tmp_path: Path) -> None:
    names = lists_of(data)["train"]
    one = {"train.epochs": 1}
    train_small(data, tmp_path / "first", cache, shots=3, shots_from="first", changes=one)
    assert list(load_splits(tmp_path / "first" / "splits.json").train) == names[:3]
    train_small(data, tmp_path / "group", cache, shots=1, shot_unit="group", changes=one)
    dataset = open_dataset(data)
    drawn = load_splits(tmp_path / "group" / "splits.json").train
    (group,) = {case.group for case in dataset.find(drawn)}
    assert set(drawn) == {case.id for case in dataset.find(names) if case.group == group}


def test_shots_keep_the_best_on_request(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate(monkeypatch, [0.5, 0.1])
    train_small(data, tmp_path / "run", cache, shots=3, changes={"train.keep": "best"})
    assert holds(tmp_path / "run", "best")
    assert not holds(tmp_path / "run", "last")


def test_another_split_file(data: Path, cache: Path, tmp_path: Path) -> None:
    names = lists_of(data)
    path = rewrite_splits(tmp_path / "s.json", train=names["test"], val=names["val"])
    train_small(data, tmp_path / "run", cache, splits=path, changes={"train.epochs": 1})
    splits = load_splits(tmp_path / "run" / "splits.json")
    assert list(splits.train) == names["test"]
    assert splits.test == ()


def test_test_cases_are_never_read(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()

    def note(files: Any, mapping: Any) -> Any:
        read.add(files.id)
        return read_case(files, mapping)

    monkeypatch.setattr(items_module, "read_case", note)
    train_small(data, tmp_path / "run", tmp_path / "cache")
    names = lists_of(data)
    assert read == {*names["train"], *names["val"]}


def test_a_second_run_opens_no_image(
    finished: Finished, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        pytest.fail("an image was opened")

    monkeypatch.setattr(items_module, "read_case", refuse)
    notes = Notes()
    train_small(data, tmp_path / "run", cache, progress=notes)
    assert same_weights(tmp_path / "run", finished.root)


def test_every_file_is_hashed_once_in_a_run(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def note(path: Path) -> str:
        read.append(path)
        return content_digest(path)

    monkeypatch.setattr(digests_module, "content_digest", note)
    train_small(data, tmp_path / "run", cache, changes={"train.epochs": 1})
    names = lists_of(data)
    assert len(read) == len(set(read)) == 2 * len([*names["train"], *names["val"]])


def test_without_validation_the_last_epoch_is_kept(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "draw_learning_curve", draw_learning_curve)
    names = lists_of(data)
    path, notes = rewrite_splits(tmp_path / "s.json", train=names["train"], test=names["test"]), Notes()
    train_small(data, tmp_path / "run", cache, splits=path, progress=notes, changes={"train.patience": 1})
    assert any("no validation cases: the last epoch is kept" in note for note in notes.notes)
    assert [row["val_dice"] for row in read_rows(tmp_path / "run")] == ["nan", "nan"]
    assert holds(tmp_path / "run", "last")
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    assert (tmp_path / "run" / "report" / "learning_curve.png").is_file()


def test_one_case_is_enough(data: Path, cache: Path, tmp_path: Path) -> None:
    dataset = open_dataset(data)
    (name, *_) = [case.id for case in dataset.cases if case.id not in dataset.empty]
    path = rewrite_splits(tmp_path / "s.json", train=[name])
    train_small(data, tmp_path / "run", cache, splits=path, changes={"train.epochs": 1})
    assert np.isfinite(float(read_rows(tmp_path / "run")[0]["train_loss"]))


@pytest.mark.parametrize(("patience", "every", "epochs"), [(1, 1, 3), (3, 1, 5), (4, 2, 6), (3, 2, 6)])
def test_patience_counts_epochs(
    patience: int,
    every: int,
    epochs: int,
    data: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second epoch is the best; validations count as they come."""
    rate(monkeypatch, [0.1, 0.5, 0.5])
    changes = {"train.epochs": 9, "train.patience": patience, "train.validate_every": every}
    train_small(data, tmp_path / "run", cache, changes=changes)
    rows = read_rows(tmp_path / "run")
    assert len(rows) == epochs
    validated = [int(row["epoch"]) for row in rows if row["val_dice"] != "nan"]
    assert validated == list(range(every, epochs + 1, every))


def test_resuming_a_finished_run_changes_nothing(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.root, run)
    model = train_small(data, run, cache, resume=True)
    assert same_weights(run, finished.root)
    assert read_rows(run) == read_rows(finished.root)
    assert all(
        torch.equal(value, read_decoder(run)[name]) for name, value in model.decoder.state_dict().items()
    )


def test_resuming_a_stopped_run_does_not_go_on(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate(monkeypatch, [0.5, 0.1, 0.1, 0.9])
    changes = {"train.epochs": 9, "train.patience": 2}
    run = tmp_path / "run"
    train_small(data, run, cache, changes=changes)
    rows = read_rows(run)
    assert len(rows) == 3
    shutil.copytree(run, tmp_path / "before")
    for _ in range(2):
        train_small(data, run, cache, changes=changes, resume=True)
        assert read_rows(run) == rows
        assert same_weights(run, tmp_path / "before")


@pytest.mark.parametrize("method", ["segdino-v1", "dino-unet"])
def test_resumed_equals_uninterrupted(
    method: str, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the decoder draws at random while it learns (DropPath), and whatever torch's state is."""
    changes = {f"model.decoder.{key}": value for key, value in NARROW.get(method, {}).items()}
    changes = {**changes, "train.epochs": 3}
    train_small(data, tmp_path / "whole", cache, method=method, changes=changes)
    with monkeypatch.context() as patch:
        interrupt(patch, 2, Interruption())
        with pytest.raises(Interruption):
            train_small(data, tmp_path / "run", cache, method=method, changes=changes)
    torch.rand(11)
    train_small(data, tmp_path / "run", cache, method=method, changes=changes, resume=True)
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert read_rows(tmp_path / "run") == read_rows(tmp_path / "whole")


def test_an_interrupted_run_may_move_before_it_is_resumed(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score of the best epoch is remembered: a later, worse one does not take its place."""
    rate(monkeypatch, [0.5, 0.1, 0.3])
    changes = {"train.epochs": 3}
    train_small(data, tmp_path / "whole", cache, changes=changes)
    with monkeypatch.context() as patch:
        interrupt(patch, 1, Interruption())
        with pytest.raises(Interruption):
            train_small(data, tmp_path / "first", cache, changes=changes)
    assert not (tmp_path / "first" / "model").exists()
    (tmp_path / "first").rename(tmp_path / "second")
    train_small(data, tmp_path / "second", cache, changes=changes, resume=True)
    assert not (tmp_path / "first").exists()
    assert read_rows(tmp_path / "second") == read_rows(tmp_path / "whole")
    assert same_weights(tmp_path / "second", tmp_path / "whole")
    assert holds(tmp_path / "second", "best")


def test_an_interruption_by_the_keyboard_is_one(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train_small(data, tmp_path / "run", cache)
    assert len(read_rows(tmp_path / "run")) == 1
    assert not torch.are_deterministic_algorithms_enabled()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resuming_with_other_settings_is_refused(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.root, run)
    for arguments, words in (
        ({"changes": {"train.lr": 0.5}}, r"train\.lr=0\.001, now 0\.5"),
        ({"seed": 1}, r"train\.seed=0, now 1"),
        ({"shots": 2}, r"shots=null, now 2"),
        ({"preset": "paper"}, r"preset=\"default\", now \"paper\""),
        ({"method": "linear"}, "model.decoder"),
    ):
        with pytest.raises(RunError, match=words):
            train_small(data, run, cache, resume=True, **arguments)  # type: ignore[arg-type]
    assert same_weights(run, finished.root)


def test_a_device_that_training_does_not_support_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cpu or cuda, given 'mps'"):
        train_small(data, tmp_path / "run", cache, device="mps")
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_cases_is_refused(cache: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=8)
    changes = {"train.epochs": 1}
    train_small(data, tmp_path / "run", cache, changes=changes)
    train = data / "splits" / "train.txt"
    train.write_text("\n".join(train.read_text().split()[:-1]) + "\n")
    with pytest.raises(RunError, match=r"splits.json has other cases than the data now"):
        train_small(data, tmp_path / "run", cache, changes=changes, resume=True)


def test_resuming_after_a_mask_was_edited_is_refused(cache: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=8)
    changes = {"train.epochs": 1}
    train_small(data, tmp_path / "run", cache, changes=changes)
    name = (data / "splits" / "train.txt").read_text().split()[0]
    mask = next((data / "masks").glob(f"{name}.*"))
    with PillowImage.open(mask) as picture:
        PillowImage.fromarray(255 - np.asarray(picture.convert("L"))).save(mask)
    with pytest.raises(RunError, match=r"images or masks of .* have changed .*--overwrite"):
        train_small(data, tmp_path / "run", cache, changes=changes, resume=True)


def test_an_older_run_is_refused_or_replaced(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.root, run)
    with pytest.raises(OutputError, match="--resume"):
        train_small(data, run, cache, seed=1)
    assert same_weights(run, finished.root)
    train_small(data, run, cache, seed=1, overwrite=True, changes={"train.epochs": 1})
    assert not same_weights(run, finished.root)
    assert len(read_rows(run)) == 1


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"method": "unet"}, ConfigError, "'unet'"),
        ({"preset": "fast"}, ConfigError, "'preset' takes paper or default, given 'fast'"),
        ({"backbone": "resnet50"}, DinosegError, "resnet50"),
        ({"shots": 0}, ConfigError, "'shots'"),
        ({"shots": 99}, SplitError, "99 shots"),
        ({"shots_from": "middle"}, ConfigError, "'shots_from'"),
        ({"shot_unit": "video"}, ConfigError, "'shot_unit'"),
        ({"seed": -1}, ConfigError, r"'train\.seed'"),
        ({"splits": "absent.json"}, SplitError, "absent.json"),
        ({"changes": {"train.lrr": 1}}, ConfigError, r"'train\.lrr' is unknown"),
        ({"changes": {"model.decoder.norm": "layer"}}, ConfigError, r"'model\.decoder\.norm'"),
        ({"changes": {"model.backbone.layers": [5, 99]}}, UsageError, "99"),
        ({"changes": {"model.decoder.heads": 5}, "method": "dino-unet"}, UsageError, "5"),
        ({"changes": {"train.validate_every": 9}}, ConfigError, "validate_every"),
        ({"changes": {"shots": 2}}, ConfigError, "'shots' cannot be changed here"),
        ({"changes": {"preset": "paper"}}, ConfigError, "'preset' cannot be changed here"),
        (
            {"changes": {"model.backbone.name": "dinov3_vits16"}},
            ConfigError,
            r"'model\.backbone\.name' cannot",
        ),
        ({"changes": {"model.classes": {0: "a", 1: "b", 2: "c"}}}, ConfigError, r"'model\.classes' cannot"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_an_older_run_alone(
    arguments: dict[str, Any],
    kind: type[DinosegError],
    words: str,
    finished: Finished,
    data: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.root, run)
    with pytest.raises(kind, match=words) as caught:
        train_small(data, run, cache, overwrite=True, **arguments)
    assert "\n" not in str(caught.value)
    assert same_weights(run, finished.root)
    with pytest.raises(kind):
        train_small(data, tmp_path / "new", cache, **arguments)
    assert not (tmp_path / "new").exists()


def test_a_group_that_crosses_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    dataset = open_dataset(data)
    groups: dict[str, list[str]] = {}
    for case in dataset.cases:
        groups.setdefault(case.group, []).append(case.id)
    shared = next(ids for ids in groups.values() if len(ids) > 1)
    rest = [case.id for case in dataset.cases if case.id not in shared]
    path = rewrite_splits(tmp_path / "s.json", train=[shared[0], *rest], val=shared[1:])
    with pytest.raises(SplitError, match=rf"the splits leak: group .* {shared[0]} in train"):
        train_small(data, tmp_path / "run", cache, splits=path)
    assert not (tmp_path / "run").exists()


def test_a_duplicate_that_crosses_is_refused(cache: Path, tmp_path: Path) -> None:
    data = make_classes(tmp_path / "data")
    shutil.copy(data / "images" / "c0.png", data / "images" / "copy.png")
    shutil.copy(data / "masks" / "c0.png", data / "masks" / "copy.png")
    path = rewrite_splits(tmp_path / "s.json", train=["c0", "c1", "c2"], val=["c3"], test=["copy"])
    with pytest.raises(SplitError, match=r"c0 \(train\) is the image of copy \(test\)"):
        train_small(data, tmp_path / "run", cache, splits=path)
    assert not (tmp_path / "run").exists()


def test_an_all_background_training_set_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    for name in lists_of(root)["train"]:
        PillowImage.new("L", (72, 60)).save(root / "masks" / f"{name}.png")
    with pytest.raises(LabelError, match=r"training masks are empty .*data check"):
        train_small(root, tmp_path / "run", cache)
    assert not (tmp_path / "run").exists()


def test_an_all_background_validation_set_has_no_dice(data: Path, cache: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(data, root)
    for name in lists_of(root)["val"]:
        PillowImage.new("L", (72, 60)).save(root / "masks" / f"{name}.png")
    train_small(root, tmp_path / "run", cache)
    rows = read_rows(tmp_path / "run")
    assert rows
    assert all(row["val_dice"] in ("", "nan") for row in rows)


def test_a_full_disk_is_one_line_and_the_run_can_go_on(
    finished: Finished, data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    write, calls = Path.write_bytes, []

    def fill(path: Path, content: Any) -> int:
        calls.append(path)
        if len(calls) > 2:  # best and last of the first epoch
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints_module.Path, "write_bytes", fill)
        with pytest.raises(OutputError, match=r"\.ckpt could not be written: the disk is full"):
            train_small(data, run, cache)
    assert not [path for path in run.rglob("*") if ".tmp" in path.name]
    train_small(data, run, cache, resume=True)
    assert same_weights(run, finished.root)
    assert read_rows(run) == read_rows(finished.root)


def test_a_run_that_diverges_ends_with_an_error_and_keeps_its_last_good_epoch(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = DecoderTraining.training_step

    def diverge(self: DecoderTraining, batch: Any, index: int) -> Any:
        if self.current_epoch == 1:
            with torch.no_grad():
                next(self.decoder.parameters()).fill_(torch.nan)
        return step(self, batch, index)

    monkeypatch.setattr(DecoderTraining, "training_step", diverge)
    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"diverged in epoch 2: the loss is nan; .* --set train\.lr=0\.0001"):
        train_small(data, run, cache)
    assert len(read_rows(run)) == 1
    assert not (run / "model").exists()
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_a_damaged_checkpoint_is_no_start(
    finished: Finished, data: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished.root, run)
    (run / "checkpoints" / "last.ckpt").write_bytes(b"half")
    with pytest.raises(RunError, match=r"last\.ckpt is damaged; restore it, or choose another"):
        train_small(data, run, cache, resume=True)


def test_an_older_run_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty: .*photo.png was not written by dinoseg"):
        train_small(tmp_path / "nowhere", tmp_path, tmp_path)

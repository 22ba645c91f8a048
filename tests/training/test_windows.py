"""Training on windows: what is seen, what is remembered, and that the model goes on to use them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dinoseg import evaluate
from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.cli.info import word_input
from dinoseg.config import AugmentationSettings, BackboneSettings, PreprocessingSettings
from dinoseg.data import open_dataset, read_case
from dinoseg.data.case import Image, LabelMap
from dinoseg.data.images import read_label, write_mask
from dinoseg.data.tensors.augmentation import IDENTITY, View
from dinoseg.data.tensors.transforms import prepare_pixels
from dinoseg.data.tensors.windows import FixedWindow, find_margins, list_corners
from dinoseg.errors import ConfigError, UsageError
from dinoseg.inference import predict, predict_files
from dinoseg.methods import decoder_settings
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.progress import Silent
from dinoseg.training.features.bank import Sample, ViewBank
from dinoseg.training.features.items import read_digests
from dinoseg.training.features.windows import PlacedView, RandomWindows, SlidingWindows
from dinoseg.training.learning.module import DecoderTraining
from tests.backbones.tiny import Notes
from tests.data.volume_folders import SHAPE, make_raw
from tests.training.folders import read_decoder, read_rows, train_small
from tests.training.windowed import SIDE, make_spots, train_windows

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@dataclass(frozen=True)
class Run:
    """A finished run that is not to be changed."""

    data: Path
    root: Path
    cache: Path
    notes: list[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place, notes = tmp_path_factory.mktemp("windows"), Notes()
    data = make_spots(place / "data")
    train_windows(data, place / "run", place / "cache", progress=notes)
    return Run(data, place / "run", place / "cache", notes.notes)


def _picture(height: int, width: int) -> Image:
    """Smooth, so that turning it hardly changes a value."""
    row, column = np.mgrid[:height, :width] / 16
    waves = [np.sin(row + phase) * np.cos(column - phase) for phase in (0, 1, 2)]
    return Image((0.5 + 0.4 * np.stack(waves)).astype(np.float32))


# What a window shows.


@pytest.mark.parametrize(("size", "side"), [((80, 71), 32), ((20, 70), 32), ((9, 11), 27), ((60, 61), 33)])
def test_a_window_is_what_prediction_sees(size: tuple[int, int], side: int) -> None:
    """To the bit, padding included; the label is the same window of the mask."""
    image = _picture(*size)
    label = LabelMap(np.random.default_rng(0).integers(0, 3, size).astype(np.uint8))
    margins = [find_margins(length, side) for length in size]
    pixels = np.pad(prepare_pixels(image, size, mean=MEAN, std=STD), [(0, 0), *margins])
    ids = np.pad(label.array, margins)
    for row, column in list_corners(size, side=side, overlap=0.25):
        view = PlacedView(IDENTITY, FixedWindow(side, (row, column)))
        rows, columns = slice(row, row + side), slice(column, column + side)
        assert np.array_equal(view.render(image, mean=MEAN, std=STD), pixels[:, rows, columns])
        assert np.array_equal(view.draw_label(label), ids[rows, columns])


@pytest.mark.parametrize("view", [View(rotation=30.0), View(zoom=0.7), View(rotation=-80.0, zoom=1.3)])
def test_a_turned_window_shows_the_image_around_it(view: View) -> None:
    """As if the whole image had been turned about the middle of the window and then cut."""
    image = _picture(160, 160)
    whole = PlacedView(view, FixedWindow(160, (0, 0))).render(image, mean=MEAN, std=STD)
    seen = PlacedView(view, FixedWindow(32, (64, 64))).render(image, mean=MEAN, std=STD)
    assert torch.allclose(seen, whole[:, 64:96, 64:96], atol=1e-3)
    mask = LabelMap((image.array[0] > 0.6).astype(np.uint8))
    ids = PlacedView(view, FixedWindow(32, (64, 64))).draw_label(mask)
    turned = PlacedView(view, FixedWindow(160, (0, 0))).draw_label(mask)
    assert (ids == turned[64:96, 64:96]).float().mean() > 0.99


def test_colours_change_but_padding_stays() -> None:
    view = PlacedView(View(brightness=1.3, horizontal_flip=True), FixedWindow(SIDE, (0, 0)))
    seen = view.render(_picture(20, 40), mean=MEAN, std=STD)
    assert (seen[:, :6] == 0).all()
    assert (seen[:, 26:] == 0).all()
    assert (seen[:, 6:26] != 0).float().mean() > 0.99


# What the bank keeps.


class _Setting:
    """Banks over one folder, and how many windows their backbone saw."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder, self.computed = data, folder, 0
        self.vit = create_backbone("untrained-vitt16")

    def backbone(self, pixels: Tensor) -> Any:
        self.computed += len(pixels)
        return self.vit(pixels)

    def bank(
        self, windows: RandomWindows | SlidingWindows, *, seed: int = 0, views: int = 4, **options: Any
    ) -> ViewBank:
        dataset = open_dataset(self.data)
        settings = ModelSettings(
            backbone=BackboneSettings(name="untrained-vitt16"),
            decoder=decoder_settings("linear"),
            preprocessing=PreprocessingSettings(size=windows.side, window=windows.side),
            classes=dataset.classes,
        )
        store = EntryStore(self.folder, limit_gb=1)
        cache = FeatureCache(self.backbone, self.vit.digest, store, dtype="float32")
        options = {"augmentation": None, "views": views, "seed": seed, "windows": windows, **options}
        cases, model = dataset.cases[:2], Segmenter(settings, self.vit)
        return ViewBank(cases, dataset.labels, model, cache, digests=read_digests(cases), **options)


@pytest.fixture
def setting(run: Run, tmp_path: Path) -> _Setting:
    return _Setting(run.data, tmp_path / "features")


DRAWN = RandomWindows(SIDE, 0.5)


def test_features_of_windows_are_remembered_by_seed(setting: _Setting) -> None:
    setting.bank(DRAWN).build(Silent())
    assert setting.computed == 8
    setting.bank(DRAWN).build(Silent())
    assert setting.computed == 8
    setting.bank(DRAWN, views=5).build(Silent())  # the first four are there
    assert setting.computed == 10
    setting.bank(DRAWN, seed=1).build(Silent())
    assert setting.computed == 18
    setting.bank(RandomWindows(SIDE, 0.0)).build(Silent())  # half of them lay anywhere before
    assert setting.computed == 22
    setting.bank(RandomWindows(33, 0.5)).build(Silent())
    assert setting.computed == 30


def test_a_batch_holds_the_drawn_windows(setting: _Setting) -> None:
    """Foreground windows show the class, and features are the backbone's of what is seen."""
    bank = setting.bank(RandomWindows(SIDE, 1.0), augmentation=AugmentationSettings(rotation_probability=1.0))
    samples = bank.list_samples()
    assert samples == [Sample(position, view) for position in range(2) for view in range(4)]
    batch = bank.batch(samples)
    assert batch.label.shape == (8, SIDE, SIDE)
    assert batch.label.flatten(1).any(dim=1).all()
    assert batch.corners is None
    again = bank.batch(samples)
    assert torch.equal(batch.label, again.label)
    assert torch.equal(batch.features.levels[0], again.features.levels[0])


def test_sliding_windows_are_those_of_prediction(setting: _Setting) -> None:
    bank = setting.bank(SlidingWindows(SIDE, 0.25))
    corners = list_corners((128, 128), side=SIDE, overlap=0.25)
    samples = bank.list_samples()
    assert len(samples) == 2 * len(corners)
    batch = bank.batch(samples[3:6])
    assert batch.corners == tuple(corners[3:6])
    dataset = open_dataset(setting.data)
    case = read_case(dataset.cases[0], dataset.labels)
    pixels = prepare_pixels(case.image, (128, 128), mean=setting.vit.mean, std=setting.vit.std)
    row, column = corners[4]
    window = torch.from_numpy(pixels[:, row : row + SIDE, column : column + SIDE].copy())
    assert torch.equal(batch.features.levels[0][1:2], setting.vit(window[None]).levels[0])


def test_another_mask_moves_the_windows_on_its_class(setting: _Setting, tmp_path: Path) -> None:
    setting.data = make_spots(tmp_path / "data")
    first = setting.bank(RandomWindows(SIDE, 1.0)).batch([Sample(0, 0)])
    mask = setting.data / "masks" / "c0.png"
    moved = np.zeros((128, 128), np.uint8)
    moved[5:9, 5:9] = 1
    write_mask(mask, LabelMap(moved), overwrite=True)
    second = setting.bank(RandomWindows(SIDE, 1.0)).batch([Sample(0, 0)])
    assert second.label.sum() == 16
    assert not torch.equal(first.features.levels[0], second.features.levels[0])


# What comes of a run.


def test_windows_show_what_a_small_whole_image_hides(run: Run, tmp_path: Path) -> None:
    """At the same cost: cells of a window are 16 px, those of the image at 32 px cover 64."""
    whole = {"train.window": None, "model.preprocessing.size": SIDE}
    notes = Notes()
    train_windows(run.data, tmp_path / "whole", run.cache, changes=whole, progress=notes)
    assert any(
        "regions (100.0%) in 5 cases are below one 16×16 patch at 32×32" in note for note in notes.notes
    )
    seen, hidden = (
        max(float(row["val_dice"]) for row in read_rows(root) if row["val_dice"] not in ("", "nan"))
        for root in (run.root, tmp_path / "whole")
    )
    assert seen > 0.5
    assert hidden < 0.15


def test_training_says_what_it_cuts(run: Run) -> None:
    assert any("for the features of 90 windows and" in note for note in run.notes)  # 5 × 8 + 2 × 25


def test_validation_is_the_score_of_what_is_predicted(run: Run, tmp_path: Path) -> None:
    """The Dice that chose the epoch, that of `evaluate`, and that of the masks that are written."""
    kept = max(float(row["val_dice"]) for row in read_rows(run.root) if row["val_dice"] not in ("", "nan"))
    found = evaluate(run.root, run.data, split="val")
    (dice,) = [item.interval.mean for item in found.headline.metrics if item.metric == "dice"]
    assert dice == pytest.approx(kept, abs=1e-6)
    names = json.loads((run.root / "splits.json").read_text())["val"]
    sources = [run.data / "images" / f"{name}.png" for name in names]
    report = predict_files(run.root, sources, tmp_path / "out")
    by_hand = []
    for file in report.files:
        ours, theirs = (read_label(path) > 0 for path in (file.mask, run.data / "masks" / file.source.name))
        by_hand.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    assert np.mean(by_hand) == pytest.approx(kept, abs=1e-6)


def test_the_model_remembers_its_window(run: Run, tmp_path: Path) -> None:
    model = load(run.root)
    assert model.settings.preprocessing.window == SIDE
    assert f"Input: windows of {SIDE}×{SIDE} px, not resized" in (run.root / "model/README.md").read_text()
    source = run.data / "images" / "c7.png"
    masks = {window: predict(model, source, window=window).mask for window in (None, SIDE, 48)}  # type: ignore[union-attr]
    assert np.array_equal(masks[None], masks[SIDE])
    assert not np.array_equal(masks[None], masks[48])
    for window, stated in ((None, SIDE), (48, 48)):
        predict_files(model, source, tmp_path / str(stated), window=window)
        settings = json.loads((tmp_path / str(stated) / "predictions.json").read_text())["settings"]
        assert (settings["window"], settings["overlap"]) == (stated, 0.25)
    with pytest.raises(UsageError, match=f"the model was trained on windows of {SIDE} px; score with native"):
        evaluate(model, run.data, split="val", protocol="paper")


@pytest.mark.usefixtures("quick")
def test_stopped_and_resumed_equals_uninterrupted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = DecoderTraining.training_step

    def stop(self: DecoderTraining, batch: Any, index: int) -> Any:
        if (self.current_epoch, index) == (5, 1):
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(DecoderTraining, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train_windows(run.data, tmp_path / "run", tmp_path / "cache")
    torch.rand(5)
    train_windows(run.data, tmp_path / "run", tmp_path / "cache", resume=True)
    resumed, whole = read_decoder(tmp_path / "run"), read_decoder(run.root)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert read_rows(tmp_path / "run") == read_rows(run.root)


@pytest.mark.usefixtures("quick")
def test_several_folders_and_another_run_to_begin_with(run: Run, tmp_path: Path) -> None:
    """The decoder goes on from windows of another side."""
    more, notes = make_spots(tmp_path / "more", spot=18), Notes()
    changes = {"train.window": 40, "train.views": 1, "train.epochs": 1, "train.validate_every": 1}
    out = tmp_path / "run"
    train_windows([run.data, more], out, tmp_path / "cache", changes=changes, init=run.root, progress=notes)
    assert f"the decoder begins as that of {run.root}" in notes.notes
    assert any("for the features of 74 windows and" in note for note in notes.notes)  # 10 + 4 × 16
    assert load(out).settings.preprocessing.window == 40


def test_what_a_run_is_shown_is_told(run: Run) -> None:
    described = json.loads((run.root / "model" / "config.json").read_text())["settings"]["preprocessing"]
    assert word_input(described) == f"images are seen through windows of {SIDE} px, not resized"
    assert word_input({"size": 64}) == "images are resized to 64 px"  # of an older version


# What is refused, in one line, before a folder is made.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.window": 0}, r"^setting 'train\.window': .*greater than or equal to 1 \(given 0\); `"),
        ({"train.window": 5000}, r"^setting 'train\.window': .*less than or equal to 4096"),
        ({"train.window": "large"}, r"^setting 'train\.window': .*valid integer"),
        ({"train.window_foreground": 1.5}, r"^setting 'train\.window_foreground': "),
        (
            {"train.window": 260},
            "^train.window=260 is 2.0 times the longest side of all training images, 128 px: .*take 128 px",
        ),
        (
            {"model.preprocessing.size": 64},
            r"^a window is seen at its own size, so train\.window=32 and a size of 64 exclude each other",
        ),
        ({"model.preprocessing.window": 32}, r"is that of training; --set train\.window=N$"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        train_windows(run.data, tmp_path / "run", tmp_path / "cache", changes=changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_small_images_are_told(run: Run, tmp_path: Path) -> None:
    notes = Notes()
    changes = {"train.window": 130, "train.views": 1, "train.epochs": 1, "train.validate_every": 1}
    train_windows(run.data, tmp_path / "run", tmp_path / "cache", changes=changes, progress=notes)
    assert "5 of 5 training cases are smaller than the window of 130 px and are padded" in notes.notes


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_raw(tmp_path_factory.mktemp("raw") / "raw", 5)


VOLUMES = {"train.window": 16, "cache.dtype": "float32", "train.epochs": 1, "model.preprocessing.size": 16}


@pytest.mark.usefixtures("quick")
def test_volumes_are_cut_slice_by_slice(raw: Path, tmp_path: Path) -> None:
    """Windows lie in the plane; validation is the Dice in 3D of what is predicted."""
    train_small(raw, tmp_path / "run", tmp_path / "cache", method="linear", changes=VOLUMES)
    (row,) = read_rows(tmp_path / "run")
    found = evaluate(tmp_path / "run", raw, split="val")
    dice = [item.metric("dice").interval.mean for item in found.summaries if item.kind == "class"]
    assert np.mean(dice) == pytest.approx(float(row["val_dice"]), abs=1e-6)
    prediction = predict(tmp_path / "run", open_dataset(raw).cases[0].image)
    assert np.asarray(prediction.mask).shape == SHAPE  # type: ignore[union-attr]


def test_a_decoder_that_reads_whole_slices_refuses_windows(raw: Path, tmp_path: Path) -> None:
    message = r"'guided' reads 1 slices .* leave out train\.window, or add --set model\.decoder\.reach=0"
    with pytest.raises(ConfigError, match=message):
        train_small(raw, tmp_path / "run", tmp_path / "cache", method="guided", changes=VOLUMES)
    assert not (tmp_path / "run").exists()

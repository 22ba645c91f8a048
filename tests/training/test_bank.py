"""The bank: remembered features equal fresh ones, and nothing is computed twice."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

import dinoseg.training.features.items as items_module
from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import DTYPES, EntryStore, FeatureCache, entry_key
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.features import Features
from dinoseg.config import AugmentationSettings, BackboneSettings, PreprocessingSettings
from dinoseg.data import Dataset, LabelMapping, open_dataset, read_case
from dinoseg.data.images import content_digest
from dinoseg.data.tensors.augmentation import apply_to_image, apply_to_label, draw_view
from dinoseg.data.tensors.transforms import resize_image, resize_label, to_rgb
from dinoseg.errors import LabelError
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from dinoseg.progress import Silent
from dinoseg.training.features.bank import Sample, ViewBank
from dinoseg.training.features.epochs import Batches, draw_epoch
from dinoseg.training.features.items import read_digests
from tests.backbones.tiny import Notes
from tests.training.folders import NARROW, make_data

AUGMENTATION = AugmentationSettings(
    horizontal_flip=0.5, rotation_probability=1, zoom=0.2, zoom_probability=1, colour_probability=1
)
SEES_PIXELS = "dino-unet"  # the method that looks at the image
OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {},
    SEES_PIXELS: NARROW["dino-unet"],
}
VIEWS = 3
SAMPLES = [Sample(0, 1), Sample(3, 0), Sample(2, 2), Sample(0, 1)]


@pytest.fixture(scope="module")
def vit() -> Backbone:
    return create_backbone("untrained-vitt16")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(make_data(tmp_path_factory.mktemp("data"), count=5))


class Setting:
    """A bank over one store, and the number of images its backbone saw."""

    def __init__(self, dataset: Dataset, vit: Backbone, folder: Path) -> None:
        self.dataset = dataset
        self.vit = vit
        self.folder = folder
        self.computed = 0

    def backbone(self, pixels: Tensor) -> Features:
        self.computed += len(pixels)
        return self.vit(pixels)

    def model(self, method: str = "linear", size: int = 48) -> Segmenter:
        settings = ModelSettings(
            backbone=BackboneSettings(name="untrained-vitt16"),
            decoder=decoder_settings(method, **OPTIONS[method]),
            preprocessing=PreprocessingSettings(size=size),
            classes=self.dataset.classes,
        )
        return Segmenter(settings, self.vit)

    def bank(
        self,
        method: str = "linear",
        *,
        size: int = 48,
        dtype: Any = "float32",
        views: int = VIEWS,
        seed: int = 0,
        mapping: LabelMapping | None = None,
        augmentation: AugmentationSettings | None = AUGMENTATION,
        limit_gb: float = 1,
    ) -> ViewBank:
        """A new bank with a store of its own on the same folder, as another process would have."""
        store = EntryStore(self.folder, limit_gb=limit_gb)
        cache = FeatureCache(self.backbone, self.vit.digest, store, dtype=dtype)
        return ViewBank(
            self.dataset.cases,
            mapping or self.dataset.labels,
            self.model(method, size),
            cache,
            digests=read_digests(self.dataset.cases),
            augmentation=augmentation,
            views=views,
            seed=seed,
        )

    def fresh(self, sample: Sample, *, size: int = 48, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Pixels and label of a view, without any bank."""
        files = self.dataset.cases[sample.position]
        case = read_case(files, self.dataset.labels)
        assert case.label is not None
        digest = content_digest(files.image)
        view = draw_view(AUGMENTATION, case=digest, index=sample.view, seed=seed)
        pixels = to_rgb(resize_image(case.image, (size, size))).copy()
        moved = apply_to_image(view, torch.from_numpy(pixels))
        label = torch.from_numpy(resize_label(case.label, (size, size)).array)
        return self.model(size=size).normalise(moved), apply_to_label(view, label)


@pytest.fixture
def setting(dataset: Dataset, vit: Backbone, tmp_path: Path) -> Setting:
    return Setting(dataset, vit, tmp_path / "features")


def equal(first: Features, second: Features) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.levels, second.levels, strict=True))


def entries(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("??/*.safetensors")}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_remembered_features_are_the_backbones(setting: Setting, dtype: str) -> None:
    setting.bank(dtype=dtype).build(Silent())
    batch = setting.bank(dtype=dtype).batch(SAMPLES)
    assert batch.pixels is None
    assert batch.positions == (0, 3, 2, 0)
    assert batch.features.size == batch.features.padded == (48, 48)
    for row, sample in enumerate(SAMPLES):
        pixels, label = setting.fresh(sample)
        expected = setting.vit(pixels[None]).map(lambda maps: maps.to(DTYPES[dtype]).float())
        got = batch.features.map(lambda maps, row=row: maps[row : row + 1])
        assert equal(got, expected)
        assert torch.equal(batch.label[row], label)
    assert batch.label.dtype == torch.uint8
    assert batch.label.any()


def test_the_first_batch_equals_all_later_ones(setting: Setting) -> None:
    """Whether an entry was just computed or read back makes no difference."""
    bank = setting.bank(dtype="bfloat16")
    first, second = bank.batch(SAMPLES), bank.batch(SAMPLES)
    later = setting.bank(dtype="bfloat16").batch(SAMPLES)
    assert equal(first.features, second.features)
    assert equal(first.features, later.features)
    assert torch.equal(first.label, later.label)
    assert all(level.dtype == torch.float32 for level in first.features.levels)


def test_a_second_build_computes_and_opens_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    setting.bank(SEES_PIXELS).build(notes)
    assert setting.computed == len(setting.dataset.cases) * VIEWS == 15
    assert (notes.steps, notes.total) == (5, 5)

    def refuse(*arguments: object) -> None:
        pytest.fail("an image was opened")

    monkeypatch.setattr(items_module, "read_case", refuse)
    again = Notes()
    bank = setting.bank(SEES_PIXELS)
    bank.build(again)
    bank.batch(SAMPLES)
    assert setting.computed == 15
    assert again.total == 0


def test_every_file_is_digested_once(dataset: Dataset) -> None:
    digests = read_digests(dataset.cases)
    files = [path for case in dataset.cases for path in (case.image, case.label) if path]
    assert digests == {path: content_digest(path) for path in files}
    assert len(digests) == 10


def test_each_image_is_opened_once_for_all_its_views(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()

    def count(files: Any, mapping: LabelMapping) -> Any:
        opened[files.id] += 1
        return read_case(files, mapping)

    monkeypatch.setattr(items_module, "read_case", count)
    setting.bank(SEES_PIXELS).build(Silent())
    assert set(opened.values()) == {1}
    assert len(opened) == 5


@pytest.mark.parametrize("method", OPTIONS)
def test_threads_change_neither_entries_nor_torch(setting: Setting, method: str, tmp_path: Path) -> None:
    before, alone = torch.get_num_threads(), setting.folder
    setting.bank(method).build(Silent())
    setting.folder = tmp_path / "again"
    torch.set_num_threads(3)
    try:
        setting.bank(method).build(Silent())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    expected = {path.relative_to(alone): data for path, data in entries(alone).items()}
    assert {
        path.relative_to(setting.folder): data for path, data in entries(setting.folder).items()
    } == expected


def test_images_are_computed_beside_each_other(setting: Setting) -> None:
    """Two at a time, each on a core of its own: both are under way before either ends."""
    before, meeting = torch.get_num_threads(), threading.Barrier(2, timeout=60)
    compute = setting.vit.forward
    threads = []

    def meet(pixels: Tensor) -> Features:
        threads.append(torch.get_num_threads())
        if len(threads) <= 2:
            meeting.wait()
        return compute(pixels)

    setting.backbone = meet  # type: ignore[method-assign]
    bank = setting.bank()
    torch.set_num_threads(2)
    try:
        bank.build(Silent())
    finally:
        torch.set_num_threads(before)
    assert threads == [1] * VIEWS * len(bank)


def test_a_cache_that_is_too_small_is_told(setting: Setting) -> None:
    notes = Notes()
    setting.bank(limit_gb=1).build(notes)
    assert not [note for note in notes.notes if "cache" in note]
    setting.folder = setting.folder / "other"
    setting.bank(limit_gb=1e-5).build(notes)
    (told,) = [note for note in notes.notes if "cache" in note]
    assert "full at 1e-05 GB: 15 of 15 views are computed anew each time; raise --set cache.limit_gb" in told


def test_only_what_is_missing_is_computed(setting: Setting) -> None:
    setting.bank(views=2).build(Silent())
    assert setting.computed == 10
    setting.bank(views=3).build(Silent())
    assert setting.computed == 15
    setting.bank(views=1, augmentation=None).build(Silent())  # the identity is there already
    assert setting.computed == 15


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": 32}, {"dtype": "bfloat16"}])
def test_another_seed_size_or_type_is_another_entry(setting: Setting, change: dict[str, Any]) -> None:
    setting.bank().build(Silent())
    bank = setting.bank(**change)
    bank.build(Silent())
    # the first view of an image does not depend on the seed
    assert setting.computed == 15 + (10 if "seed" in change else 15)
    size = change.get("size", 48)
    for sample in SAMPLES:
        pixels, label = setting.fresh(sample, size=size, seed=change.get("seed", 0))
        assert torch.equal(bank.batch([sample]).label[0], label)
        expected = setting.vit(pixels[None]).map(
            lambda maps: maps.to(DTYPES[change.get("dtype", "float32")]).float()
        )
        assert equal(bank.batch([sample]).features, expected)


def test_the_first_view_is_the_image_as_it_is(setting: Setting) -> None:
    plain = setting.bank(views=1, augmentation=None).batch([Sample(1, 0)])
    drawn = setting.bank().batch([Sample(1, 0), Sample(1, 1)])
    assert torch.equal(plain.label[0], drawn.label[0])
    assert equal(plain.features, drawn.features.map(lambda maps: maps[:1]))
    assert not torch.equal(drawn.label[0], drawn.label[1])
    assert not equal(plain.features, drawn.features.map(lambda maps: maps[1:]))


@pytest.mark.parametrize("damage", ["removed", "truncated", "emptied", "flipped"])
def test_a_damaged_entry_is_computed_again(setting: Setting, damage: str) -> None:
    bank = setting.bank(SEES_PIXELS)
    bank.build(Silent())
    expected = bank.batch(SAMPLES)
    before = entries(setting.folder)
    for path, content in before.items():
        if damage == "removed":
            path.unlink()
        elif damage == "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    # A flipped bit is looked for once in each process, at the first use.
    later = setting.bank(SEES_PIXELS) if damage == "flipped" else bank
    batch = later.batch(SAMPLES)
    assert equal(batch.features, expected.features)
    assert torch.equal(batch.label, expected.label)
    assert batch.pixels is not None
    assert expected.pixels is not None
    assert torch.equal(batch.pixels, expected.pixels)
    assert setting.computed == 15 + len(set(SAMPLES))
    restored = entries(setting.folder)
    assert sum(restored.get(path) == content for path, content in before.items()) == 3 * len(set(SAMPLES))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pixels_are_those_of_the_features(setting: Setting, dtype: str) -> None:
    bank = setting.bank(SEES_PIXELS, dtype=dtype)
    bank.build(Silent())
    batch = bank.batch(SAMPLES)
    assert batch.pixels is not None
    assert batch.pixels.shape == (4, 3, 48, 48)
    for row in range(len(SAMPLES)):
        expected = setting.vit(batch.pixels[row : row + 1]).map(lambda maps: maps.to(DTYPES[dtype]).float())
        assert equal(batch.features.map(lambda maps, row=row: maps[row : row + 1]), expected)


def make_shapes(root: Path) -> Dataset:
    """White shapes on black, no two sides of them alike: an image is its own mask."""
    for number in range(3):
        shape = np.zeros((60, 72), dtype=np.uint8)
        shape[8 : 30 + 5 * number, 10:20] = shape[8:16, 10 : 50 + 5 * number] = 255
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            PillowImage.fromarray(shape).save(root / folder / f"s{number}.png")
    return open_dataset(root)


def test_image_features_and_mask_of_a_batch_show_the_same_view(vit: Backbone, tmp_path: Path) -> None:
    """All three are turned alike, as they reach the decoder; those of another view would not fit."""
    setting = Setting(make_shapes(tmp_path / "data"), vit, tmp_path / "features")
    turned = AUGMENTATION.model_copy(update={"rotation": 90.0, "colour_probability": 0.0})
    bank = setting.bank(SEES_PIXELS, views=6, augmentation=turned)
    samples = draw_epoch(bank, min_samples=12, seed=0, epoch=0)
    batches = list(Batches(bank, samples, 5))
    pixels = torch.cat([batch.pixels for batch in batches if batch.pixels is not None])
    labels = torch.cat([batch.label for batch in batches]).bool()
    assert len(pixels) == len(labels) == 12
    white = bank._model.normalise(torch.ones(3, 1, 1)) / 2 + bank._model.normalise(torch.zeros(3, 1, 1)) / 2
    shown = (pixels > white).all(dim=1)
    agree = torch.tensor([[(a == b).float().mean() for b in labels] for a in shown])
    assert agree.diagonal().min() > 0.96
    views = [(sample.position, sample.view) for sample in samples]
    others = torch.tensor([[a != b for b in views] for a in views])
    assert (agree.masked_fill(~others, 0).amax(dim=1) < agree.diagonal()).all()
    assert agree[others].median() < 0.9
    features = Features(
        tuple(torch.cat(maps) for maps in zip(*(batch.features.levels for batch in batches), strict=True)),
        batches[0].features.strides,
        (48, 48),
        (48, 48),
    )
    assert equal(features, Features(_fresh(vit, pixels), features.strides, (48, 48), (48, 48)))


def _fresh(vit: Backbone, pixels: Tensor) -> tuple[Tensor, ...]:
    each = [vit(image[None]).levels for image in pixels]
    return tuple(torch.cat(maps) for maps in zip(*each, strict=True))


def test_native_labels_are_the_masks(setting: Setting) -> None:
    bank = setting.bank()
    for position, files in enumerate(setting.dataset.cases):
        assert files.label is not None
        with PillowImage.open(files.label) as mask:
            expected = np.asarray(mask) > 0
        for _ in range(2):
            label = bank.native_label(position)
            assert label.dtype == torch.uint8
            assert np.array_equal(label.numpy(), expected)


def test_a_corrected_mask_is_read_again_and_its_features_are_kept(setting: Setting, tmp_path: Path) -> None:
    bank = setting.bank()
    before = bank.batch([Sample(0, 0)])
    white = tmp_path / "mask.png"
    PillowImage.fromarray(np.full((60, 72), 255, dtype=np.uint8)).save(white)
    first, *rest = setting.dataset.cases
    corrected = dataclasses.replace(first, label=white)
    setting.dataset = dataclasses.replace(setting.dataset, cases=(corrected, *rest))
    after = setting.bank().batch([Sample(0, 0)])
    assert setting.computed == 1
    assert not before.label.bool().all()
    assert after.label.bool().all()
    assert setting.bank().native_label(0).bool().all()


def test_another_mapping_is_another_label(setting: Setting) -> None:
    swapped = LabelMapping({0: 1, 255: 0}, "declared")
    plain, other = setting.bank().batch(SAMPLES), setting.bank(mapping=swapped).batch(SAMPLES)
    assert torch.equal(other.label, 1 - plain.label)
    assert torch.equal(setting.bank(mapping=swapped).native_label(0), 1 - setting.bank().native_label(0))
    assert setting.computed == len(set(SAMPLES))


def test_an_image_without_a_mask_is_refused_by_name(setting: Setting) -> None:
    first, *rest = setting.dataset.cases
    setting.dataset = dataclasses.replace(
        setting.dataset, cases=(*rest, dataclasses.replace(first, label=None))
    )
    with pytest.raises(LabelError, match=rf"{first.image.name} has no mask"):
        setting.bank()


def test_batch_moves_to_a_device(setting: Setting) -> None:
    meta = torch.device("meta")
    for method in ("linear", SEES_PIXELS):
        moved = setting.bank(method).batch(SAMPLES[:2]).to(meta)
        tensors = [*moved.features.levels, moved.label, *([] if moved.pixels is None else [moved.pixels])]
        assert {tensor.device for tensor in tensors} == {meta}
        assert (moved.pixels is None) == (method == "linear")
        assert moved.positions == (0, 3)


def test_an_epoch_holds_every_image_once_in_some_view(setting: Setting) -> None:
    bank = setting.bank(views=7)
    seen: set[int] = set()
    for epoch in range(20):
        samples = draw_epoch(bank, min_samples=0, seed=0, epoch=epoch)
        assert sorted(sample.position for sample in samples) == [0, 1, 2, 3, 4]
        seen.update(sample.view for sample in samples)
    assert seen == set(range(7))


def test_an_epoch_is_drawn_from_seed_and_number(setting: Setting) -> None:
    bank = setting.bank(views=7)
    draw = {
        (seed, epoch): tuple(draw_epoch(bank, min_samples=20, seed=seed, epoch=epoch))
        for seed in (0, 1, 2**32 - 1)
        for epoch in (0, 1, 2)
    }
    assert len(set(draw.values())) == len(draw)
    assert tuple(draw_epoch(bank, min_samples=20, seed=1, epoch=2)) == draw[1, 2]


@pytest.mark.parametrize(("wanted", "given"), [(0, 5), (1, 5), (5, 5), (6, 10), (23, 25)])
def test_few_images_are_repeated_alike(setting: Setting, wanted: int, given: int) -> None:
    samples = draw_epoch(setting.bank(), min_samples=wanted, seed=0, epoch=0)
    assert len(samples) == given
    assert Counter(sample.position for sample in samples) == dict.fromkeys(range(5), given // 5)
    first = [sample.position for sample in samples[:5]]
    assert sorted(first) == list(range(5))  # a round is complete before the next one begins


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_an_epoch_of_so_many_samples(setting: Setting, count: int) -> None:
    bank = setting.bank(views=7)
    samples = draw_epoch(bank, count=count, min_samples=50, seed=0, epoch=0)
    assert len(samples) == count
    full, rest = divmod(count, 5)
    for start in range(0, 5 * full, 5):
        assert sorted(sample.position for sample in samples[start : start + 5]) == list(range(5))
    assert len({sample.position for sample in samples[5 * full :]}) == rest
    assert samples == draw_epoch(bank, count=count, seed=0, epoch=0)
    assert samples != draw_epoch(bank, count=count, seed=0, epoch=1)


def test_drawing_leaves_the_global_generator_alone(setting: Setting) -> None:
    bank, state = setting.bank(), torch.get_rng_state()
    draw_epoch(bank, min_samples=50, seed=0, epoch=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_the_samples_in_order(setting: Setting) -> None:
    samples = draw_epoch(setting.bank(), min_samples=0, seed=0, epoch=0)
    batches = Batches(setting.bank(), samples, 2)
    assert len(batches) == 3
    for _ in range(2):  # may be gone through again
        positions = [batch.positions for batch in batches]
        assert [len(each) for each in positions] == [2, 2, 1]
        assert sum(positions, ()) == tuple(sample.position for sample in samples)


def test_a_full_store_keeps_what_the_bank_is_about_to_read(setting: Setting) -> None:
    """Entries of this bank are older than those of others; adding views must not remove them first."""
    setting.bank(views=1).build(Notes())
    mine = {path: path.stat().st_size for path in setting.folder.glob("??/*.safetensors")}
    for path in mine:
        os.utime(path, (1000, 1000))
    foreign = EntryStore(setting.folder, limit_gb=1)
    for number in range(len(mine)):
        foreign.put(entry_key("foreign", str(number)), {"value": torch.rand(20_000)})
    whole = sum(path.stat().st_size for path in setting.folder.glob("??/*.safetensors"))
    setting.bank(views=2, limit_gb=whole * 1.001 / 1e9).build(Notes())
    assert all(path.exists() for path in mine)

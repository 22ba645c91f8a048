"""`train()`: data and settings in, a run folder with a model out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache, entry_key
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.features import Features
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.data import CaseFiles, Dataset, open_dataset
from dinoseg.data.cases.volumes import note_channels
from dinoseg.data.splits.shots import draw_shots, refuse_empty_shots, require_foreground, tell_absent_classes
from dinoseg.data.splits.splits import Splits, check_splits, resolve_splits
from dinoseg.errors import SplitError
from dinoseg.methods import Card
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress, Silent
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.features.items import read_digests
from dinoseg.training.learning.checkpoints import AtomicCheckpointIO, create_checkpoints, read_checkpoint
from dinoseg.training.learning.guards import call_quietly, interruptible, isolated
from dinoseg.training.learning.history import History, draw_learning_curve
from dinoseg.training.learning.module import DecoderTraining
from dinoseg.training.runs.composition import compose_settings, describe_intensity, require_device
from dinoseg.training.runs.locks import locked, refuse_locked
from dinoseg.training.runs.run_folder import RunFolder


def train(
    data: Path | str,
    *,
    method: str | Card = "segdino-v2",
    backbone: str = "dinov3_vits16",
    out: Path | str,
    preset: Literal["paper", "default"] = "default",
    shots: int | None = None,
    shots_from: Literal["random", "first"] = "random",
    shot_unit: Literal["case", "group"] = "case",
    splits: Path | str | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    accept_license: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Segmenter:
    """Train a decoder on a frozen backbone and write a run folder.

    Args:
        data: folder (or CSV) of images and masks.
        method: one of `dinoseg.METHODS`, or the card of your own.
        backbone: catalog name or local Hugging Face folder.
        out: the run folder.
        preset: "paper", the method's published recipe and input size, or "default", ours.
        shots: train on so many labelled cases only; the last epoch is then kept, because
            choosing one would need more labels.
        shots_from: draw the shots at random (seeded) or take the first of the split.
        shot_unit: what is counted: cases, or groups (patients, videos).
        splits: a splits.json; default: the data set's own, else one drawn by group.
        changes: dotted settings to change, such as {"train.lr": 1e-4}.
        seed: of initial weights, order, views, shots and drawn splits.
        device: "cpu", "cuda" or "cuda:1".
        accept_license: accept the licence of the backbone's weights.
        resume: continue an interrupted run in `out`; the result equals an uninterrupted one.
        overwrite: delete an older run in `out` first.
        progress: shows the bars and lines.

    Returns:
        The trained model, in eval mode on `device`.

    Raises:
        DataError: the data cannot be read, or the split leaks.
        ConfigError: a setting is unknown or not accepted.
        UsageError: the device is neither cpu nor cuda.
        OutputError: `out` is not empty, or the disk is full.
        RunError: `resume`, and `out` holds a run with other settings; or another process trains there.
        WeightsError: the backbone's weights are missing.
    """
    progress = progress or Silent()
    folder = RunFolder(Path(out))
    refuse_locked(folder.root)
    folder.refuse_older(resume=resume, overwrite=overwrite)
    require_device(device)
    dataset = open_dataset(data)
    settings = compose_settings(
        dataset,
        data,
        method=method,
        backbone=backbone,
        preset=preset,
        shots=shots,
        shots_from=shots_from,
        shot_unit=shot_unit,
        splits=splits,
        changes=changes,
        seed=seed,
    )
    return train_run(
        dataset,
        settings,
        find_splits(dataset, settings),
        out=Path(out),
        device=device,
        accept_license=accept_license,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def train_run(
    dataset: Dataset,
    settings: RunSettings,
    splits: Splits,
    *,
    out: Path,
    device: str = "cpu",
    accept_license: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress,
) -> Segmenter:
    """Train as `train` does, on data that were read and splits that were checked.

    Many runs on the same data need not read and check them each time.
    """
    folder = RunFolder(out)
    folder.refuse_older(resume=resume, overwrite=overwrite)
    chosen = _choose_cases(dataset, splits, settings)
    tell_absent_classes(dataset, chosen.splits.train, progress)
    _tell_volumes(dataset, settings, chosen, progress)
    frozen = open_backbone(settings, accept_license=accept_license, progress=progress)
    model = _fresh_model(settings, frozen, device)
    with locked(folder.root), isolated(), interruptible():
        folder.open(settings, resume=resume, overwrite=overwrite)
        folder.record_splits(chosen.splits)
        folder.record_environment(frozen, device, digest_content(chosen.cases, chosen.digests))
        return _fit(folder, settings, chosen, model, device, resume, progress)


def find_splits(dataset: Dataset, settings: RunSettings) -> Splits:
    """The splits that these settings ask for, without leaks; train is whole, whatever the shots.

    Raises:
        SplitError: a split is missing or leaks.
    """
    first = settings.shots if settings.shots_from == "first" else None
    splits = resolve_splits(
        dataset,
        path=settings.splits,
        seed=settings.train.seed,
        keep_first=first,
        unit=settings.shot_unit,
        fold=settings.fold,
    )
    check_splits(dataset, splits)
    return splits


def open_backbone(settings: RunSettings, *, accept_license: bool, progress: Progress) -> Backbone:
    """The frozen backbone that these settings ask for."""
    return create_backbone(
        settings.model.backbone.name,
        layers=settings.model.backbone.layers,
        precision=settings.model.backbone.precision,
        scales=settings.model.backbone.scales,
        accept_license=accept_license,
        progress=progress,
    )


@dataclass(frozen=True)
class _Chosen:
    """The files that a run trains and validates on."""

    dataset: Dataset
    splits: Splits
    train: tuple[CaseFiles, ...]
    val: tuple[CaseFiles, ...]

    @property
    def cases(self) -> tuple[CaseFiles, ...]:
        """All of them, those to train on first."""
        return (*self.train, *self.val)

    @cached_property
    def digests(self) -> dict[Path, str]:
        """sha256 of every file, computed once."""
        return read_digests(self.cases)


def _choose_cases(dataset: Dataset, splits: Splits, settings: RunSettings) -> _Chosen:
    if settings.shots is not None:
        drawn = draw_shots(
            dataset,
            splits.train,
            settings.shots,
            seed=settings.train.seed,
            unit=settings.shot_unit,
            first=settings.shots_from == "first",
        )
        if settings.shots_from == "first":
            refuse_empty_shots(dataset, drawn)
        splits = Splits(
            train=drawn, val=splits.val, test=splits.test, seed=settings.train.seed, unit=splits.unit
        )
    files = {case.id: case for case in dataset.cases}
    train_cases = tuple(files[name] for name in splits.train)
    if not train_cases:
        raise SplitError(
            f"{dataset.root}: the train split is empty; make one with `dinoseg data split {dataset.root}`"
        )
    require_foreground(train_cases, dataset.labels)
    return _Chosen(dataset, splits, train_cases, tuple(files[name] for name in splits.val))


def _tell_volumes(dataset: Dataset, settings: RunSettings, chosen: _Chosen, progress: Progress) -> None:
    if not dataset.is_volumes:
        return
    progress.note(describe_intensity(dataset, settings))
    first = chosen.train[0]
    channels = max(len(first.images), len(first.channel_indices))
    seen = note_channels(channels, settings.model.preprocessing)
    if seen:
        progress.note(seen)


def digest_content(cases: Sequence[CaseFiles], digests: Mapping[Path, str] | None = None) -> str:
    """Hash of all images, masks and groups of some cases.

    Args:
        cases: image and mask files.
        digests: of all these files where they are known already, from `read_digests`.
    """
    known = read_digests(cases) if digests is None else digests
    paths = [path for case in cases for path in (*case.images, case.label) if path is not None]
    return entry_key(*(case.group for case in cases), *(known[path] for path in paths))


def _fresh_model(settings: RunSettings, backbone: Backbone, device: str) -> Segmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.train.seed)
        return Segmenter(settings.model, backbone).to(device)


def _fit(
    folder: RunFolder,
    settings: RunSettings,
    chosen: _Chosen,
    model: Segmenter,
    device: str,
    resume: bool,
    progress: Progress,
) -> Segmenter:
    train_bank, val_bank = _build_banks(settings, chosen, model, progress)
    history = History(folder.metrics, progress)
    module = DecoderTraining(model, settings.train, train_bank, val_bank)
    trainer = call_quietly(
        lightning.Trainer,
        max_epochs=settings.train.epochs,
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        devices=[int(device.partition(":")[2] or 0)] if device.startswith("cuda") else 1,
        callbacks=[
            history,
            *create_checkpoints(folder.checkpoints, settings.train, validated=val_bank is not None),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=TensorBoardLogger(folder.root, name="", version="logs"),
        default_root_dir=folder.root,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=None if val_bank is not None else 0,
        log_every_n_steps=0,
        gradient_clip_val=settings.train.gradient_clip,
        check_val_every_n_epoch=settings.train.validate_every,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        deterministic=device == "cpu",
    )
    call_quietly(trainer.fit, module, ckpt_path=folder.last if resume and folder.last.is_file() else None)
    _restore(module, folder, keep_best=settings.train.keep == "best")
    draw_learning_curve(
        history.rows, folder.curve, title=f"{settings.model.decoder.method} on {model.backbone.name}"
    )
    model = model.to(device).eval()
    model.save(folder.model, overwrite=True)
    model.run = folder.root
    return model


def _build_banks(
    settings: RunSettings, chosen: _Chosen, model: Segmenter, progress: Progress
) -> tuple[ViewBank, ViewBank | None]:
    recipe = settings.train
    place = settings.cache.folder or read_settings().home / "features"
    store = EntryStore(place, limit_gb=settings.cache.limit_gb)
    cache = FeatureCache(_compute_on(model), model.backbone.digest, store, dtype=settings.cache.dtype)
    create = partial(ViewBank, digests=chosen.digests, seed=recipe.seed)
    labels = chosen.dataset.labels
    train_bank = create(
        chosen.train,
        labels,
        model,
        cache,
        augmentation=recipe.augmentation,
        views=recipe.views if recipe.augmentation else 1,
        min_bank=recipe.min_bank if recipe.augmentation else 0,
    )
    if recipe.augmentation and recipe.min_bank > 1 and train_bank.views == 1:
        progress.note(
            f"no view is augmented: train.views is 1, and the bank holds {len(train_bank)} without more "
            f"(train.min_bank={recipe.min_bank})"
        )
    train_bank.build(progress)
    if not chosen.val:
        progress.note("no validation cases: the last epoch is kept and nothing can stop early")
        return train_bank, None
    val_bank = create(chosen.val, labels, model, cache, augmentation=None, views=1)
    val_bank.build(progress)
    return train_bank, val_bank


def _compute_on(model: Segmenter) -> Callable[[Tensor], Features]:
    """The backbone as a function of pixels on the CPU, wherever it computes."""
    device = model.device

    def compute(pixels: Tensor) -> Features:
        features: Features = model.backbone(pixels.to(device))
        return features.map(Tensor.cpu)

    return compute


def _restore(module: DecoderTraining, folder: RunFolder, *, keep_best: bool) -> None:
    """Load the epoch that is kept into the decoder."""
    path = folder.best if keep_best and folder.best.is_file() else folder.last
    module.load_state_dict(read_checkpoint(path)["state_dict"])

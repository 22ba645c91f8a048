"""`train()`: data and settings in, a run folder with a model out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dinoseg.backbones import create_backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache, entry_key
from dinoseg.backbones.engines import computed_by, in_torch
from dinoseg.backbones.extractors import Backbone
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.config import TrainSettings
from dinoseg.config.options import choose_options
from dinoseg.config.settings import PercentileIntensity
from dinoseg.config.training import Training
from dinoseg.data import CaseFiles, Dataset, open_dataset
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.volumes import note_channels, note_doubts
from dinoseg.data.layouts.joined import JoinedDataset, open_joined
from dinoseg.data.splits.joined import resolve_joined, take_part
from dinoseg.data.splits.shots import (
    draw_shots,
    refuse_empty_shots,
    require_foreground,
    tell_absent_classes,
    tell_empty_validation,
)
from dinoseg.data.splits.splits import Splits, check_splits, resolve_splits
from dinoseg.errors import SplitError, UsageError
from dinoseg.model.acceptance import refuse_size
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.features.items import read_digests
from dinoseg.training.features.jobs import compute_on
from dinoseg.training.learning.checkpoints import read_checkpoint
from dinoseg.training.learning.forecast import forecast
from dinoseg.training.learning.guards import importing, interruptible, isolated
from dinoseg.training.learning.learning_curve import draw_learning_curve
from dinoseg.training.runs.beginning import begin_with, refuse_seen
from dinoseg.training.runs.composition import compose_settings, describe_intensity
from dinoseg.training.runs.locks import locked, refuse_locked
from dinoseg.training.runs.run_folder import RunFolder


@keeping_filters()
def train(
    data: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    how: Training | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Segmenter:
    """Train a decoder on a frozen backbone and write a run folder.

    Args:
        data: folder (or CSV) of images and masks, or several that have the same classes; each keeps
            its own splits.
        out: the run folder.
        how: method, backbone, recipe, shots and all else, see `Training`.
        progress: shows the bars and lines.
        options: fields of `Training` by name, in place of those of `how`.

    Returns:
        The trained model, in eval mode on the device.

    Raises:
        DataError: the data cannot be read, or the split leaks.
        ConfigError: a setting is unknown or not accepted.
        UsageError: an option is unknown, or the device is neither cpu nor cuda.
        OutputError: `out` is not empty, or the disk is full.
        RunError: `resume`, and `out` holds a run with other settings (more epochs are accepted); or
            another process trains there.
        WeightsError: the backbone's weights are missing.
    """
    how = choose_options(Training, how, options)
    folder = RunFolder(Path(out))
    refuse_locked(folder.root)
    folder.refuse_older(resume=how.resume, overwrite=how.overwrite)
    progress = progress or Silent()
    folders = [data] if isinstance(data, Path | str) else list(data)
    dataset = _open_data(folders, how, progress)
    settings = compose_settings(dataset, folders, how)
    splits = find_splits(dataset, settings)
    return train_run(dataset, settings, splits, Path(out), how=how, progress=progress, foretell=True)


def train_run(
    dataset: Dataset,
    settings: RunSettings,
    splits: Splits,
    out: Path,
    *,
    how: Training,
    progress: Progress,
    foretell: bool = False,
) -> Segmenter:
    """Train as `train` does, on data that were read and splits that were checked.

    Many runs on the same data need not read and check them each time. Of `how` only device, licence,
    resume and overwrite are asked for: all else is in the settings. `foretell` says how long it will take,
    which one of many need not measure again.
    """
    folder = RunFolder(out)
    folder.refuse_older(resume=how.resume, overwrite=how.overwrite)
    chosen = _choose_cases(dataset, splits, settings)
    tell_absent_classes(dataset, chosen.splits.train, progress)
    choosing = bool(chosen.val) and tell_empty_validation(dataset, chosen.splits.val, progress)
    _tell_volumes(dataset, settings, chosen, progress)
    frozen = open_backbone(settings, accept_license=how.accept_license, progress=progress)
    model = _fresh_model(settings, frozen, how.device)
    refuse_size(model)
    if settings.init is not None and not (how.resume and folder.last.is_file()):
        refuse_seen(settings, dataset, chosen.splits)
        begin_with(model, settings.init, progress)
    with locked(folder.root), isolated(how.device), interruptible():
        planned = folder.open(settings, resume=how.resume, overwrite=how.overwrite)
        _tell_longer(planned, settings.train, progress)
        folder.record_splits(chosen.splits)
        if isinstance(dataset, JoinedDataset):
            folder.record_parts({part.name: take_part(chosen.splits, part) for part in dataset.parts})
        folder.record_environment(frozen, how.device, digest_content(chosen.cases, chosen.digests))
        _fit(folder, settings, chosen, model, how, progress, choosing=choosing, foretell=foretell)
        model = model.to(how.device).eval()
        model.save(folder.model, overwrite=True)
    model.run = folder.root
    return model


def _open_data(folders: Sequence[Path | str], how: Training, progress: Progress) -> Dataset:
    if len(folders) == 1:
        return open_dataset(folders[0], progress=progress)
    if not folders:
        raise UsageError("data names no folder; name one at least")
    if how.shots_from == "first":
        raise UsageError("shots_from 'first' takes the first of one list; several data folders have several")
    return open_joined([Path(folder) for folder in folders], progress)


def find_splits(dataset: Dataset, settings: RunSettings) -> Splits:
    """The splits that these settings ask for, without leaks; train is whole, whatever the shots.

    Raises:
        SplitError: a split is missing or leaks.
    """
    first = settings.shots if settings.shots_from == "first" else None
    if isinstance(dataset, JoinedDataset) and settings.splits is None:
        splits = resolve_joined(
            dataset, seed=settings.train.seed, unit=settings.shot_unit, fold=settings.fold
        )
        check_splits(dataset, splits)
        return splits
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
    wanted = settings.model.backbone
    backbone = create_backbone(
        wanted.name,
        layers=wanted.layers,
        precision=in_torch(wanted),
        scales=wanted.scales,
        accept_license=accept_license,
        progress=progress,
    )
    return computed_by(wanted, backbone)


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
    seen = note_channels(chosen.train[0].channel_count, settings.model.preprocessing)
    if seen:
        progress.note(seen)
    for line in note_doubts((*chosen.train, *chosen.val), settings.model.preprocessing):
        progress.note(line)


def _tell_longer(planned: int, recipe: TrainSettings, progress: Progress) -> None:
    """Say what more epochs than a run was started with mean for its rates."""
    if recipe.epochs == planned:
        return
    rates = "the rates are those of a run of this length"
    if recipe.schedule != "constant":
        rates = f"from here on the {recipe.schedule} schedule is that of {recipe.epochs} epochs"
    progress.note(f"{recipe.epochs} epochs in place of {planned}: {rates}")


def digest_content(cases: Sequence[CaseFiles], digests: Mapping[Path, str] | None = None) -> str:
    """Hash of all images, masks and groups of some cases.

    Args:
        cases: image and mask files.
        digests: of all these files where they are known already, from `read_digests`.
    """
    known = read_digests(cases) if digests is None else digests
    paths = [path for case in cases for path in (*case.images, *case.labels)]
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
    how: Training,
    progress: Progress,
    *,
    choosing: bool,
    foretell: bool,
) -> None:
    """Train the decoder and load the epoch that is kept: the best one where validation can tell."""
    resumed = how.resume and folder.last.is_file()
    banks = _create_banks(settings, chosen, model, progress)
    if foretell and not resumed:
        _tell_forecast(settings, chosen, model, banks, progress)
    for bank in banks:
        if bank is not None:
            bank.build(progress)
    model.seen = _profile(settings, banks, progress)
    with importing():  # it takes seconds, which a run that is refused need not wait for
        from dinoseg.training.learning.trainer import learn
    rows = learn(
        model,
        settings.train,
        banks,
        metrics=folder.metrics,
        checkpoints=folder.checkpoints,
        device=how.device,
        resume_from=folder.last if resumed else None,
        progress=progress,
        choosing=choosing,
    )
    if len(rows) < settings.train.epochs:
        progress.note(
            f"train.patience={settings.train.patience} stopped the run after epoch {len(rows)}; "
            "more epochs do not start it again"
        )
    _restore(model, folder, keep_best=choosing and settings.train.keep == "best")
    draw_learning_curve(rows, folder.curve, title=f"{settings.model.decoder.method} on {model.backbone.name}")


def _tell_forecast(
    settings: RunSettings,
    chosen: _Chosen,
    model: Segmenter,
    banks: tuple[ViewBank, ViewBank | None],
    progress: Progress,
) -> None:
    if not any(job for bank in banks if bank is not None for job in bank.list_jobs()):
        return  # all features are there: the first epoch tells how long the rest takes
    progress.note("measuring how long this will take")
    with TemporaryDirectory() as place:
        trial = ViewBank(
            chosen.train[:1],
            chosen.dataset.labels,
            model,
            _open_cache(Path(place), settings, model),
            digests=chosen.digests,
            augmentation=None,
            views=1,
            seed=settings.train.seed,
        )
        found = forecast(model, settings.train, banks, trial)
    progress.note(found.word(method=settings.model.decoder.method, bank_views=banks[0].views))


def _open_cache(place: Path, settings: RunSettings, model: Segmenter) -> FeatureCache:
    store = EntryStore(place, limit_gb=settings.cache.limit_gb)
    network = compute_on(model.device, model.backbone)
    return FeatureCache(network, model.backbone.digest, store, dtype=settings.cache.dtype)


def _create_banks(
    settings: RunSettings, chosen: _Chosen, model: Segmenter, progress: Progress
) -> tuple[ViewBank, ViewBank | None]:
    recipe = settings.train
    place = settings.cache.folder or read_settings().home / "features"
    cache = _open_cache(place, settings, model)
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
    if not chosen.val:
        progress.note("no validation cases: the last epoch is kept and nothing can stop early")
        return train_bank, None
    val_bank = create(chosen.val, labels, model, cache, augmentation=None, views=1)
    val_bank.claim()  # before room is made for the first bank
    return train_bank, val_bank


def _profile(settings: RunSettings, banks: tuple[ViewBank, ViewBank | None], progress: Progress) -> Profile:
    """What the training cases show; validation cases that are far from all of them are told."""
    train_bank, val_bank = banks
    relative = isinstance(settings.model.preprocessing.intensity, PercentileIntensity)
    seen = Profile.of(train_bank.find_facts(), relative=relative)
    facts = val_bank.find_facts() if val_bank is not None else []
    odd = [difference for difference in map(seen.find_differences, facts) if difference]
    if odd:
        progress.note(
            f"{len(odd)} of {len(facts)} validation cases are not like the training cases: of one, {odd[0]}"
        )
    return seen


def _restore(model: Segmenter, folder: RunFolder, *, keep_best: bool) -> None:
    """Load the epoch that is kept into the decoder."""
    path = folder.best if keep_best and folder.best.is_file() else folder.last
    state = read_checkpoint(path)["state_dict"]
    model.decoder.load_state_dict({key.removeprefix("decoder."): value for key, value in state.items()})

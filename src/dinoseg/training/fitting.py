"""`train()`: data and settings in, a run folder with a model out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dinoseg.backbones import create_backbone
from dinoseg.backbones.engines import computed_by, in_torch
from dinoseg.backbones.extractors import Backbone
from dinoseg.config import TrainSettings
from dinoseg.config.options import choose_options
from dinoseg.config.settings import PercentileIntensity
from dinoseg.config.training import Training
from dinoseg.data import CaseFiles, Dataset
from dinoseg.data.cases.likeness import Profile
from dinoseg.data.cases.prints import TrainingCases
from dinoseg.data.cases.volumes import note_channels, note_doubts
from dinoseg.data.checks.resolution import note_resolution
from dinoseg.data.checks.volumes import note_planes
from dinoseg.data.layouts.joined import JoinedDataset
from dinoseg.data.sources.arrays import refuse_missing, take_arrays
from dinoseg.data.splits.joined import resolve_joined, take_part
from dinoseg.data.splits.shots import (
    draw_shots,
    refuse_empty_shots,
    require_foreground,
    tell_absent_classes,
    tell_empty_validation,
)
from dinoseg.data.splits.splits import Splits, check_splits, resolve_splits
from dinoseg.errors import SplitError
from dinoseg.model.acceptance import refuse_size
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.processes import ALONE, Processes, connect
from dinoseg.progress import Progress, Silent
from dinoseg.streams import keeping_filters
from dinoseg.training.advice.advice import advise, write_advice
from dinoseg.training.features.alike import tell_alike
from dinoseg.training.features.banks import BankMaker, Banks, check_window
from dinoseg.training.features.items import Look, digest_content, read_digests
from dinoseg.training.learning.calibrating import calibrate
from dinoseg.training.learning.checkpoints import read_checkpoint
from dinoseg.training.learning.forecast import forecast
from dinoseg.training.learning.guards import importing, interruptible, isolated
from dinoseg.training.learning.learning_curve import draw_learning_curve
from dinoseg.training.runs.beginning import begin_with, find_prints_before, refuse_seen
from dinoseg.training.runs.composition import compose_settings, describe_intensity, refuse_missing_loggers
from dinoseg.training.runs.locks import locked, refuse_locked
from dinoseg.training.runs.opening import Data, opened_data
from dinoseg.training.runs.run_folder import RunFolder
from dinoseg.training.runs.slice_spacing import choose_slice_spacing

ELSEWHERE = {name: f"belongs to dinoseg.training.train_{name}(data, out, N)" for name in ("draws", "folds")}


@keeping_filters()
def train(
    data: Data | None = None,
    out: Path | str | None = None,
    *,
    how: Training | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Segmenter:
    """Train a decoder on a frozen backbone and write a run folder.

    Args:
        data: folder (or CSV) of images and masks, or several that have the same classes; each keeps
            its own splits. None where `images` and `masks` are given.
        out: the run folder.
        how: method, backbone, recipe, shots and all else, see `Training`.
        progress: shows the bars and lines.
        options: fields of `Training` by name, in place of those of `how`; instead of a folder those of
            `Arrays`: images, masks, ids, groups, classes, spacing.

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
    arrays = take_arrays(data, options)
    how = choose_options(Training, how, options, elsewhere=ELSEWHERE)
    refuse_missing_loggers((how.changes or {}).get("train.logger"))
    with connect(how.devices, how.nodes, device=how.device) as processes:
        folder, shown = RunFolder(refuse_missing(out)), (progress if processes.is_first else None) or Silent()
        if processes.is_first:
            refuse_locked(folder.root)
            folder.refuse_older(resume=how.resume, overwrite=how.overwrite)
        processes.wait()
        with opened_data(data, arrays, how, shown) as opened:
            settings = compose_settings(opened.dataset, opened.folders, how)
            splits = find_splits(opened.dataset, settings)
            return train_run(
                opened.dataset,
                settings,
                splits,
                folder.root,
                how=_take_device(how, processes),
                progress=shown,
                alone=True,
                processes=processes,
            )


def _take_device(how: Training, processes: Processes) -> Training:
    """The options of one of several processes: the accelerator that is its own."""
    if processes.count == 1 or not how.device.startswith("cuda"):
        return how
    return replace(how, device=f"cuda:{processes.local}")


def train_run(
    dataset: Dataset,
    settings: RunSettings,
    splits: Splits,
    out: Path,
    *,
    how: Training,
    progress: Progress,
    alone: bool = False,
    processes: Processes = ALONE,
) -> Segmenter:
    """Train as `train` does, on data that were read and splits that were checked.

    Many runs on the same data need not read and check them each time. Of `how` only device, licence,
    resume and overwrite are asked for: all else is in the settings. A run `alone` says how long it will take
    and what would help next, which many runs on the same data show themselves. Of several
    `processes` the first writes.
    """
    folder = RunFolder(out)
    if processes.is_first:
        folder.refuse_older(resume=how.resume, overwrite=how.overwrite)
    resumed = processes.tell(how.resume and folder.last.is_file())
    chosen = _choose_cases(dataset, splits, settings)
    settings = choose_slice_spacing(settings, chosen.train, folder if how.resume else None, progress)
    tell_absent_classes(dataset, chosen.splits.train, progress)
    choosing = bool(chosen.val) and tell_empty_validation(dataset, chosen.splits.val, progress)
    _tell_volumes(dataset, settings, chosen, progress)
    frozen = open_backbone(settings, accept_license=how.accept_license, progress=progress)
    model = _fresh_model(settings, frozen, how.device)
    refuse_size(model)
    check_window(chosen.train, settings, progress)
    if settings.init is not None and not resumed:
        refuse_seen(settings, dataset, chosen.splits)
        begin_with(model, settings.init, progress)
    one = locked(folder.root) if processes.is_first else nullcontext()
    with one, isolated(how.device), interruptible():
        if processes.is_first:
            planned = folder.open(settings, resume=how.resume, overwrite=how.overwrite)
            _tell_longer(planned, settings.train, progress)
            _record(folder, chosen, frozen, how)
        processes.wait()  # until the folder is there
        asked = _Asked(resumed=resumed, choosing=choosing, alone=alone)
        _fit(folder, settings, chosen, model, how.device, progress, asked, processes)
        processes.wait()
    model.run = folder.root
    return model


def _record(folder: RunFolder, chosen: _Chosen, frozen: Backbone, how: Training) -> None:
    """What the run is made of."""
    dataset = chosen.dataset
    folder.record_splits(chosen.splits)
    if isinstance(dataset, JoinedDataset):
        folder.record_parts({part.name: take_part(chosen.splits, part) for part in dataset.parts})
    folder.record_environment(frozen, how.device, digest_content(chosen.cases, chosen.digests))


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
    look, used = settings.model.preprocessing, (*chosen.train, *chosen.val)
    lines = [describe_intensity(dataset, settings), note_channels(chosen.train[0].channel_count, look)]
    for line in (*lines, *note_doubts(used, look), note_planes(chosen.train, look)):
        if line:
            progress.note(line)


def _tell_unresolved(settings: RunSettings, chosen: _Chosen, progress: Progress) -> None:
    """Say what whole images at the training size do not show."""
    preprocessing = settings.model.preprocessing
    if preprocessing.for_volumes or preprocessing.window is not None:
        return
    labels, names = chosen.dataset.labels, settings.model.classes
    for line in note_resolution(chosen.train, labels, size=preprocessing.size, names=names):
        progress.note(line)


def _tell_longer(planned: int, recipe: TrainSettings, progress: Progress) -> None:
    """Say what more epochs than a run was started with mean for its rates."""
    if recipe.epochs == planned:
        return
    rates = "the rates are those of a run of this length"
    if recipe.schedule != "constant":
        rates = f"from here on the {recipe.schedule} schedule is that of {recipe.epochs} epochs"
    progress.note(f"{recipe.epochs} epochs in place of {planned}: {rates}")


def _fresh_model(settings: RunSettings, backbone: Backbone, device: str) -> Segmenter:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.train.seed)
        return Segmenter(settings.model, backbone).to(device)


@dataclass(frozen=True)
class _Asked:
    """What is special about a run: it goes on, validation can choose an epoch, it is no one of many."""

    resumed: bool
    choosing: bool
    alone: bool


def _fit(
    folder: RunFolder,
    settings: RunSettings,
    chosen: _Chosen,
    model: Segmenter,
    device: str,
    progress: Progress,
    asked: _Asked,
    processes: Processes,
) -> None:
    """Train the decoder and save the epoch that is kept: the best one where validation can tell."""
    maker = BankMaker(settings, model, chosen.dataset.labels, chosen.digests)
    banks = maker.make(chosen.train, chosen.val, progress)
    if asked.alone and not asked.resumed and processes.is_first:
        _tell_unresolved(settings, chosen, progress)
        _tell_forecast(settings, chosen, maker, banks, progress)
    for bank in banks:
        if bank is not None:
            bank.build(progress, processes)
    looks = banks[0].find_looks()
    tell_alike(chosen.cases, chosen.splits, banks, progress)
    model.seen = _profile(settings, looks, banks, progress)
    before = find_prints_before(settings, progress)
    model.trained_on = TrainingCases.of([*before, *(look.mark for look in looks)])
    with importing():  # it takes seconds, which a run that is refused need not wait for
        from dinoseg.training.learning.trainer import learn
    rows = learn(
        model,
        settings,
        banks,
        metrics=folder.metrics,
        checkpoints=folder.checkpoints,
        device=device,
        resume_from=folder.last if asked.resumed else None,
        progress=progress,
        choosing=asked.choosing,
        processes=processes,
    )
    if len(rows) < settings.train.epochs:
        progress.note(
            f"train.patience={settings.train.patience} stopped the run after epoch {len(rows)}; "
            "more epochs do not start it again"
        )
    if processes.is_first:
        _restore(model, folder, keep_best=asked.choosing and settings.train.keep == "best")
        title = f"{settings.model.decoder.method} on {model.backbone.name}"
        draw_learning_curve(rows, folder.curve, title=title)
        model.to(device).eval()
        model.calibration = calibrate(model, banks, settings.train.batch_size, progress)
        model.save(folder.model, overwrite=True)
        if asked.alone and settings.train.advice:
            found = advise(model, settings, banks, chosen.train, rows, choosing=asked.choosing)
            write_advice(found, folder.advice)
    if processes.count > 1:
        model.decoder.load_state_dict(processes.tell(model.decoder.state_dict()))
        model.to(device).eval()


def _tell_forecast(
    settings: RunSettings, chosen: _Chosen, maker: BankMaker, banks: Banks, progress: Progress
) -> None:
    if not any(job for bank in banks if bank is not None for job in bank.list_jobs()):
        return  # all features are there: the first epoch tells how long the rest takes
    progress.note("measuring how long this will take")
    with TemporaryDirectory() as place:
        found = forecast(maker.model, settings.train, banks, maker.make_trial(chosen.train[0], Path(place)))
    progress.note(found.word(method=settings.model.decoder.method, bank_views=banks[0].views))


def _profile(settings: RunSettings, looks: Sequence[Look], banks: Banks, progress: Progress) -> Profile:
    """What the training cases show; validation cases that are far from all of them are told."""
    relative = isinstance(settings.model.preprocessing.intensity, PercentileIntensity)
    seen = Profile.of([look.facts for look in looks], relative=relative)
    facts = [look.facts for look in banks[1].find_looks()] if banks[1] is not None else []
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

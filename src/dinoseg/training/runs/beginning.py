"""`init`: the decoder of another run as the beginning of this one, instead of random weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dinoseg.config import from_yaml
from dinoseg.data import Dataset
from dinoseg.data.cases.prints import CasePrint
from dinoseg.data.layouts.joined import JoinedDataset, name_folders
from dinoseg.data.splits.splits import Splits, load_splits
from dinoseg.errors import ConfigError, RunError, SplitError
from dinoseg.model.folder import (
    Description,
    find_model_folder,
    find_run_folder,
    read_description,
    read_training_cases,
)
from dinoseg.model.loading import read_tensors
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress
from dinoseg.training.runs.run_folder import RunFolder, anchor


def begin_with(model: Segmenter, run: Path, progress: Progress) -> None:
    """Give a model the decoder of another run; a classifier of other classes stays as it is, and is told.

    Args:
        model: its decoder is changed in place.
        run: a run folder with a model of the same method, decoder settings, backbone and layers.
        progress: told what was taken.

    Raises:
        RunError: the folder holds no model, or one that differs in these, or a damaged one.
    """
    folder = find_model_folder(run)
    described = read_description(folder / "config.json")
    _refuse_other(described, model, run)
    fresh = _take(model, folder / "decoder.safetensors", described)
    theirs, ours = (", ".join(classes.values()) for classes in (described.settings.classes, model.classes))
    text = f"the decoder begins as that of {run}"
    if fresh:
        text += f", but for {', '.join(fresh)}, which are new: it has the classes {theirs}, the data {ours}"
    elif theirs != ours:
        text += f", whose classes {theirs} are here, in this order, {ours}"
    progress.note(text)


def find_prints_before(settings: RunSettings, progress: Progress) -> tuple[CasePrint, ...]:
    """What the run that this one begins with, if any, keeps of the cases that it was trained on."""
    if settings.init is None:
        return ()
    try:
        found = read_training_cases(find_model_folder(settings.init))
    except RunError:  # it is gone while this run is resumed
        found = None
    if found is None:
        progress.note(
            f"{settings.init} does not say on which cases it was trained: they are not kept with the model"
        )
    return () if found is None else found.prints


def refuse_seen(settings: RunSettings, dataset: Dataset, splits: Splits) -> None:
    """Refuse to validate on or test cases that the decoder, where it begins, was trained on.

    Args:
        settings: of the run; asked are the run that it begins with, what that began with, and so on, as
            far as they were trained on the same data folders.
        dataset: of the run.
        splits: of the run.

    Raises:
        SplitError: there are such cases.
    """
    parts = _list_parts(settings, dataset)
    for folder, earlier in _list_beginnings(settings):
        for path, recorded in _list_records(folder, earlier):
            if path not in parts or not recorded.is_file():
                continue
            trained = {parts[path].get(id_, id_) for id_ in load_splits(recorded).train}
            seen = [id_ for id_ in (*splits.val, *splits.test) if id_ in trained]
            if seen:
                raise SplitError(
                    f"{folder.root} was trained on {len(seen)} of the cases of the val and test splits, such "
                    f"as {seen[0]!r}; use its splits: --splits {folder.splits}"
                )


def _list_parts(settings: RunSettings, dataset: Dataset) -> dict[Path, Mapping[str, str]]:
    """Data folder -> what its cases are called in the run, where that is another name."""
    ids = [part.ids for part in dataset.parts] if isinstance(dataset, JoinedDataset) else [{}]
    return dict(zip(map(anchor, settings.folders), ids, strict=True))


def _list_records(folder: RunFolder, settings: RunSettings) -> list[tuple[Path, Path]]:
    """Data folder and the file of its splits, for each that a run was trained on."""
    if len(settings.folders) == 1:
        return [(anchor(settings.folders[0]), folder.splits)]
    names = name_folders(settings.folders)
    return [(anchor(path), folder.part(name)) for path, name in zip(settings.folders, names, strict=True)]


def _refuse_other(described: Description, model: Segmenter, run: Path) -> None:
    before, now = described.settings, model.settings
    pairs: list[tuple[str, Any, Any]] = [("method", before.decoder.method, now.decoder.method)]
    if before.decoder.method == now.decoder.method:
        theirs = before.decoder.model_dump()
        pairs += [
            (f"model.decoder.{key}", theirs[key], value) for key, value in now.decoder.model_dump().items()
        ]
    pairs += [("backbone", before.backbone.name, now.backbone.name)]
    pairs += [("model.backbone.layers", before.backbone.layers, now.backbone.layers)]
    pairs += [("digest of the backbone", described.identity[:12], model.backbone.identity[:12])]
    # A folder may have another name, and the published layers may be written out.
    same_backbone = described.identity == model.backbone.identity
    for name, one, other in pairs[: len(pairs) - 3 * same_backbone]:
        if one != other:
            raise RunError(
                f"the decoder of {run} does not fit this run: it has {name} {one}, this run {other}; "
                "give both the same, or leave out --init"
            )


def _take(model: Segmenter, path: Path, described: Description) -> list[str]:
    """Load the tensors; those that another number of outputs gives another shape are left, and named."""
    theirs, ours = read_tensors(path), model.decoder.state_dict()
    fresh = []
    if described.settings.outputs != model.settings.outputs:
        fresh = [name for name in sorted(ours) if name in theirs and theirs[name].shape != ours[name].shape]
    try:
        model.decoder.load_state_dict({**theirs, **{name: ours[name] for name in fresh}})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{path} does not fit the decoder of its config.json: {reason}") from error
    return fresh


def _list_beginnings(settings: RunSettings) -> Iterator[tuple[RunFolder, RunSettings]]:
    """The run that a run begins with, what that began with, and so on, as far as they are there."""
    passed: set[Path] = set()
    while settings.init is not None and settings.init not in passed:
        passed.add(settings.init)
        folder = RunFolder(find_run_folder(settings.init))
        if not folder.config.is_file():  # imported, or copied without it
            return
        try:
            settings = from_yaml(RunSettings, folder.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise RunError(
                f"{folder.config} is damaged ({error}); restore it, or leave out --init"
            ) from error
        yield folder, settings

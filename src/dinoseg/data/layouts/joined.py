"""Several folders as one data set: the same classes, and names that stay apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dinoseg.data.cases.files import shorten
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.errors import LabelError, LayoutError, UsageError
from dinoseg.progress import Progress, Silent


@dataclass(frozen=True)
class Part:
    """One of the folders.

    Attributes:
        name: of the folder, unique among them.
        dataset: as it is alone.
        ids: case id in the folder -> case id in the whole.
    """

    name: str
    dataset: Dataset
    ids: Mapping[str, str]


@dataclass(frozen=True)
class JoinedDataset(Dataset):
    """Several folders as one data set; its root is the folder that they have in common.

    Attributes:
        parts: the folders, in the order of the cases.
    """

    parts: tuple[Part, ...] = field(default=(), repr=False)


def open_joined(folders: Sequence[Path], progress: Progress | None = None) -> JoinedDataset:
    """Open several folders (or CSV files) and join them.

    Cases and groups whose name is in more than one folder get the name of theirs before it.

    Raises:
        UsageError: a folder is named twice.
        LayoutError: images in one and volumes in another, other channels, or names that clash.
        LabelError: other classes, or masks whose values mean other classes.
        DataError: what `open_dataset` raises for each.
    """
    twice = [path for path, count in Counter(map(_anchor, folders)).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice as data; name each folder once")
    datasets = [open_dataset(folder, progress=progress) for folder in folders]
    for other in datasets[1:]:
        _refuse_other_kind(datasets[0], other)
    return _join(datasets, name_folders(folders), progress or Silent())


def name_folders(folders: Sequence[Path]) -> list[str]:
    """Names of folders that are unique among them: the last part of the path, or as many as that takes."""
    paths = [_anchor(folder) for folder in folders]
    paths = [path.with_suffix("") if path.suffix.lower() == ".csv" else path for path in paths]
    for length in range(1, max(len(path.parts) for path in paths)):
        names = ["-".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number, _ in enumerate(paths, start=1)]


def _anchor(folder: Path) -> Path:
    return Path(os.path.normpath(folder.absolute()))


def _join(datasets: Sequence[Dataset], names: Sequence[str], progress: Progress) -> JoinedDataset:
    ids = _find_clashes([[case.id for case in dataset.cases] for dataset in datasets])
    groups = _find_clashes([[case.group for case in dataset.cases] for dataset in datasets])
    if own_groups := sorted(groups - ids):  # a case without a group is a group of its own
        progress.note(
            f"{len(own_groups)} groups are in more than one folder ({shorten(own_groups)}); they count as "
            "different patients, one in each"
        )
    parts = [
        Part(name, dataset, {case.id: _rename(case.id, ids, name) for case in dataset.cases})
        for dataset, name in zip(datasets, names, strict=True)
    ]
    cases = [
        replace(case, id=part.ids[case.id], group=_rename(case.group, groups, part.name))
        for part in parts
        for case in part.dataset.cases
    ]
    repeated = [id_ for id_, count in Counter(case.id for case in cases).items() if count > 1]
    if repeated:
        raise LayoutError(f"the case {repeated[0]!r} is in two of the folders; rename it in one")
    first = datasets[0]
    return JoinedDataset(
        root=Path(os.path.commonpath([_anchor(dataset.root) for dataset in datasets])),
        cases=tuple(cases),
        classes=first.classes,
        labels=_join_mappings(datasets),
        layout="; ".join(dict.fromkeys(dataset.layout for dataset in datasets)),
        channel_names=first.channel_names,
        regions=first.regions,
        empty=frozenset(part.ids[id_] for part in parts for id_ in part.dataset.empty),
        undecided=frozenset(part.ids[id_] for part in parts for id_ in part.dataset.undecided),
        remarks=tuple(remark for dataset in datasets for remark in dataset.remarks),
        parts=tuple(parts),
    )


def _rename(name: str, clashing: set[str], folder: str) -> str:
    return f"{folder}/{name}" if name in clashing else name


def _find_clashes(lists: Sequence[Sequence[str]]) -> set[str]:
    """What is in more than one of the lists."""
    counts = Counter(name for names in lists for name in set(names))
    return {name for name, count in counts.items() if count > 1}


def _refuse_other_kind(first: Dataset, other: Dataset) -> None:
    if first.is_volumes != other.is_volumes:
        kinds = ["volumes" if dataset.is_volumes else "images" for dataset in (first, other)]
        raise LayoutError(
            f"{first.root} holds {kinds[0]} and {other.root} {kinds[1]}; train on one kind at a time"
        )
    channels = [(dataset.cases[0].channel_count, dataset.channel_names) for dataset in (first, other)]
    if first.is_volumes and channels[0] != channels[1]:
        raise LayoutError(
            f"the volumes of {first.root} have other channels than those of {other.root}; "
            "they must be the same, in number, order and name"
        )
    if dict(first.classes) != dict(other.classes) or dict(first.regions) != dict(other.regions):
        raise LabelError(
            f"{first.root} has the classes {dict(first.classes)}, {other.root} {dict(other.classes)}; "
            "declare the same classes (and regions) in the dataset.yaml of both"
        )


def _join_mappings(datasets: Sequence[Dataset]) -> LabelMapping:
    """One mapping for all masks; the values of one folder may be others than those of another."""
    first, table, parts = datasets[0], dict(datasets[0].labels.table), dict(datasets[0].labels.parts)
    for other in datasets[1:]:
        ours, theirs = first.labels, other.labels
        rules = [(item.colour, item.threshold, item.palette, item.ignore) for item in (ours, theirs)]
        moved = [value for value, id_ in theirs.table.items() if table.get(value, id_) != id_]
        if rules[0] != rules[1] or moved:
            raise LabelError(
                f"the masks of {first.root} and {other.root} are stored in different ways, so that their "
                "values cannot be read by one rule; declare the same labels in the dataset.yaml of both"
            )
        table.update(theirs.table)
        parts.update(theirs.parts)
    return replace(first.labels, table=table, parts=parts)

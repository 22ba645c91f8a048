"""Whether each split shows what is to be learned, chosen by, and scored."""

from __future__ import annotations

from collections.abc import Mapping

from dinoseg.data.cases.files import shorten
from dinoseg.data.checks.findings import Finding
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.splits.splits import Splits

_PURPOSES = {
    "val": "no epoch can be chosen by it, and the last one is the best there is",
    "test": "its scores say nothing about finding a class",
}


def check_foreground(
    dataset: Dataset, splits: Splits | None, shown: Mapping[str, frozenset[int]]
) -> list[Finding]:
    """An error where nothing can be learned, warnings where a split lacks a class or all of them.

    Args:
        dataset: the data.
        splits: None where there are none yet.
        shown: case id -> the classes that its mask shows; without cases that cannot be read.
    """
    if dataset.labels.kind == "unknown":
        return []
    ids = splits.train if splits else tuple(case.id for case in dataset.cases)
    bare = dataset.empty | dataset.undecided
    if ids and bare.issuperset(ids):
        which = "training masks" if splits else "masks"
        nothing = "ignored" if bare - dataset.empty else "only background"
        message = f"all {len(ids)} {which} are empty ({nothing}): is this the right mask folder?"
        return [Finding("error", "foreground", message)]
    if splits is None:
        return []
    return [
        finding
        for name, purpose in _PURPOSES.items()
        for finding in _check_split(dataset, name, dict(splits.items())[name], shown, purpose)
    ]


def _check_split(
    dataset: Dataset, name: str, ids: tuple[str, ...], shown: Mapping[str, frozenset[int]], purpose: str
) -> list[Finding]:
    cases = "1 case" if len(ids) == 1 else f"{len(ids)} cases"
    if not ids:
        return []
    if (dataset.empty | dataset.undecided).issuperset(ids):
        message = f"no mask of the {name} split ({cases}) shows a class: {purpose}"
        return [Finding("warning", "foreground", message)]
    found = frozenset(id_ for case in ids for id_ in shown.get(case, frozenset()))
    known = frozenset(id_ for classes in shown.values() for id_ in classes)
    absent = [f"{id_} {dataset.classes.get(id_, '')}".strip() for id_ in sorted(known - found)]
    if not absent or not all(case in shown for case in ids):
        return []
    message = f"no mask of the {name} split ({cases}) shows class {shorten(absent)}"
    return [Finding("warning", "foreground", message)]

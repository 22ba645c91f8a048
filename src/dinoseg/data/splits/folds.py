"""Folds: every development case is left out by one of them; drawn by group, or nnU-Net's as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import shorten
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.splits.splits import (
    FOLDS,
    Splits,
    assign_groups,
    by_group,
    check_splits,
    count_folds,
    find_split_file,
    load_splits,
    resolve_splits,
)
from dinoseg.errors import SplitError, UsageError
from dinoseg.outputs import write_json


@dataclass(frozen=True)
class Folds:
    """How a data set is divided for cross-validation.

    Attributes:
        folds: `val` of each is what it leaves out, `test` the same in all.
        source: the splits_final.json that they are from; None where they were drawn.
    """

    folds: tuple[Splits, ...]
    source: Path | None = None

    @property
    def whole(self) -> Splits:
        """What the models of all folds were trained on together, and what none of them saw."""
        first = self.folds[0]
        development = dict.fromkeys(id_ for fold in self.folds for id_ in (*fold.train, *fold.val))
        return Splits(tuple(development), (), first.test, first.seed, first.unit)


def resolve_folds(dataset: Dataset, count: int, *, path: Path | str | None = None, seed: int = 0) -> Folds:
    """The folds of a data set: those of a splits_final.json as they are, else drawn by group.

    Test cases of `path`, of splits.json or of the layout are in no fold; all others are.

    Args:
        dataset: its groups are never divided by a draw.
        count: of the folds, two at least.
        path: a splits_final.json, or a splits.json of which only the test cases count.
        seed: of a draw.

    Raises:
        UsageError: fewer than two folds.
        SplitError: another number of folds than in splits_final.json, a fold that leaks or is empty, a case
            that two folds leave out, or fewer groups than folds.
    """
    if count < 2:
        raise UsageError(f"{count} folds; 2 at least are accepted, 5 are usual")
    given = Path(path) if path is not None else find_named(dataset.root, FOLDS)
    found = None if given is None else _read_folds(dataset, count, given)
    if found is None:
        found = _draw_folds(dataset, count, path=given, seed=seed)
    for fold in found.folds:
        check_splits(dataset, fold)
    return found


def save_folds(path: Path, folds: Folds) -> None:
    """Write the folds in the form of nnU-Net's splits_final.json, with the test cases in each."""
    content = [{"seed": fold.seed, "unit": fold.unit, **dict(fold.items())} for fold in folds.folds]
    write_json(path, content, overwrite=True)


def _read_folds(dataset: Dataset, count: int, path: Path) -> Folds | None:
    """The folds that a file holds; None where it holds one division."""
    held = count_folds(path)
    if held is None:
        return None
    if held != count:
        raise SplitError(f"{path} holds {held} folds, given {count}; ask for --folds {held}")
    folds = tuple(resolve_splits(dataset, path=path, fold=index) for index in range(held))
    _refuse_twice(folds, path)
    return Folds(folds, path)


def _refuse_twice(folds: Sequence[Splits], path: Path) -> None:
    empty = [index for index, fold in enumerate(folds) if not fold.val]
    if empty:
        raise SplitError(f"{path}: fold {empty[0]} leaves no case out (val); give each fold some")
    times = Counter(id_ for fold in folds for id_ in fold.val)
    twice = [id_ for id_, number in times.items() if number > 1]
    if twice:
        raise SplitError(f"{path}: {shorten(twice)} is left out by two folds; name each case in one val list")
    tested = {id_ for fold in folds for id_ in fold.test}
    seen = [id_ for fold in folds for id_ in (*fold.train, *fold.val) if id_ in tested]
    if seen:
        raise SplitError(f"{path}: {shorten(seen)} is a test case of one fold and none of another")


def _draw_folds(dataset: Dataset, count: int, *, path: Path | None, seed: int) -> Folds:
    test = set(_find_test(dataset, path))
    development = [case for case in dataset.cases if case.id not in test]
    groups = by_group(development)
    if len(groups) < count:
        raise SplitError(
            f"{dataset.root} has {len(groups)} groups beside its test cases, and {count} folds need one "
            f"each; ask for --folds {max(2, len(groups))}, or add data"
        )
    home = assign_groups(groups, {str(index): 1 / count for index in range(count)}, dataset.empty, seed)
    fold_of = {id_: int(home[group]) for group, ids in groups.items() for id_ in ids}
    unit = "group" if any(case.group != case.id for case in dataset.cases) else "case"
    names = [case.id for case in development]
    return Folds(
        tuple(
            Splits(
                train=tuple(name for name in names if fold_of[name] != index),
                val=tuple(name for name in names if fold_of[name] == index),
                test=tuple(case.id for case in dataset.cases if case.id in test),
                seed=seed,
                unit=unit,
            )
            for index in range(count)
        )
    )


def _find_test(dataset: Dataset, path: Path | None) -> tuple[str, ...]:
    """Test cases that somebody has set aside: in a file, or by the layout; none is drawn."""
    path = path or find_split_file(dataset.root)
    if path is not None:
        splits = load_splits(path)
        known = {case.id for case in dataset.cases}
        unknown = [id_ for id_ in splits.test if id_ not in known]
        if unknown:
            raise SplitError(f"{path}: no such test case: {shorten(unknown)}")
        return splits.test
    return tuple(case.id for case in dataset.cases if case.split == "test")

"""Train, validation and test: by group, seeded, written down, and refused where they leak."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.splits.duplicates import find_exact, read_fingerprints
from dinoseg.data.splits.shots import draw_shots
from dinoseg.data.splits.volume_duplicates import find_same_files
from dinoseg.errors import SplitError
from dinoseg.outputs import write_json
from dinoseg.progress import Progress

__all__ = [
    "Splits",
    "check_splits",
    "draw_shots",
    "find_crossing_groups",
    "find_repeated_cases",
    "load_splits",
    "make_splits",
    "resolve_splits",
    "save_splits",
]

FILE_NAME = "splits.json"
PARTS = "splits"  # in a run: a file for each of several data folders
FOLDS = "splits_final.json"  # nnU-Net's
NAMES = ("train", "val", "test")
FRACTIONS = (0.7, 0.1, 0.2)
_MAKE_ONE = "make one with `dinoseg data split DATA`"
_ONE_FOLD = f"accepted is fold 0, or a {FOLDS} given with --splits"


@dataclass(frozen=True)
class Splits:
    """Case ids of each split.

    Attributes:
        train: in the order of the layout's list, if it has one (first K = K shots).
        val: chooses the best checkpoint.
        test: opened by evaluation only.
        seed: of the draw; None where nothing was drawn.
        unit: what was kept together, "group" or "case".
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    seed: int | None
    unit: str

    def items(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """("train", ids), ("val", ids), ("test", ids)."""
        return iter((("train", self.train), ("val", self.val), ("test", self.test)))

    def find_split(self) -> dict[str, str]:
        """Case id -> "train", "val" or "test"."""
        return {id_: name for name, ids in self.items() for id_ in ids}


def make_splits(
    dataset: Dataset, *, fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0
) -> Splits:
    """Draw splits by group, with the share of empty cases about equal in each.

    Args:
        dataset: its groups are never divided.
        fractions: of the cases, for train, val and test; a fraction of 0 leaves a split empty.
        seed: the same seed gives the same splits.

    Raises:
        SplitError: fewer groups than splits, or fractions that do not add up to 1.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0 or fractions[0] == 0:
        raise SplitError(f"fractions {fractions} must be positive and add up to 1, e.g. 0.7 0.1 0.2")
    groups = by_group(dataset.cases)
    wanted = [name for name, fraction in zip(NAMES, fractions, strict=True) if fraction]
    if len(groups) < len(wanted):
        raise SplitError(
            f"{dataset.root} has too few groups (groups: {len(groups)}, cases: {len(dataset.cases)}); "
            f"{', '.join(wanted)} need one each: add data, or write {FILE_NAME} yourself"
        )
    split_of = assign_groups(groups, dict(zip(NAMES, fractions, strict=True)), dataset.empty, seed)
    return _collect(dataset.cases, {case.id: split_of[case.group] for case in dataset.cases}, seed)


def save_splits(path: Path | str, splits: Splits, *, overwrite: bool = False) -> None:
    """Write splits as JSON.

    Raises:
        OutputError: the file exists already or cannot be written.
    """
    path = Path(path)
    write_json(path, {"seed": splits.seed, "unit": splits.unit, **dict(splits.items())}, overwrite=overwrite)


def load_splits(path: Path | str, *, fold: int = 0) -> Splits:
    """Read splits.json, or a fold of nnU-Net's splits_final.json.

    Args:
        path: the file.
        fold: which one of several, from 0; a splits.json holds one division only, which is fold 0.

    Raises:
        SplitError: the file is missing, no JSON, of neither form, or without this fold.
    """
    path = Path(path)
    content = _choose_fold(_load_json(path), fold, path)
    unknown = set(content) - {*NAMES, "seed", "unit"}
    if unknown or "train" not in content:
        reason = f"the unknown key {sorted(unknown)[0]!r}" if unknown else "no list 'train'"
        raise SplitError(f"{path} has {reason}; it holds the lists train, val, test, and seed and unit")
    lists = {name: _read_list(content.get(name, []), name, path) for name in NAMES}
    seed, unit = content.get("seed"), content.get("unit", "case")
    if (seed is not None and type(seed) is not int) or unit not in ("case", "group"):
        raise SplitError(f"{path}: seed must be a whole number or null, unit 'case' or 'group'")
    return Splits(lists["train"], lists["val"], lists["test"], seed, unit)


def count_folds(path: Path) -> int | None:
    """How many folds a file holds; None where it holds one division.

    Raises:
        SplitError: the file is missing or no JSON.
    """
    content = _load_json(path)
    return len(content) if isinstance(content, list) else None


def resolve_splits(
    dataset: Dataset,
    *,
    path: Path | str | None = None,
    seed: int = 0,
    keep_first: int | None = None,
    unit: Literal["case", "group"] = "case",
    fold: int = 0,
) -> Splits:
    """Find the splits to use: `path`, else splits.json or splits_final.json in the data set, else its own.

    Without any of them they are drawn. Where the layout has a train but no val split, val is drawn from
    train by group. Test cases of a folder stay beside the folds of splits_final.json.

    Args:
        dataset: the data.
        path: a splits.json, or nnU-Net's splits_final.json.
        seed: of what must be drawn.
        keep_first: so many of the first lines of the layout's train list stay in train when val is
            drawn from it: they are the shots of a published protocol.
        unit: what `keep_first` counts.
        fold: of splits_final.json; only 0 is accepted where there is none.

    Raises:
        SplitError: a file that cannot be read, a fold that is not there, unknown cases, or too few groups.
    """
    path = None if path is None else Path(path)
    path = path or find_split_file(dataset.root)
    if path is not None:
        splits = load_splits(path, fold=fold)
        _refuse_unknown(dataset, splits, str(path))
        return splits if splits.test else _keep_test(dataset, splits, path)
    if fold:
        raise SplitError(f"{dataset.root} has no {FOLDS}, given fold {fold}; {_ONE_FOLD}")
    own = {case.id: case.split for case in dataset.cases if case.split}
    if not own:
        return make_splits(dataset, seed=seed)
    splits = _collect(dataset.cases, own, None)
    if not splits.train or splits.val:
        return splits
    first = () if keep_first is None else draw_shots(dataset, splits.train, keep_first, unit=unit, first=True)
    return _carve_validation(dataset, splits, seed, frozenset(case.group for case in dataset.find(first)))


def find_split_file(root: Path) -> Path | None:
    """splits.json of a data set, else splits_final.json, else None; their names in upper or lower case.

    Raises:
        LayoutError: one of them is there twice, in different cases.
    """
    return find_named(root, FILE_NAME) or find_named(root, FOLDS)


def check_splits(dataset: Dataset, splits: Splits, *, progress: Progress | None = None) -> None:
    """Refuse splits that leak.

    Raises:
        SplitError: an empty training split, an unknown id, a case in two splits, a group in two
            splits, or an image that stands in two splits (same bytes or same pixels).
        FileFormatError: an image cannot be read.
    """
    if not splits.train:
        raise SplitError(f"the training split of {dataset.root} holds no case; {_MAKE_ONE}")
    _refuse_unknown(dataset, splits, str(dataset.root))
    for problems, advice in (
        (find_repeated_cases(splits), "remove them from one"),
        (find_crossing_groups(dataset, splits), f"keep a group in one split; {_MAKE_ONE}"),
    ):
        if problems:
            raise SplitError(f"the splits leak: {shorten(problems)}; {advice}")
    split_of = splits.find_split()
    cases = dataset.find(split_of)
    if dataset.is_volumes:
        same = find_same_files(cases, split_of, progress=progress)
    else:
        same = find_exact(read_fingerprints(cases, progress=progress), split_of)
    pairs = [
        f"{pair.first} ({split_of[pair.first]}) is the image of {pair.second} ({split_of[pair.second]})"
        for pair in same
    ]
    if pairs:
        raise SplitError(f"the splits leak: {shorten(pairs)}; remove one of each, or give both one group")


def find_repeated_cases(splits: Splits) -> tuple[str, ...]:
    """One line for each case that stands in two splits."""
    first: dict[str, str] = {}
    problems = []
    for name, ids in splits.items():
        for id_ in ids:
            if first.setdefault(id_, name) != name:
                problems.append(f"case {id_} is in {first[id_]} and in {name}")
    return tuple(problems)


def find_crossing_groups(dataset: Dataset, splits: Splits) -> tuple[str, ...]:
    """One line for each group that has cases in two splits."""
    split_of = splits.find_split()
    homes: dict[str, dict[str, str]] = {}
    for case in dataset.cases:
        if case.id in split_of:
            homes.setdefault(case.group, {}).setdefault(split_of[case.id], case.id)
    return tuple(
        f"group {group} has " + " and ".join(f"{id_} in {split}" for split, id_ in examples.items())
        for group, examples in homes.items()
        if len(examples) > 1
    )


def by_group(cases: Sequence[CaseFiles]) -> dict[str, list[str]]:
    """Group -> ids of its cases, both in the order of their names."""
    groups: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        groups.setdefault(case.group, []).append(case.id)
    return dict(sorted(groups.items()))


def assign_groups(
    groups: Mapping[str, Sequence[str]], fractions: Mapping[str, float], empty: frozenset[str], seed: int
) -> dict[str, str]:
    """Group -> split: each group in shuffled order goes where most cases are missing."""
    generator = np.random.default_rng(seed)
    split_of: dict[str, str] = {}
    bare = {group for group, ids in groups.items() if empty.issuperset(ids)}
    for stratum in (sorted(set(groups) - bare), sorted(bare)):
        missing = {
            name: share * sum(len(groups[group]) for group in stratum) for name, share in fractions.items()
        }
        for index in generator.permutation(len(stratum)):
            group = stratum[int(index)]
            split_of[group] = max(missing, key=lambda name: missing[name])
            missing[split_of[group]] -= len(groups[group])
    return _fill_empty(split_of, groups, [name for name, share in fractions.items() if share])


def _fill_empty(
    split_of: dict[str, str], groups: Mapping[str, Sequence[str]], wanted: Sequence[str]
) -> dict[str, str]:
    for name in wanted:
        if name not in split_of.values():
            sizes = {other: [group for group in split_of if split_of[group] == other] for other in wanted}
            largest = max(wanted, key=lambda other: len(sizes[other]))
            smallest = min(sizes[largest], key=lambda group: (len(groups[group]), group))
            split_of[smallest] = name
    return split_of


def _collect(cases: Sequence[CaseFiles], split_of: Mapping[str, str], seed: int | None) -> Splits:
    parts = [tuple(case.id for case in cases if split_of.get(case.id) == name) for name in NAMES]
    unit = "group" if any(case.group != case.id for case in cases) else "case"
    return Splits(parts[0], parts[1], parts[2], seed, unit)


def _carve_validation(dataset: Dataset, splits: Splits, seed: int, kept: frozenset[str]) -> Splits:
    groups = by_group(dataset.find(splits.train))
    free = {group: ids for group, ids in groups.items() if group not in kept}
    if len(groups) < 2 or not free:
        held = "holds one group" if len(groups) < 2 else "is needed whole for the first shots"
        raise SplitError(
            f"the training split of {dataset.root} {held}, so none can be kept for validation; "
            "add a val split, or more groups"
        )
    share = FRACTIONS[1] / (FRACTIONS[0] + FRACTIONS[1])
    split_of = dict.fromkeys(kept, "train") | _draw_validation(groups, free, share, dataset.empty, seed)
    home = {id_: split_of[group] for group, ids in groups.items() for id_ in ids}
    parts = {name: tuple(id_ for id_ in splits.train if home[id_] == name) for name in ("train", "val")}
    return Splits(parts["train"], parts["val"], splits.test, seed, splits.unit)


def _draw_validation(
    groups: Mapping[str, Sequence[str]],
    free: Mapping[str, Sequence[str]],
    share: float,
    empty: frozenset[str],
    seed: int,
) -> dict[str, str]:
    """Group -> train or val for the free groups; val gets its share of all groups' cases."""
    if len(free) == 1:
        return dict.fromkeys(free, "val")
    cases = sum(map(len, groups.values())) / sum(map(len, free.values()))
    share = min(1.0, share * cases)
    fractions = {"train": 1 - share, "val": share}
    return assign_groups(free, fractions, empty, seed)


def _refuse_unknown(dataset: Dataset, splits: Splits, place: str) -> None:
    known = {case.id for case in dataset.cases}
    unknown = [f"{id_} ({name})" for name, ids in splits.items() for id_ in ids if id_ not in known]
    if unknown:
        raise SplitError(f"{place}: no such case: {shorten(unknown)}; the data set has {len(known)} cases")


def _keep_test(dataset: Dataset, splits: Splits, path: Path) -> Splits:
    if path.name.casefold() != FOLDS:
        return splits
    known = splits.find_split()
    test = tuple(case.id for case in dataset.cases if case.split == "test" and case.id not in known)
    return replace(splits, test=test)


def _choose_fold(content: Any, fold: int, path: Path) -> dict[str, Any]:
    if isinstance(content, dict):
        if fold:
            raise SplitError(f"{path} holds one division and no folds, given fold {fold}; {_ONE_FOLD}")
        return content
    if not content or not all(isinstance(item, dict) for item in content):
        raise SplitError(f"{path} holds no JSON object and no folds; {_MAKE_ONE}")
    if not 0 <= fold < len(content):
        raise SplitError(f"{path} holds {len(content)} folds, given fold {fold}; folds count from 0")
    chosen: dict[str, Any] = content[fold]
    return chosen


def _load_json(path: Path) -> dict[str, Any] | list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SplitError(f"{path} does not exist; {_MAKE_ONE}") from error
    except (OSError, ValueError) as error:
        raise SplitError(f"{path} cannot be read as JSON: {error}; {_MAKE_ONE}") from error
    if not isinstance(content, dict | list):
        raise SplitError(f"{path} holds no JSON object; {_MAKE_ONE}")
    return content


def _read_list(ids: Any, name: str, path: Path) -> tuple[str, ...]:
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise SplitError(f"{path}: {name} must be a list of case names")
    twice = sorted({id_ for id_ in ids if ids.count(id_) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise SplitError(f"{path}: {name} lists {shorten(twice)} twice")
    return tuple(ids)

"""groups.csv and the lists of names per split beside a data set's images, added to its cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dinoseg.data.cases.files import SPLIT_NAMES, CaseFiles, shorten
from dinoseg.data.labels.named_files import find_named
from dinoseg.data.layouts.remarks import Remark
from dinoseg.data.layouts.tables import find_case, read_groups, read_split_list
from dinoseg.errors import DataError, SplitError

GROUPS = "groups.csv"
SPLIT_LISTS = "splits"
_SHOTS = {"shots": "train"}  # DINO-AugSeg's name for the list of a few cases to train on


@dataclass(frozen=True)
class Listed:
    """Cases with what a list says of them, one line for each mistake in it, and what of it is not used."""

    cases: tuple[CaseFiles, ...]
    problems: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


def add_groups(cases: Sequence[CaseFiles], root: Path, *, grouped: bool = False) -> Listed:
    """The cases with the groups of groups.csv, where there is one.

    Problems are a file that cannot be read, a case without a group, and a case with two; also the file
    itself where the cases come from a CSV that names groups (`grouped`).
    """
    try:
        path = find_named(root, GROUPS)
        table = read_groups(path) if path else None
    except DataError as error:
        return Listed(tuple(cases), (str(error),))
    if path and grouped:
        return Listed(tuple(cases), (f"{path} and the column group of the CSV both name groups; keep one",))
    if path is None or table is None:
        return Listed(tuple(cases))
    by_id = {case.id: case for case in cases}
    group_of, problems = _match_groups(table.groups, by_id, path)
    problems += [f"{path} gives no group for {case.id}" for case in cases if case.id not in group_of]
    unknown = [name for name in table.groups if find_case(name, by_id) is None]
    remarks = list(table.remarks)
    if unknown:
        what = "1 case that is not there" if len(unknown) == 1 else f"{len(unknown)} cases that are not there"
        remarks.append(Remark("groups", f"{path} names {what}: {shorten(unknown, limit=5)}"))
    named = tuple(replace(case, group=group_of.get(case.id, case.group)) for case in cases)
    return Listed(named, tuple(problems), tuple(remarks))


def add_split_lists(cases: Sequence[CaseFiles], root: Path) -> Listed:
    """The cases with the splits of splits/train.txt and so on, those listed first and in that order."""
    try:
        folder = find_named(root, SPLIT_LISTS)
        lists = _find_lists(folder) if folder else {}
        names = {split: read_split_list(path) for split, path in lists.items()}
    except DataError as error:
        return Listed(tuple(cases), (str(error),))
    by_id = {case.id: case for case in cases}
    split_of: dict[str, str] = {}
    problems: list[str] = []
    for split, listed in names.items():
        for name in listed:
            case = find_case(name, by_id)
            if case is None:
                problems.append(f"{lists[split]} names {name}, which is no case")
            elif case.id in split_of:
                problems.append(f"{case.id} is in {split_of[case.id]} and in {split} ({folder})")
            else:
                split_of[case.id] = split
    first = [replace(by_id[id_], split=split) for id_, split in split_of.items()]
    return Listed((*first, *(case for case in cases if case.id not in split_of)), tuple(problems))


def _match_groups(
    groups: Mapping[str, str], by_id: Mapping[str, CaseFiles], path: Path
) -> tuple[dict[str, str], list[str]]:
    """Case id -> group; `x` and `x.png` are one case, and two groups of it are a problem."""
    group_of: dict[str, str] = {}
    problems = []
    for name, group in groups.items():
        case = find_case(name, by_id)
        if case and group_of.setdefault(case.id, group) != group:
            problems.append(
                f"{path} gives {case.id} the groups {group_of[case.id]} and {group}; a case has one group"
            )
    return group_of, problems


def _find_lists(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    texts = sorted(entry for entry in folder.iterdir() if entry.suffix.casefold() == ".txt")
    found: dict[str, Path] = {}
    for path in texts:
        split = (SPLIT_NAMES | _SHOTS).get(path.stem.lower())
        if split in found:
            raise SplitError(f"{folder} holds {found[split].name} and {path.name}, both {split}; keep one")
        if split:
            found[split] = path
    if texts and "train" not in found and "test" not in found:
        raise SplitError(
            f"{folder} holds {texts[0].name}; the lists are named train.txt, val.txt and test.txt"
        )
    return {split: found[split] for split in ("train", "val", "test") if split in found}

"""A proposal for groups.csv: cases that by their names or pictures may be of one patient or video.

It is a hint to look. Names give a group where they end in the number of a frame, slice or image, or in a side
(left, right), and what is before holds a number as well: `patient12_frame3` and `patient12_frame4`, `7_left`
and `7_right`; `benign (1)` and `benign (2)` give none. Images that are equal or nearly so are joined, too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import natural_key
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.layouts.tables import REASON
from dinoseg.data.layouts.unused import SUGGESTION
from dinoseg.data.splits.duplicates import find_near, read_fingerprints
from dinoseg.outputs import write_csv
from dinoseg.progress import Progress, Silent

_PERSON = re.compile(r"(?:patient|pat|pt|subject|subj|sub|case|video|vid|study|exam)[ _-]?\d+", re.IGNORECASE)
_TAIL = re.compile(
    r"[ _.-]+(?:frame|slice|image|img|view|f|s|t|z)?[ _.-]?\(?\d+\)?$|[ _.-]+(?:left|right|od|os|l|r)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GroupProposal:
    """Which cases may belong together, and why.

    Attributes:
        groups: case id -> proposed group.
        reasons: case id -> what that is based on; "" for a case that stands alone.
    """

    groups: Mapping[str, str]
    reasons: Mapping[str, str]

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(set(self.groups.values()))

    @property
    def joined(self) -> int:
        """Number of cases that do not stand alone."""
        return sum(bool(reason) for reason in self.reasons.values())


def suggest_groups(dataset: Dataset, *, progress: Progress | None = None) -> GroupProposal:
    """Propose groups by names and, for images, by likeness.

    Groups that the data set has already are kept and may be joined, never divided.

    Raises:
        FileFormatError: an image cannot be read.
    """
    names = _group_by_name([case.id for case in dataset.cases])
    reasons: dict[str, list[str]] = defaultdict(list)
    links: list[tuple[str, str]] = []
    for key, ids in names.items():
        links += [(ids[0], id_) for id_ in ids[1:]]
        for id_ in ids:
            reasons[id_].append(f"name {key}")
    for first, second, why in _list_known(dataset):
        links.append((first, second))
        reasons[second].append(why)
        reasons[first] = reasons[first] or [why]
    for first, second, bits in _find_alike(dataset, progress or Silent()):
        links.append((first, second))
        reasons[second].append(f"looks like {first} ({bits} of 255 bits differ)")
        reasons[first] = reasons[first] or [f"looks like {second} ({bits} of 255 bits differ)"]
    named = {id_: key for key, ids in names.items() for id_ in ids}
    named |= {case.id: case.group for case in dataset.cases if case.group != case.id}
    groups = _name_groups(_join([case.id for case in dataset.cases], links), named)
    return GroupProposal(groups, {id_: "; ".join(reasons.get(id_, [])) for id_ in groups})


def write_proposal(dataset: Dataset, proposal: GroupProposal, *, path: Path | None = None) -> Path:
    """Write a proposal beside the data, in the form of groups.csv with a column that says why.

    Args:
        dataset: the data.
        proposal: what to write.
        path: the file; `groups_suggested.csv` of the data set if not given, which nothing reads.

    Raises:
        OutputError: the file exists already, or cannot be written.
    """
    target = path or dataset.root / SUGGESTION
    ids = sorted(proposal.groups, key=lambda id_: (natural_key(proposal.groups[id_]), natural_key(id_)))
    rows = [{"case": id_, "group": proposal.groups[id_], REASON: proposal.reasons[id_]} for id_ in ids]
    write_csv(target, rows)
    return target


def find_name_key(name: str) -> str:
    """What a name says of a patient or video; "" where it says nothing."""
    person = _PERSON.search(name)
    if person:
        return name[: person.end()]
    key = name
    while (shorter := _TAIL.sub("", key)) != key and re.search(r"\d", shorter):
        key = shorter
    return key if key != name else ""


def _group_by_name(ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        found[find_name_key(id_) or id_].append(id_)
    several = {key: members for key, members in found.items() if len(members) > 1}
    return several if len(found) > 1 else {}  # one group of all cases would say nothing


def _list_known(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    first: dict[str, str] = {}
    for case in dataset.cases:
        if first.setdefault(case.group, case.id) != case.id:
            yield first[case.group], case.id, f"group {case.group} already"


def _find_alike(dataset: Dataset, progress: Progress) -> Iterator[tuple[str, str, int]]:
    if dataset.is_volumes:
        return
    prints = read_fingerprints(dataset.cases, progress=progress)
    for pair in find_near(prints, {case.id: case.id for case in dataset.cases}):
        yield pair.first, pair.second, pair.bits


def _join(ids: Sequence[str], links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The ids in groups of those that links connect."""
    home = {id_: id_ for id_ in ids}

    def find(id_: str) -> str:
        while home[id_] != id_:
            home[id_] = home[home[id_]]
            id_ = home[id_]
        return id_

    for first, second in links:
        home[find(second)] = find(first)
    groups: dict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        groups[find(id_)].append(id_)
    return list(groups.values())


def _name_groups(groups: Sequence[Sequence[str]], named: Mapping[str, str]) -> dict[str, str]:
    """Case id -> the name that one of its group has already, else the first id."""
    return {
        id_: next((named[member] for member in ids if member in named), ids[0])
        for ids in groups
        for id_ in ids
    }

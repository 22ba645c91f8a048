"""How well several annotators agree, and where a model stands among them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import CaseFiles, shorten
from dinoseg.errors import LayoutError, UsageError
from dinoseg.evaluation.examples import draw_example
from dinoseg.evaluation.scoring.masks import LabelFiles, find_labels, list_masks, pair_masks
from dinoseg.evaluation.scoring.meanings import ClassValues, find_meaning
from dinoseg.evaluation.scoring.observers_page import (
    AgreementPage,
    Disagreement,
    build_agreement_page,
    find_least,
)
from dinoseg.evaluation.scoring.views import Ids, MaskView, read_view
from dinoseg.evaluation.statistics import Interval, PairedTest, bootstrap_interval, paired_test
from dinoseg.outputs import refuse_existing, write_csv, write_json, write_text
from dinoseg.progress import Progress, Silent

FILES = ("observers.json", "cases.csv", "index.html")
SHOWN_CASES, DRAWN_CASES = 10, 6  # of least agreement

AGREEMENT_TEXT = (
    "Agreement: Dice of the masks of two, the mean over the classes within each case (1 where both leave a "
    "class empty, 0 where one does), averaged over the cases; 95% bootstrap interval over groups. Of one: "
    "its mean with every observer but itself."
)
STANDING_TEXT = (
    "Model against observers: in each case its mean Dice with the observers minus the mean of the observers "
    "with each other. An interval around 0 says that it could be one of them, above 0 that it is nearer to "
    "them than they are to each other."
)


@dataclass(frozen=True)
class PairAgreement:
    """Dice of two members over the cases."""

    first: str
    second: str
    dice: Interval


@dataclass(frozen=True)
class MemberAgreement:
    """One member and the observers besides it.

    Attributes:
        name: of the observer or model.
        is_model: whether it is the model.
        dice: mean with every observer but itself.
        rank: from 1, by that mean among all members.
    """

    name: str
    is_model: bool
    dice: Interval
    rank: int


@dataclass(frozen=True)
class Agreement:
    """What came of comparing observers.

    Attributes:
        cases: that all members have.
        groups: number of patients or videos.
        classes: id -> name, without the background.
        pairs: every two members.
        members: in the order given, the model last.
        model: its mean with the observers minus theirs with each other; None without a model.
        left_out: cases that some member lacks.
        out: folder that was written, or None.
    """

    cases: int
    groups: int
    classes: Mapping[int, str]
    pairs: tuple[PairAgreement, ...]
    members: tuple[MemberAgreement, ...]
    model: PairedTest | None
    left_out: tuple[str, ...]
    out: Path | None = None


def compare_observers(
    observers: Sequence[Path | str],
    *,
    model: Path | str | None = None,
    classes: ClassValues | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Agreement:
    """Measure how well observers agree on the same cases, and a model with them.

    Args:
        observers: two or more folders of masks of the same names.
        model: folder of the masks of a model.
        classes: name -> value or values in the files; default: as for `score`.
        out: folder for observers.json, cases.csv and a page; nothing is written without.
        seed: of the bootstrap.
        overwrite: replace older files.
        progress: told how many cases are done.

    Raises:
        UsageError: fewer than two observers, or one twice.
        LayoutError: no case that all members have.
        LabelError: masks of other grids, or values that are not clear.
        OutputError: a file exists already or cannot be written.
    """
    places = [Path(place) for place in (*observers, *([model] if model is not None else []))]
    if len(observers) < 2 or len({place.resolve() for place in places}) < len(places):
        raise UsageError(f"give two or more different observers, given {shorten(map(str, places), limit=9)}")
    if out is not None:
        for name in FILES:
            refuse_existing(Path(out) / name, overwrite=overwrite)
    group = _Group(tuple(places), _name(places), has_model=model is not None)
    table = _measure(group, classes, progress or Silent())
    found = _summarise(group, table, seed)
    return found if out is None else _write(group, found, table, Path(out), overwrite=overwrite)


@dataclass(frozen=True)
class _Group:
    """Who is compared; the model is the last one."""

    places: tuple[Path, ...]
    names: tuple[str, ...]
    has_model: bool

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(itertools.combinations(range(len(self.places)), 2))

    def is_model(self, place: int) -> bool:
        return self.has_model and place == len(self.places) - 1


@dataclass(frozen=True, eq=False)
class _Table:
    """Dice of every two members (pairs, cases); `read` gives the masks of a case, one per member."""

    cases: tuple[CaseFiles, ...]
    classes: Mapping[int, str]
    dice: NDArray[np.float64]
    left_out: tuple[str, ...]
    read: Callable[[str], list[MaskView]]

    @property
    def groups(self) -> list[str]:
        return [case.group for case in self.cases]


def _name(places: Sequence[Path]) -> tuple[str, ...]:
    names = [place.resolve().name for place in places]
    return tuple(names if len(set(names)) == len(names) else map(str, places))


def _measure(group: _Group, classes: ClassValues | None, progress: Progress) -> _Table:
    first = find_labels(group.places[0])
    files, left_out = _pair_all(group, first)
    cases = tuple(case for case in first.cases if case.id in files)
    columns = [[files[case.id][place] for case in cases] for place in range(len(group.places))]
    humans = columns[:-1] if group.has_model else columns
    joined = [path for case in cases for path in case.labels]
    meaning = find_meaning(
        [*joined, *(path for column in humans[1:] for path in column)],
        columns[-1] if group.has_model else [],
        source=first,
        classes=classes,
        progress=progress,
    )
    human = replace(meaning, masks=replace(meaning.labels, parts={}))
    known = {case.id: case for case in cases}

    def read(name: str) -> list[MaskView]:
        return [
            read_view(path, known[name], meaning if group.is_model(place) else human)
            for place, path in enumerate(files[name])
        ]

    rows = []
    for case in progress.track(cases, total=len(cases), label="compare"):
        ids = _list_ids(read(case.id))
        rows.append([measure_agreement(ids[a], ids[b], meaning.classes) for a, b in group.pairs])
    named = {id_: name for id_, name in meaning.classes.items() if id_}
    return _Table(cases, named, np.array(rows).T, left_out, read)


def _list_ids(views: Sequence[MaskView]) -> list[Ids]:
    """The mask of each member: the first one's is the label of every view."""
    return [view.target if place == 0 else view.prediction for place, view in enumerate(views)]


def _pair_all(group: _Group, first: LabelFiles) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Case -> its file of every member, of the cases that all have; and the names of the others."""
    files = {case.id: [case.label] for case in first.cases if case.label is not None}
    others: list[str] = []
    for place in group.places[1:]:
        found = pair_masks(list_masks(place), first, place=place)
        for path, case in found.pairs:
            files[case.id].append(path)
        others += [case.id for case in found.lacking] + [path.name for path in found.extra]
    whole = {name: paths for name, paths in files.items() if len(paths) == len(group.places)}
    if not whole:
        raise LayoutError(f"no case has a mask of everybody; missing somewhere: {shorten(others)}")
    return whole, tuple(dict.fromkeys(others))


def measure_agreement(a: Ids, b: Ids, classes: Mapping[int, str]) -> float:
    """Mean Dice over the foreground classes; 1 where both leave a class empty.

    Args:
        a: class ids.
        b: class ids on the same grid.
        classes: name of each id.
    """
    found = []
    for id_ in classes:
        if id_:
            one, other = a == id_, b == id_
            both = np.count_nonzero(one) + np.count_nonzero(other)
            found.append(2 * np.count_nonzero(one & other) / both if both else 1.0)
    return float(np.mean(found))


def _summarise(group: _Group, table: _Table, seed: int) -> Agreement:
    means = [_with_observers(group, table, place) for place in range(len(group.places))]
    order = sorted(range(len(means)), key=lambda place: -float(means[place].mean()))
    return Agreement(
        cases=len(table.cases),
        groups=len(set(table.groups)),
        classes=table.classes,
        pairs=tuple(
            PairAgreement(group.names[a], group.names[b], bootstrap_interval(row, table.groups, seed=seed))
            for (a, b), row in zip(group.pairs, table.dice, strict=True)
        ),
        members=tuple(
            MemberAgreement(
                name=name,
                is_model=group.is_model(place),
                dice=bootstrap_interval(means[place], table.groups, seed=seed),
                rank=order.index(place) + 1,
            )
            for place, name in enumerate(group.names)
        ),
        model=_test_model(group, table, seed),
        left_out=table.left_out,
    )


def _with_observers(group: _Group, table: _Table, place: int) -> NDArray[np.float64]:
    """(cases,) mean Dice of one member with every observer but itself."""
    rows = [
        row
        for pair, row in zip(group.pairs, table.dice, strict=True)
        if place in pair and not group.is_model(pair[0] if pair[1] == place else pair[1])
    ]
    mean: NDArray[np.float64] = np.mean(rows, axis=0)
    return mean


def _test_model(group: _Group, table: _Table, seed: int) -> PairedTest | None:
    if not group.has_model:
        return None
    humans = [
        row for pair, row in zip(group.pairs, table.dice, strict=True) if not any(map(group.is_model, pair))
    ]
    model = _with_observers(group, table, len(group.places) - 1)
    return paired_test(model, np.mean(humans, axis=0), table.groups, seed=seed)


def _write(group: _Group, found: Agreement, table: _Table, out: Path, *, overwrite: bool) -> Agreement:
    document = {**vars(found), "out": out, "policy": (AGREEMENT_TEXT, STANDING_TEXT)}
    write_json(out / "observers.json", document, overwrite=overwrite)
    names = [f"{pair.first} - {pair.second}" for pair in found.pairs]
    rows = [
        {
            "case": case.id,
            "group": case.group,
            **{name: round(float(dice), 6) for name, dice in zip(names, column, strict=True)},
        }
        for case, column in zip(table.cases, table.dice.T, strict=True)
    ]
    write_csv(out / "cases.csv", rows, comments=(AGREEMENT_TEXT,), overwrite=overwrite)
    write_text(out / "index.html", build_agreement_page(_describe(group, found, table)), overwrite=overwrite)
    return Agreement(**{**vars(found), "out": out})


def _describe(group: _Group, found: Agreement, table: _Table) -> AgreementPage:
    names, pairs = group.names, group.pairs
    least = find_least([case.id for case in table.cases], table.dice, names, pairs, most=SHOWN_CASES)
    return AgreementPage(
        facts={
            "Cases": f"{found.cases} of {found.groups} groups",
            "Classes": ", ".join(found.classes.values()),
            "Folders": ", ".join(map(str, group.places)),
        },
        names=names,
        pairs={pair: row.dice for pair, row in zip(pairs, found.pairs, strict=True)},
        members=[(row.dice, row.rank) for row in found.members],
        model=found.model,
        least=[
            replace(each, jpeg=_draw(group, table, each)) if place < DRAWN_CASES else each
            for place, each in enumerate(least)
        ],
        left_out=found.left_out,
        policy=(AGREEMENT_TEXT, *((STANDING_TEXT,) if found.model is not None else ())),
    )


def _draw(group: _Group, table: _Table, each: Disagreement) -> bytes:
    """The masks of the two that agree least on a case; of a volume the slice where they differ most."""
    views = table.read(each.case)
    ids = _list_ids(views)
    first, second = (ids[group.names.index(name)] for name in (each.first, each.second))
    flat = replace(views[-1], target=first, prediction=second).flatten()
    ground = np.zeros((1, *flat.target.shape), np.float32)
    return draw_example(
        ground, flat.target, flat.prediction, classes={0: "", **table.classes}, spacing=flat.spacing
    )

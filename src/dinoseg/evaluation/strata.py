"""Scores of parts of the cases: by the columns of metadata.csv, and by the size of what is to be found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.layouts.metadata import FILE_NAME, Metadata, read_metadata
from dinoseg.errors import LayoutError
from dinoseg.evaluation.lesion_summary import SIZE_NAMES, split_thirds
from dinoseg.evaluation.metrics import ClassScore, of_headline
from dinoseg.evaluation.statistics import Interval, bootstrap_contrast, bootstrap_interval
from dinoseg.progress import Progress

MUCH = 0.05
"""A stratum is much worse where its mean Dice is lower by so much, and not by chance."""

FEWEST = 5
"""Cases that a stratum, and the rest, must have to be called worse."""

_THIRDS = ("lowest third", "middle third", "highest third")
SIZE_COLUMN = "size of the target"
UNKNOWN = "not given"
_NO_TARGET = "no target"
_MOST_VALUES = 20
_MOST_NUMBERS = 6  # different numbers that are strata themselves, such as grades; more become thirds

STRATA_TEXT = (
    "Strata: mean Dice of a part of the cases with its 95% interval over groups, and its difference to all "
    f"other cases. Much worse: lower by at least {MUCH:g}, at least {FEWEST} cases on each side, and the "
    "interval of the difference, at 95% for all strata of a column together, lies below 0."
)


@dataclass(frozen=True)
class Stratum:
    """A part of the cases.

    Attributes:
        name: value of the column, or range of values.
        cases: number of cases.
        groups: number of patients or videos.
        dice: mean over the cases, with its interval over groups.
        missed: masks whose target holds a class and whose prediction does not.
        difference: to all other cases.
        much_worse: see `STRATA_TEXT`.
    """

    name: str
    cases: int
    groups: int
    dice: Interval
    missed: int
    difference: Interval
    much_worse: bool


@dataclass(frozen=True)
class Strata:
    """The cases divided by one column.

    Attributes:
        column: of metadata.csv, or the size of the target.
        strata: in the order of their values.
    """

    column: str
    strata: tuple[Stratum, ...]

    def warnings(self) -> Iterator[str]:
        """One line for each stratum that is much worse."""
        for found in self.strata:
            if found.much_worse:
                yield (
                    f"{self.column} {found.name}: mean Dice {found.dice.mean:.3f} in {found.cases} cases, "
                    f"{-found.difference.mean:.3f} lower than in the others"
                )


@dataclass(frozen=True, eq=False)
class _Cases:
    """The headline Dice of every case, and what is known of it."""

    names: list[str]
    groups: list[str]
    dice: NDArray[np.float64]
    missed: NDArray[np.int64]
    sizes: NDArray[np.float64]
    unit: str


def find_metadata(
    root: Path, scores: Sequence[ClassScore], *, given: Path | None = None, progress: Progress
) -> Metadata | None:
    """Read the table that a person names, else metadata.csv in the folder of the data or the one above.

    Args:
        root: folder of the data, or its CSV.
        scores: of the cases that the table is for.
        given: the table that a person names.
        progress: told why a table that was only found is of no use.

    Raises:
        LayoutError: the named table has no usable column, or knows none of the cases.
    """
    if given is not None:
        return _read_for(given, scores)
    folder = root.parent if root.is_file() else root
    place = next((path for path in (folder, folder.parent) if (path / FILE_NAME).is_file()), None)
    if place is None:
        return None
    try:
        return _read_for(place / FILE_NAME, scores)
    except LayoutError as error:
        progress.note(f"no strata but size: {error}")
        return None


def _read_for(path: Path, scores: Sequence[ClassScore]) -> Metadata:
    found = read_metadata(path)
    if not any(found.find(score.case, score.group) for score in scores):
        raise LayoutError(f"{path} knows none of the cases, e.g. {scores[0].case}; name them alike")
    return found


def find_strata(scores: Sequence[ClassScore], metadata: Metadata | None, *, seed: int) -> tuple[Strata, ...]:
    """Divide the cases by every column, and by the size of their target.

    Args:
        scores: of all classes and regions of all cases; those of which nobody decided a pixel have none
            and are in no stratum.
        metadata: of the cases or their groups, if there is any.
        seed: of the intervals.
    """
    cases = _collect([score for score in scores if score.outcome != "undecided"])
    columns: dict[str, list[str]] = {}
    if metadata is not None:
        rows = [metadata.find(*names) for names in zip(cases.names, cases.groups, strict=True)]
        columns = {name: [row.get(name, "") for row in rows] for name in metadata.columns}
    divided = {name: _divide(values) for name, values in columns.items()}
    divided[SIZE_COLUMN] = _divide_by_size(cases)
    found = (_compare(name, parts, cases, seed) for name, parts in divided.items() if len(set(parts)) > 1)
    return tuple(found)


def _collect(scores: Sequence[ClassScore]) -> _Cases:
    members: dict[str, list[ClassScore]] = {}
    for score in scores:
        members.setdefault(score.case, []).append(score)
    counted = [of_headline(several) for several in members.values()]
    return _Cases(
        names=list(members),
        groups=[several[0].group for several in members.values()],
        dice=np.array([np.mean([score.dice for score in several]) for several in counted]),
        missed=np.array([sum(score.outcome == "missed" for score in several) for several in counted]),
        sizes=np.array([_measure(several) for several in members.values()]),
        unit=next((score.lesions.unit for score in scores if score.lesions), "px"),
    )


def _measure(scores: Sequence[ClassScore]) -> float:
    """Size of all classes of the target."""
    classes = [score for score in scores if score.class_id is not None]
    return sum(score.lesions.size if score.lesions else float(score.target_size) for score in classes)


def _divide(values: Sequence[str]) -> list[str]:
    """The stratum of each case; all in one where a column is no division (names, dates, a single value)."""
    known = {value for value in values if value}
    numbers = _read_numbers(known)
    if numbers is not None and len(known) > _MOST_NUMBERS:
        return _divide_numbers([numbers.get(value, float("nan")) for value in values], _THIRDS)
    if len(known) > _MOST_VALUES:
        return [""] * len(values)
    return [value or UNKNOWN for value in values]


def _read_numbers(values: set[str]) -> dict[str, float] | None:
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return None
    return numbers if np.isfinite(list(numbers.values())).all() else None


def _divide_by_size(cases: _Cases) -> list[str]:
    sizes = np.where(cases.sizes > 0, cases.sizes, np.nan)
    if np.count_nonzero(cases.sizes > 0) < 2 * len(SIZE_NAMES):
        return [""] * len(sizes)
    return _divide_numbers(sizes.tolist(), SIZE_NAMES, unit=f" {cases.unit}", unknown=_NO_TARGET)


def _divide_numbers(
    numbers: Sequence[float], names: Sequence[str], *, unit: str = "", unknown: str = UNKNOWN
) -> list[str]:
    array = np.asarray(numbers, dtype=np.float64)
    known = np.isfinite(array)
    thirds = split_thirds(array[known])
    labels: Mapping[int, str] = {
        third: f"{names[third]} ({_span(array[known][thirds == third])}{unit})"
        for third in set(thirds.tolist())
    }
    found = iter(thirds.tolist())
    return [labels[next(found)] if there else unknown for there in known]


def _span(values: NDArray[np.float64]) -> str:
    low, high = (f"{end:,.0f}" if abs(end) >= 10 else f"{end:.3g}" for end in (values.min(), values.max()))
    return f"{low} to {high}"


def _compare(column: str, parts: Sequence[str], cases: _Cases, seed: int) -> Strata:
    named = np.array(parts)
    kinds = sorted(set(parts), key=_order)
    return Strata(column, tuple(_describe(kind, named == kind, len(kinds), cases, seed) for kind in kinds))


def _order(kind: str) -> tuple[int, int, float, str]:
    """Thirds in their order, then numbers, then names; what is not known is last."""
    thirds = (*SIZE_NAMES, *_THIRDS)
    place = next((place for place, name in enumerate(thirds) if kind.startswith(f"{name} (")), len(thirds))
    number = _read_numbers({kind})
    return (int(kind in (UNKNOWN, _NO_TARGET)), place, number[kind] if number else float("inf"), kind)


def _describe(kind: str, inside: NDArray[np.bool_], kinds: int, cases: _Cases, seed: int) -> Stratum:
    groups = np.array(cases.groups)
    members = groups[inside].tolist()
    difference = bootstrap_contrast(cases.dice, inside, cases.groups, seed=seed)
    strict = bootstrap_contrast(cases.dice, inside, cases.groups, seed=seed, level=1 - 0.05 / kinds)
    enough = min(np.count_nonzero(inside), np.count_nonzero(~inside)) >= FEWEST
    return Stratum(
        name=kind,
        cases=len(members),
        groups=len(set(members)),
        dice=bootstrap_interval(cases.dice[inside], members, seed=seed),
        missed=int(cases.missed[inside].sum()),
        difference=difference,
        much_worse=bool(enough and difference.mean <= -MUCH and strict.high < 0),
    )

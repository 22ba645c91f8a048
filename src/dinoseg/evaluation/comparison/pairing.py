"""The scores of several models side by side, case by case, after everything that must agree was checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.cases.files import shorten
from dinoseg.errors import DataError, LabelError, UsageError
from dinoseg.evaluation.comparison.contestants import CaseRow, Contestant
from dinoseg.evaluation.definitions import DISTANCES, METRICS
from dinoseg.evaluation.summary import MEAN_NAME, REGIONS_NAME

_IN_UNITS = DISTANCES | {"nsd"}


@dataclass(frozen=True, eq=False)
class PairedScores:
    """One score of every model on every case.

    Attributes:
        names: of the models.
        metric: "dice", "iou", "hd95", "assd" or "nsd".
        part: what is compared: a class, a region, or the mean over them.
        cases: names of the cases.
        groups: patient or video of each case.
        values: (models, cases), finite.
        missed: per model, masks whose target holds the class and whose prediction does not.
        false_alarms: per model, the opposite.
        unit: of a distance, else "".
    """

    names: tuple[str, ...]
    metric: str
    part: str
    cases: tuple[str, ...]
    groups: tuple[str, ...]
    values: NDArray[np.float64]
    missed: tuple[int, ...] = ()
    false_alarms: tuple[int, ...] = ()
    unit: str = ""

    @property
    def group_count(self) -> int:
        """Number of different groups."""
        return len(set(self.groups))

    @property
    def gains(self) -> NDArray[np.float64]:
        """The values turned so that more is better."""
        return -self.values if self.metric in DISTANCES else self.values


def pair_scores(contestants: Sequence[Contestant], *, metric: str, part: str | None) -> PairedScores:
    """Put the scores of the same cases beside each other.

    Args:
        contestants: two or more.
        metric: which score.
        part: name of a class or region; None for the headline: the mean over regions where there
            are any, else over classes, taken within each case.

    Raises:
        UsageError: an unknown score, or one that cannot be paired.
        DataError: other cases, groups, protocols, units or targets, a single case or group, or
            nothing in any mask.
        LabelError: other classes.
    """
    if metric not in METRICS:
        raise UsageError(f"metric {metric!r} is not accepted; choose {', '.join(METRICS)}")
    _refuse_other_protocols(contestants, metric)
    cases = _refuse_unpaired(contestants)
    tables = [_choose_rows(contestant, part) for contestant in contestants]
    _refuse_other_classes(contestants, tables)
    _refuse_lacking(contestants, metric)
    groups = _join_groups(cases, tables)
    _refuse_other_targets(contestants, tables)
    _refuse_other_units(contestants, tables, metric)
    _refuse_too_little(cases, groups, tables)
    return PairedScores(
        names=tuple(contestant.name for contestant in contestants),
        metric=metric,
        part=_name_part(tables[0]),
        cases=cases,
        groups=groups,
        values=np.array([_collect(rows, metric, cases) for rows in tables]),
        missed=tuple(sum(row.outcome == "missed" for row in rows) for rows in tables),
        false_alarms=tuple(sum(row.outcome == "false_alarm" for row in rows) for rows in tables),
        unit=tables[0][0].unit if metric in DISTANCES else "",
    )


def _refuse_other_protocols(contestants: Sequence[Contestant], metric: str) -> None:
    known = {found.protocol: found.name for found in contestants if found.protocol}
    if len(known) > 1:
        listed = ", ".join(f"{name} {protocol}" for protocol, name in known.items())
        raise DataError(f"the reports have different protocols ({listed}); evaluate all with one --protocol")
    if "paper" in known and metric in DISTANCES:
        raise UsageError(
            f"{metric} of the paper protocol leaves out cases that a model missed, which cannot be paired; "
            "compare dice, iou or nsd, or evaluate with --protocol native"
        )


def _refuse_unpaired(contestants: Sequence[Contestant]) -> tuple[str, ...]:
    """The cases in the order of the first."""
    first = contestants[0]
    cases = tuple(dict.fromkeys(row.case for row in first.rows))
    for other in contestants[1:]:
        theirs = dict.fromkeys(row.case for row in other.rows)
        lacking = [_explain_lack(case, other) for case in cases if case not in theirs]
        extra = [_explain_lack(case, first) for case in theirs if case not in set(cases)]
        if lacking or extra:
            parts = [f"{len(lacking)} only in {first.name} ({shorten(lacking)})"] if lacking else []
            parts += [f"{len(extra)} only in {other.name} ({shorten(extra)})"] if extra else []
            raise DataError(f"the cases are not the same: {', '.join(parts)}; score all models on the same")
    return cases


def _explain_lack(case: str, contestant: Contestant) -> str:
    return f"{case}, which failed in {contestant.name}" if case in contestant.failures else case


def _choose_rows(contestant: Contestant, part: str | None) -> list[CaseRow]:
    if part is None:
        return [row for row in contestant.rows if row.is_region] or list(contestant.rows)
    chosen = [row for row in contestant.rows if row.part == part]
    if not chosen:
        known = ", ".join(dict.fromkeys(row.part for row in contestant.rows))
        raise LabelError(f"{contestant.table} has no class {part!r}; it has {known or 'no names of classes'}")
    return chosen


def _list_parts(rows: Iterable[CaseRow]) -> list[str]:
    return sorted({row.part for row in rows})


def _refuse_other_classes(contestants: Sequence[Contestant], tables: Sequence[Sequence[CaseRow]]) -> None:
    parts = [_list_parts(rows) for rows in tables]
    for contestant, found, rows in zip(contestants, parts, tables, strict=True):
        nameless = len(found) == len(parts[0]) == 1 and "" in (found[0], parts[0][0])
        if found != parts[0] and not nameless:
            raise LabelError(
                f"{contestants[0].name} has scores of {', '.join(parts[0])}, {contestant.name} of "
                f"{', '.join(found)}; name a class of both with --class, or score the same classes"
            )
        cases = {row.case for row in rows}
        if len(rows) != len(cases) * len(found):
            raise DataError(f"{contestant.table} lacks classes of some cases; each case needs every class")


def _refuse_lacking(contestants: Sequence[Contestant], metric: str) -> None:
    for contestant in contestants:
        known = contestant.rows[0].values
        if metric not in known:
            raise DataError(f"{contestant.table} has no column {metric}; it has {', '.join(known)}")


def _join_groups(cases: Sequence[str], tables: Sequence[Sequence[CaseRow]]) -> tuple[str, ...]:
    """The group of each case; a table that knows none (each case is its own) follows the others."""
    told: dict[str, set[str]] = {case: set() for case in cases}
    for rows in tables:
        if any(row.group != row.case for row in rows):
            for row in rows:
                told[row.case].add(row.group)
    torn = [f"{case}: {', '.join(sorted(groups))}" for case, groups in told.items() if len(groups) > 1]
    if torn:
        raise DataError(f"the reports give {len(torn)} cases different groups ({shorten(torn)})")
    return tuple(next(iter(told[case]), case) for case in cases)


def _refuse_other_targets(contestants: Sequence[Contestant], tables: Sequence[Sequence[CaseRow]]) -> None:
    sizes = {(row.case, row.part): row.target_size for row in tables[0]}
    for contestant, rows in zip(contestants[1:], tables[1:], strict=True):
        for row in rows:
            known = sizes.get((row.case, row.part))
            if None not in (known, row.target_size) and known != row.target_size:
                raise DataError(
                    f"the target of {row.case} has {known} pixels in {contestants[0].name} and "
                    f"{row.target_size} in {contestant.name}; score both against the same masks"
                )


def _refuse_other_units(
    contestants: Sequence[Contestant], tables: Sequence[Sequence[CaseRow]], metric: str
) -> None:
    if metric not in _IN_UNITS:
        return
    units = {rows[0].unit: found.name for found, rows in zip(contestants, tables, strict=True)}
    if len(units) > 1:
        listed = ", ".join(f"{name} in {unit or 'an unknown unit'}" for unit, name in units.items())
        raise DataError(f"{metric} has different units ({listed}); compare dice, or give all a spacing")
    limits = {found.tolerance: found.name for found in contestants if found.tolerance}
    if metric == "nsd" and len(limits) > 1:
        listed = ", ".join(f"{name}: {limit.rstrip('.')}" for limit, name in limits.items())
        raise DataError(f"nsd has different tolerances ({listed}); score all with one --tolerance")


def _refuse_too_little(
    cases: Sequence[str], groups: Sequence[str], tables: Sequence[Sequence[CaseRow]]
) -> None:
    if len(cases) < 2:
        raise DataError(f"there is one case only ({cases[0]}); a comparison needs at least two")
    if len(set(groups)) < 2:
        raise DataError(f"all {len(cases)} cases are of one group ({groups[0]}), which tells of no other one")
    if all(row.outcome == "both_empty" for rows in tables for row in rows):
        raise DataError("every mask of every case is empty on both sides; nothing tells the models apart")


def _collect(rows: Sequence[CaseRow], metric: str, cases: Sequence[str]) -> list[float]:
    found: dict[str, list[float]] = {case: [] for case in cases}
    for row in rows:
        found[row.case].append(row.values[metric])
    return [float(np.mean(values)) for values in found.values()]


def _name_part(rows: Sequence[CaseRow]) -> str:
    parts = _list_parts(rows)
    if len(parts) == 1:
        return parts[0] or "all"
    return REGIONS_NAME if rows[0].is_region else MEAN_NAME

"""From scores of cases to one row per class and region, with intervals, and with misses beside every mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.errors import DataError, UsageError
from dinoseg.evaluation.definitions import DISTANCES, METRICS
from dinoseg.evaluation.lesion_summary import LesionSummary, summarise_lesions
from dinoseg.evaluation.metrics import ClassScore, Kind, Outcome, Unit, add_kind
from dinoseg.evaluation.statistics import Interval, bootstrap_interval
from dinoseg.progress import Progress

Protocol = Literal["native", "paper"]

RowKind = Kind | Literal["mean"]

MEAN_NAME = "mean over classes"
REGIONS_NAME = "mean over regions"


@dataclass(frozen=True)
class MetricSummary:
    """One score over many cases.

    Attributes:
        metric: "dice", "iou", "hd95", "assd" or "nsd".
        cases: number of cases behind the mean (the paper protocol drops some from distances).
        interval: mean and 95 % bootstrap interval over groups.
        sd: standard deviation over the cases (n - 1); NaN for a single case.
        median: over the cases.
        mean_with_target: mean over the cases whose target holds the class; NaN if none does.
    """

    metric: str
    cases: int
    interval: Interval
    sd: float
    median: float
    mean_with_target: float


@dataclass(frozen=True)
class ClassSummary:
    """One row of the table.

    Attributes:
        class_id: id of the class; None for a region of several, and for a mean.
        class_name: name of the class, the region or the mean.
        cases: number of cases with scores.
        groups: number of groups (patients, videos) of those.
        with_target: masks whose target holds the class.
        missed: of those, how many had an empty prediction.
        false_alarms: predictions of the class where the target is empty.
        both_empty: masks with neither.
        unit: of the distances, "mm" or "px".
        metrics: one summary per score, in the order of `METRICS`.
        kind: "class", "region", "class and region" (a region that is one class), or "mean".
        region: the class ids whose union a region is; empty for other rows.
        lesions: the lesions of all cases; None for a mean, and where they were not scored.
        undecided: cases of which nobody decided a pixel; in no mean and no other count.

    In the row of a mean over classes or regions the four counts are sums over them.
    """

    class_id: int | None
    class_name: str
    cases: int
    groups: int
    with_target: int
    missed: int
    false_alarms: int
    both_empty: int
    unit: Unit
    metrics: tuple[MetricSummary, ...]
    kind: RowKind = "class"
    region: tuple[int, ...] = ()
    lesions: LesionSummary | None = None
    undecided: int = 0

    @property
    def empty(self) -> int:
        """Targets without the class, of one or several columns."""
        return self.both_empty + self.false_alarms

    @property
    def title(self) -> str:
        """The name for people: what is a region says so."""
        return add_kind(self.class_name, self.kind)

    def metric(self, name: str) -> MetricSummary:
        """Return the summary of one score."""
        return self.metrics[METRICS.index(name)]


@dataclass(frozen=True)
class _Table:
    """Scores as arrays: a row is a case, a column a class or region."""

    groups: list[str]
    values: dict[str, NDArray[np.float64]]
    present: NDArray[np.bool_]


def summarise(
    scores: Sequence[ClassScore], *, seed: int, protocol: Protocol = "native", draws: int = 2000
) -> list[ClassSummary]:
    """Return one summary per class and, with more than one class, one for the mean over classes.

    Where there are regions, one per region that is no class follows, and with more than one region
    one for the mean over regions, those included that are classes.

    A mean over classes or regions is taken within each case first; the spread and the interval are
    those of the cases.

    Args:
        scores: of all classes and regions of all cases.
        seed: of the bootstrap.
        protocol: "native" uses every case; "paper" drops distances where one mask is empty.
        draws: number of bootstrap resamples.

    Raises:
        UsageError: no scores, or a case that lacks a class or region or has it twice.
        DataError: some cases are in mm and others in pixels, which have no common mean.
    """
    columns = _columns(scores)
    refuse_mixed_units(scores)

    def row(*members: Sequence[ClassScore], mean: str = "") -> ClassSummary:
        table = _tabulate(members, protocol)
        found = _row(members, _summarise_metrics(table, seed, draws), mean)
        return found if mean else replace(found, lesions=_pool_lesions(members[0], seed, draws))

    classes = [column for column in columns if column[0].class_id is not None]
    regions = [column for column in columns if column[0].region]
    rows = [row(column) for column in classes]
    if len(classes) > 1:
        rows.append(row(*classes, mean=MEAN_NAME))
    rows += [row(column) for column in columns if column[0].class_id is None]
    if len(regions) > 1:
        rows.append(row(*regions, mean=REGIONS_NAME))
    return rows


def headline(summaries: Sequence[ClassSummary]) -> ClassSummary:
    """Return the row that stands for all: the only region or the mean over regions, else so for classes."""
    regions = [row for row in summaries if row.region]
    return regions[0] if len(regions) == 1 else summaries[-1]


def tell_undecided(scores: Sequence[ClassScore], source: object, progress: Progress) -> None:
    """Say how many cases have no score because nobody decided a pixel of them.

    Raises:
        DataError: all of them, which leaves nothing to score.
    """
    undecided = {score.case for score in scores if score.outcome == "undecided"}
    if not undecided:
        return
    cases = len({score.case for score in scores})
    if len(undecided) == cases:
        raise DataError(
            f"{source}: nobody decided a pixel of any of the {cases} cases (all are labelled to be ignored); "
            "score cases that are annotated"
        )
    progress.note(
        f"{len(undecided)} of {cases} cases have no decided pixel (all are labelled to be ignored): "
        "they are in no mean"
    )


def refuse_mixed_units(scores: Iterable[ClassScore]) -> None:
    """Raise unless all scores are in mm, or all in pixels.

    Raises:
        DataError: there are both, which have no common mean.
    """
    if len({score.unit for score in scores}) > 1:
        raise DataError(
            "some cases have a spacing and others have none: distances in mm and pixels have no common mean; "
            "give every case a spacing or evaluate the two kinds apart"
        )


def _columns(scores: Sequence[ClassScore]) -> list[list[ClassScore]]:
    """The scores of each class and region, in the order of the cases."""
    if not scores:
        raise UsageError("there are no scores to summarise; the split is empty or every case failed")
    columns: dict[int | str, list[ClassScore]] = {}
    for score in scores:
        columns.setdefault(score.class_name if score.class_id is None else score.class_id, []).append(score)
    cases = [score.case for score in next(iter(columns.values()))]
    for members in columns.values():
        if [score.case for score in members] != cases or len(set(cases)) != len(cases):
            raise UsageError(f"class {members[0].class_name}: every case must have each class exactly once")
    return list(columns.values())


def _tabulate(columns: Sequence[Sequence[ClassScore]], protocol: Protocol) -> _Table:
    values = {
        # (cases, classes or regions)
        name: np.array([[getattr(score, name) for score in column] for column in columns], dtype=float).T
        for name in METRICS
    }
    if protocol == "paper":
        emptied = np.array([[score.outcome != "scored" for score in column] for column in columns]).T
        for name in DISTANCES:
            values[name][emptied] = np.nan
    present = np.array([[score.target_size > 0 for score in column] for column in columns]).T
    return _Table(groups=[score.group for score in columns[0]], values=values, present=present)


def _summarise_metrics(table: _Table, seed: int, draws: int) -> tuple[MetricSummary, ...]:
    return tuple(_summarise_metric(name, table, seed, draws) for name in METRICS)


def _summarise_metric(name: str, table: _Table, seed: int, draws: int) -> MetricSummary:
    values = table.values[name]
    per_case = _row_means(values)
    kept = np.isfinite(per_case)
    per_target = _row_means(np.where(table.present, values, np.nan))
    per_target = per_target[np.isfinite(per_target)]
    nothing = float("nan")
    mean_with_target = float(per_target.mean()) if per_target.size else nothing
    if not kept.any():
        empty = Interval(nothing, nothing, nothing)
        return MetricSummary(name, 0, empty, nothing, nothing, mean_with_target)
    groups = [group for group, keep in zip(table.groups, kept, strict=True) if keep]
    found = per_case[kept]
    return MetricSummary(
        metric=name,
        cases=len(found),
        interval=bootstrap_interval(found, groups, seed=seed, draws=draws),
        sd=float(found.std(ddof=1)) if len(found) > 1 else nothing,
        median=float(np.median(found)),
        mean_with_target=mean_with_target,
    )


def _row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the known entries of each row, NaN where none is known."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)  # (cases, classes) -> (cases,)
    sums = np.where(known, values, 0).sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _row(
    columns: Sequence[Sequence[ClassScore]], metrics: tuple[MetricSummary, ...], mean: str
) -> ClassSummary:
    """The row of one column, or of the mean of that name over several."""
    first = columns[0][0]
    members = [score for column in columns for score in column if score.outcome != "undecided"]
    groups = [score.group for score in columns[0] if score.outcome != "undecided"]
    return ClassSummary(
        class_id=None if mean else first.class_id,
        class_name=mean or first.class_name,
        cases=len(groups),
        groups=len(set(groups)),
        with_target=sum(score.target_size > 0 for score in members),
        missed=_count(members, "missed"),
        false_alarms=_count(members, "false_alarm"),
        both_empty=_count(members, "both_empty"),
        unit=first.unit,
        metrics=metrics,
        kind="mean" if mean else first.kind,
        region=() if mean else first.region,
        undecided=len(columns[0]) - len(groups),
    )


def _pool_lesions(column: Sequence[ClassScore], seed: int, draws: int) -> LesionSummary | None:
    decided = [score for score in column if score.outcome != "undecided"]
    groups = [score.group for score in decided]
    return summarise_lesions([score.lesions for score in decided], groups, seed=seed, draws=draws)


def _count(members: Iterable[ClassScore], outcome: Outcome) -> int:
    return sum(score.outcome == outcome for score in members)

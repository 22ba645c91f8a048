"""`compare`: which of several models is better on the same cases, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dinoseg.evaluation.comparison.contestants import Contestant, read_contestants
from dinoseg.evaluation.comparison.pairing import PairedScores, pair_scores
from dinoseg.evaluation.comparison.results import ENOUGH_GROUPS, Comparison, Duel, Standing
from dinoseg.evaluation.comparison.significance import (
    LEVEL,
    adjust_holm,
    count_needed,
    group_means,
    share_of_first_ranks,
    signed_rank_p,
)
from dinoseg.evaluation.comparison.writing import refuse_comparison, write_comparison
from dinoseg.evaluation.statistics import bootstrap_interval, paired_test


def compare(
    reports: Sequence[Path | str],
    *,
    metric: str = "dice",
    part: str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Comparison:
    """Compare models by their scores on the same cases.

    Args:
        reports: two or more folders that `evaluate` or `score` wrote, run folders that hold such a
            report, folders of draws (`train --draws`, whose scores of a case are averaged), or CSV
            files with the columns case and, for example, dice.
        metric: "dice", "iou", "hd95", "assd" or "nsd".
        part: a class or region; default: the mean over regions where there are any, else over classes.
        out: folder for a page and tables; nothing is written without.
        seed: of resamples and sign flips.
        overwrite: replace older files in `out`.

    Raises:
        UsageError: fewer than two reports, or an unknown score.
        RunError: a folder without scores.
        DataError: scores that cannot be paired; the message says which.
        LabelError: the reports have other classes.
        OutputError: `out` holds a comparison already, or cannot be written.
    """
    if out is not None:
        refuse_comparison(Path(out), overwrite=overwrite)
    contestants = read_contestants([Path(report) for report in reports])
    found = compare_scores(pair_scores(contestants, metric=metric, part=part), seed=seed)
    tables = {contestant.name: contestant.table for contestant in contestants}
    found = replace(
        found,
        standings=tuple(replace(row, table=tables[row.name]) for row in found.standings),
        notes=tuple(contestant.note for contestant in contestants if contestant.note),
        cautions=_list_cautions(contestants, found),
        protocol=next((contestant.protocol for contestant in contestants if contestant.protocol), ""),
    )
    if out is None:
        return found
    page = write_comparison(found, contestants, Path(out), overwrite=overwrite)
    return replace(found, page=page)


def compare_scores(scores: PairedScores, *, seed: int) -> Comparison:
    """Compare models whose scores are at hand already; every pair is tested."""
    return Comparison(scores, _rank(scores, seed), _test_pairs(scores, seed), seed)


def _rank(scores: PairedScores, seed: int) -> tuple[Standing, ...]:
    first = share_of_first_ranks(scores.gains, scores.groups, seed=seed)
    unknown = (0,) * len(scores.names)
    return tuple(
        Standing(
            name=name,
            table=Path(),
            mean=bootstrap_interval(scores.values[place], scores.groups, seed=seed),
            median=float(np.median(scores.values[place])),
            missed=(scores.missed or unknown)[place],
            false_alarms=(scores.false_alarms or unknown)[place],
            first=first[place],
        )
        for place, name in enumerate(scores.names)
    )


def _test_pairs(scores: PairedScores, seed: int) -> tuple[Duel, ...]:
    duels = [_test(scores, a, b, seed) for a, b in itertools.combinations(range(len(scores.names)), 2)]
    flips = adjust_holm([duel.test.p for duel in duels])
    ranks = adjust_holm([duel.wilcoxon_p for duel in duels])
    return tuple(
        _decide(replace(duel, p_holm=p, wilcoxon_p_holm=other), scores)
        for duel, p, other in zip(duels, flips, ranks, strict=True)
    )


def _test(scores: PairedScores, a: int, b: int, seed: int) -> Duel:
    differences = scores.values[a] - scores.values[b]
    gained = np.round(scores.gains[a] - scores.gains[b], 9)
    by_group = group_means(differences, scores.groups)
    return Duel(
        first=scores.names[a],
        second=scores.names[b],
        test=paired_test(scores.values[a], scores.values[b], scores.groups, seed=seed),
        median=float(np.median(differences)),
        p_holm=1.0,
        wilcoxon_p=signed_rank_p(by_group),
        wilcoxon_p_holm=1.0,
        won=int(np.count_nonzero(gained > 0)),
        tied=int(np.count_nonzero(gained == 0)),
        lost=int(np.count_nonzero(gained < 0)),
        needed=count_needed(by_group),
        better=None,
    )


def _decide(duel: Duel, scores: PairedScores) -> Duel:
    if duel.p_holm > LEVEL:
        return duel
    first, second = (scores.names.index(name) for name in (duel.first, duel.second))
    gain = float((scores.gains[first] - scores.gains[second]).mean())
    return replace(duel, better=duel.first if gain > 0 else duel.second)


def _list_cautions(contestants: Sequence[Contestant], found: Comparison) -> tuple[str, ...]:
    cautions = []
    silent = [contestant.name for contestant in contestants if not contestant.protocol]
    if silent:
        cautions.append(f"{', '.join(silent)}: no summary.json tells the protocol; it is taken for the same")
    if found.rough:
        cautions.append(
            f"{found.scores.group_count} {found.counted}, fewer than {ENOUGH_GROUPS}: intervals are rough, "
            "and cover the truth less often than they say"
        )
    return tuple(cautions)

"""How scores of parts are told: of lesions, of strata of the cases, and of the model's confidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dinoseg.cli.output import Output

if TYPE_CHECKING:
    from dinoseg.evaluation import ClassSummary, Evaluation
    from dinoseg.evaluation.lesion_summary import LesionSummary
    from dinoseg.evaluation.statistics import Interval
    from dinoseg.evaluation.strata import Strata

LESIONS = ("class", "score", "mean", "95 % interval", "lesions", "predicted", "matched")
STRATA = ("cases", "number", "groups", "Dice", "95 % interval", "missed")


def tell_lesions(output: Output, summaries: Sequence[ClassSummary]) -> None:
    """Show the lesions of each class, where there are any."""
    rows = [
        row
        for title, found in ((summary.title, summary.lesions) for summary in summaries)
        if found is not None and (found.lesions or found.predicted)
        for row in _list_lesions(title, found)
    ]
    if rows:
        output.table(LESIONS, rows, title="lesions")


def _list_lesions(title: str, found: LesionSummary) -> Iterator[tuple[str, ...]]:
    from dinoseg.evaluation.lesion_summary import LESION_TITLES

    counts = (str(found.lesions), str(found.predicted), str(found.matched))
    for place, (name, interval) in enumerate(found.means.items()):
        mean = "-" if math.isnan(interval.mean) else f"{interval.mean:.3f}"
        shown = (title, counts) if place == 0 else ("", ("", "", ""))
        yield (shown[0], LESION_TITLES[name], mean, _between(interval), *shown[1])


def tell_strata(output: Output, strata: Sequence[Strata]) -> None:
    """Show the parts of the cases, and say which are much worse."""
    from dinoseg.evaluation.strata import STRATA_TEXT

    rows = [
        (
            f"{found.column}: {stratum.name}",
            str(stratum.cases),
            str(stratum.groups),
            f"{stratum.dice.mean:.3f}",
            _between(stratum.dice),
            str(stratum.missed),
        )
        for found in strata
        for stratum in found.strata
    ]
    if rows:
        output.table(STRATA, rows, title="strata")
    worse = [line for found in strata for line in found.warnings()]
    for line in worse:
        output.line(f"much worse: {line}")
    if worse:
        output.line(STRATA_TEXT)


def _between(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}" if math.isfinite(interval.low) else "unknown"


def tell_confidence(output: Output, evaluation: Evaluation) -> None:
    """Show in one line whether the model's confidence can be believed, and finds what failed."""
    found = evaluation.reliability
    if found is None:
        return
    if found.calibrated_on:
        pixels = f"ECE {found.ece_before:.4f} before, {found.ece_after:.4f} after calibration"
        pixels += " on these very cases" if found.in_sample else ""
    else:
        pixels = f"not calibrated, ECE {found.ece_before:.4f}"
    failed = f"{found.failures} of {len(found.cases)} cases failed (Dice below 0.6)"
    detection = "" if math.isnan(found.auroc) else f", found with AUROC {found.auroc:.3f}"
    output.line(
        f"confidence: {pixels}; expected Dice is off by {found.expected_error:.3f}; {failed}{detection}; "
        f"AURC {found.aurc:.4f} (random {found.aurc_random:.4f}, oracle {found.aurc_oracle:.4f})"
    )

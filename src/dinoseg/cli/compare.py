"""`dinoseg compare`: which of several models is better on the same cases, and how sure that is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dinoseg.cli.options import Debug, Json, Overwrite
from dinoseg.cli.output import Output, session

if TYPE_CHECKING:
    from dinoseg.evaluation.comparison.results import Comparison, Duel, Standing

# As dinoseg.evaluation.definitions.METRICS, which --help shall not load; a test compares them.
Metric = Literal["dice", "iou", "hd95", "assd", "nsd"]
MODELS = ("model", "mean", "95 % interval", "median", "first", "missed", "false alarms")
PAIRS = ("pair", "difference", "95 % interval", "p", "p Wilcoxon", "won", "{} needed", "verdict")


def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more: folders of `evaluate` or `score`, run folders with a report, CSV files.",
            metavar="REPORT...",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Write a page and tables here.", metavar="DIR")] = None,
    metric: Annotated[Metric, typer.Option(help="The score that is compared.")] = "dice",
    part: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="A class or region; the mean over regions or classes if not given.",
            metavar="NAME",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of resamples and sign flips.", min=0)] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models case by case, with tests that respect patients.

    Every pair is tested, and the p-values hold for all of them together.

    Example: dinoseg compare runs/a/report runs/b/report --out comparison/
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"comparing {len(reports)} reports")
        from dinoseg.evaluation.comparison.comparing import compare as run_comparison
        from dinoseg.evaluation.comparison.writing import describe_comparison

        found = run_comparison(reports, metric=metric, part=part, out=out, seed=seed, overwrite=overwrite)
        output.facts = describe_comparison(found)
        tell_comparison(output, found)


def tell_comparison(output: Output, found: Comparison) -> None:
    """Show where each model stands, every pair, and what the numbers mean."""
    from dinoseg.evaluation.comparison.words import describe_score, policy_lines
    from dinoseg.evaluation.definitions import DISTANCES

    for note in found.notes:
        output.line(note)
    digits = 1 if found.scores.metric in DISTANCES else 3
    title = f"{describe_score(found)}, {len(found.scores.cases)} cases of {found.scores.group_count} groups"
    output.table(MODELS, [_model_row(row, digits) for row in found.standings], title=title)
    columns = tuple(name.format(found.counted) for name in PAIRS)
    output.table(columns, [_pair_row(duel, digits) for duel in found.duels], title="first minus second")
    for line in (*found.cautions, *policy_lines(found)[2:]):
        output.line(line)
    if found.page is not None:
        output.line(f"page with pictures: {found.page}")


def _model_row(row: Standing, digits: int) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.mean.mean:.{digits}f}",
        f"{row.mean.low:.{digits}f} to {row.mean.high:.{digits}f}",
        f"{row.median:.{digits}f}",
        f"{row.first:.0%}",
        str(row.missed),
        str(row.false_alarms),
    )


def _pair_row(duel: Duel, digits: int) -> tuple[str, ...]:
    from dinoseg.evaluation.comparison.words import describe_verdict, show_needed, show_p

    test = duel.test
    between = f"{test.low:+.{digits}f} to {test.high:+.{digits}f}" if math.isfinite(test.low) else "unknown"
    return (
        f"{duel.first} - {duel.second}",
        f"{test.difference:+.{digits}f}",
        between,
        show_p(duel.p_holm),
        show_p(duel.wilcoxon_p_holm),
        f"{duel.share_won:.0%}",
        show_needed(duel.needed),
        describe_verdict(duel),
    )

"""How scores over draws are told: a table of means, sds and intervals, and what failed."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dinoseg.cli.output import Output
from dinoseg.errors import DataError

if TYPE_CHECKING:
    from dinoseg.training import CrossValidation, Curve, Draws
    from dinoseg.training.series.outcomes import Repeats

COLUMNS = ("method", "shots", "Dice", "sd", "95 % over draws", "missed", "draws", "parameters", "seconds")
MEANING = (
    "Dice: mean over the draws; sd and t-interval over draws: what the choice of the training cases and the "
    "seed does."
)


def tell_draws(output: Output, draws: Draws) -> None:
    """Show what came of `train --draws`."""
    tell_repeats(output, [draws.repeats], split=draws.split)
    for draw in draws.repeats.draws:
        output.line(f"draw {draw.draw} (seed {draw.seed}): {draw.describe(draws.split)} -> {draw.run}")
    output.line(f"tables: {draws.out / 'draws.csv'}, draws.json; the report of each draw is in its folder")


def tell_folds(output: Output, found: CrossValidation, data: Path) -> None:
    """Show what came of `train --folds`."""
    rows = [(fold.fold, fold.trained_on, fold.left_out, f"{fold.dice:.3f}") for fold in found.folds]
    title = "every case scored by the model that did not see it"
    output.table(("fold", "trained on", "left out", "Dice of those"), rows, title=title)
    dice = found.dice
    between = f", 95 % interval {dice.low:.3f} to {dice.high:.3f}" if math.isfinite(dice.low) else ""
    output.line(
        f"out of fold: Dice {dice.mean:.3f}{between} ({found.cases} cases of {found.groups} groups; "
        f"{found.missed} of {found.with_target} missed): {found.report}"
    )
    run, folder = shlex.quote(str(found.out)), shlex.quote(str(data))
    output.line(f"{run} is one model now, the average of its folds: dinoseg predict {run} INPUT --out masks")
    output.line(f"test cases, if there are any: dinoseg evaluate {run} {folder} --split test")


def tell_curve(output: Output, curve: Curve) -> None:
    """Show what came of `curve`."""
    tell_repeats(output, curve.repeats, split=curve.split)
    output.line(f"picture: {curve.picture}")
    output.line(f"tables: {curve.summary} (a row per line above), {curve.table} (a row per run)")


def tell_repeats(output: Output, repeats: Sequence[Repeats], *, split: str) -> None:
    """Show one row per method and number of shots; cases that could not be read make exit code 3."""
    output.table(COLUMNS, [_row(item) for item in repeats], title=f"{split} split")
    output.line(MEANING)
    failed = [draw for item in repeats for draw in item.draws if draw.failed]
    if failed:
        output.problem(
            f"{failed[0].failed} cases of the {split} split could not be read and are in no mean; "
            f"{failed[0].run} names them in its report"
        )
        output.exit_code = DataError.exit_code


def _row(item: Repeats) -> tuple[str, ...]:
    dice = item.dice
    missed = sorted({draw.missed for draw in item.draws})
    return (
        item.method,
        str(item.shots),
        f"{dice.mean:.3f}",
        f"{dice.sd:.3f}" if math.isfinite(dice.sd) else "-",
        f"{dice.low:.3f} to {dice.high:.3f}" if math.isfinite(dice.low) else "needs 3 draws",
        str(missed[0]) if len(missed) == 1 else f"{missed[0]} to {missed[-1]}",
        str(dice.draws),
        f"{item.draws[0].trained_parameters:,}",
        f"{sum(draw.train_seconds for draw in item.draws) / len(item.draws):.0f}",
    )

"""The outcomes of a series as rows of a CSV and as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinoseg.evaluation.definitions import METRICS
from dinoseg.training.series.outcomes import Draw, Repeats
from dinoseg.training.series.spread import FEWEST

OF_ONE = (
    "dice, iou, hd95, assd, nsd: means over the cases of the split, as in the report of the run; "
    "dice_present: the mean Dice over the cases that show a class; "
    "dice_low, dice_high: 95 % bootstrap interval over groups, how sure the mean is for this one model"
)
OF_DRAWS = (
    "mean and sd (n - 1) over the draws; low and high: 95 % t-interval over three draws or more, how much "
    "the choice of the training cases and the seed matter on these test cases; it says nothing about other "
    "patients"
)


def list_draw_rows(draws: Sequence[Draw], out: Path) -> list[dict[str, Any]]:
    """One row per draw; folders are relative to `out`."""
    names = list(dict.fromkeys(name for draw in draws for name in draw.classes))
    return [
        {
            "method": draw.method,
            "shots": draw.shots,
            "draw": draw.draw,
            "seed": draw.seed,
            "training_cases": draw.cases,
            "dice_present": _shorten(draw.dice_present),
            "dice": _shorten(draw.scores["dice"]),
            "dice_low": _shorten(draw.dice.low),
            "dice_high": _shorten(draw.dice.high),
            **{metric: _shorten(draw.scores[metric]) for metric in METRICS if metric != "dice"},
            **{f"dice {name}": _shorten(draw.classes.get(name, math.nan)) for name in names},
            "with_target": draw.with_target,
            "missed": draw.missed,
            "false_alarms": draw.false_alarms,
            "empty": draw.empty,
            "undecided": draw.undecided,
            "failed": draw.failed,
            "trained_parameters": draw.trained_parameters,
            "train_seconds": draw.train_seconds,
            "run": draw.run.relative_to(out).as_posix(),
        }
        for draw in draws
    ]


def list_summary_rows(repeats: Sequence[Repeats]) -> list[dict[str, Any]]:
    """One row per method and number of shots."""
    return [
        {
            "method": item.method,
            "shots": item.shots,
            "draws": item.dice.draws,
            **{
                f"{metric}_{name}": _shorten(getattr(item.spreads[metric], name))
                for metric in METRICS
                for name in ("mean", "sd", "low", "high")
            },
            "missed_min": min(draw.missed for draw in item.draws),
            "missed_max": max(draw.missed for draw in item.draws),
            "trained_parameters": item.draws[0].trained_parameters,
            "train_seconds_mean": round(sum(draw.train_seconds for draw in item.draws) / len(item.draws), 1),
        }
        for item in repeats
    ]


def describe_spread(repeats: Repeats) -> str:
    """Mean, sd and interval of Dice in one line."""
    dice = repeats.dice
    if dice.draws == 1:
        return f"Dice {dice.mean:.3f}, one draw: no spread"
    found = f"Dice {dice.mean:.3f} ± {dice.sd:.3f} (mean and sd over {dice.draws} draws)"
    if dice.draws < FEWEST:
        return f"{found}; an interval needs {FEWEST} draws"
    return f"{found}, 95 % t-interval over draws {dice.low:.3f} to {dice.high:.3f}"


def _shorten(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, 6)

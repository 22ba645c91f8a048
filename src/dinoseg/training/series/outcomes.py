"""What came of the runs of a series: read from their folders, and brought together over draws."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.data.splits.splits import load_splits
from dinoseg.errors import RunError
from dinoseg.evaluation.definitions import METRICS
from dinoseg.evaluation.statistics import Interval
from dinoseg.model.settings import RunSettings
from dinoseg.training.runs.run_folder import RunFolder
from dinoseg.training.series.spread import Spread, find_spread


@dataclass(frozen=True)
class Draw:
    """One training on one draw of cases, and its scores.

    Attributes:
        method: of the decoder.
        shots: cases or groups that were drawn; all training cases where none were.
        draw: number of the draw, from 0.
        seed: of the draw and of the training.
        run: its run folder.
        cases: training cases; more than `shots` where groups are drawn.
        scores: score -> mean over the cases of the split ("dice", "iou", "hd95", "assd", "nsd").
        dice: the mean Dice with its bootstrap interval over groups: how sure it is for this one model.
        classes: class or region -> mean Dice; empty where there is one class.
        with_target: masks of the split that hold a class.
        missed: of those, how many had an empty prediction.
        false_alarms: predictions of a class where the target is empty.
        failed: cases that could not be read; in no mean.
        trained_parameters: of the decoder.
        train_seconds: sum of the epochs, without the features.
        dice_present: mean Dice over the cases that show a class; NaN where none does.
        empty: masks of the split without a class.
        undecided: cases of which nobody decided a pixel; in no mean.
    """

    method: str
    shots: int
    draw: int
    seed: int
    run: Path
    cases: int
    scores: Mapping[str, float]
    dice: Interval
    classes: Mapping[str, float]
    with_target: int
    missed: int
    false_alarms: int
    failed: int
    trained_parameters: int
    train_seconds: float
    dice_present: float = math.nan
    empty: int = 0
    undecided: int = 0

    def describe(self, split: str) -> str:
        """One line for a person; where targets are empty, the mean over the others comes first."""
        between = f" ({self.dice.low:.3f} to {self.dice.high:.3f})" if math.isfinite(self.dice.low) else ""
        missed = f"{self.missed} of {self.with_target} missed"
        if not self.empty:
            return f"{split} Dice {self.dice.mean:.3f}{between}, {missed}"
        return (
            f"{split} Dice {self.dice_present:.3f} where a class is present, {missed}; over all "
            f"{self.dice.mean:.3f}{between}, {self.false_alarms} false alarms of {self.empty} empty"
        )


@dataclass(frozen=True)
class Repeats:
    """The draws of one method and one number of shots.

    Attributes:
        method: of the decoder.
        shots: cases or groups of each draw.
        draws: in their order.
        spreads: score -> mean, sd and interval over the draws.
    """

    method: str
    shots: int
    draws: tuple[Draw, ...]
    spreads: Mapping[str, Spread]

    @property
    def dice(self) -> Spread:
        """The spread of Dice."""
        return self.spreads["dice"]


def gather(draws: Sequence[Draw]) -> tuple[Repeats, ...]:
    """Bring the draws of each method and number of shots together, in order of first appearance."""
    members: dict[tuple[str, int], list[Draw]] = {}
    for draw in draws:
        members.setdefault((draw.method, draw.shots), []).append(draw)
    return tuple(
        Repeats(
            method,
            shots,
            tuple(found),
            {metric: find_spread([draw.scores[metric] for draw in found]) for metric in METRICS},
        )
        for (method, shots), found in members.items()
    )


def report_folder(run: Path, *, split: str) -> Path:
    """Where the report of a run of a series lies."""
    return run / "report" / split


def is_trained(run: Path) -> bool:
    """Whether the model is whole: its page is written last."""
    return (RunFolder(run).model / "README.md").is_file()


def is_scored(run: Path, *, split: str) -> bool:
    """Whether the model and its report are whole: the page of each is written last."""
    return is_trained(run) and (report_folder(run, split=split) / "index.html").is_file()


def read_draw(run: Path, settings: RunSettings, *, split: str, draw: int, trained_parameters: int) -> Draw:
    """Read what a run left behind.

    Args:
        run: its folder.
        settings: that it was trained with.
        split: that was scored.
        draw: number of the draw, from 0.
        trained_parameters: of its decoder.

    Raises:
        RunError: a file of the run is missing or damaged.
        SplitError: splits.json of the run is.
    """
    path = report_folder(run, split=split) / "summary.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = report["classes"]
        scores = {metric["metric"]: _number(metric["interval"]["mean"]) for metric in rows[-1]["metrics"]}
        cases = len(load_splits(RunFolder(run).splits).train)
        interval = {name: _number(value) for name, value in _find_dice(rows[-1])["interval"].items()}
        return Draw(
            method=settings.model.decoder.method,
            shots=cases if settings.shots is None else settings.shots,
            draw=draw,
            seed=settings.train.seed,
            run=run,
            cases=cases,
            scores={metric: scores[metric] for metric in METRICS},
            dice=Interval(**interval),
            classes={
                row["class_name"]: _number(_find_dice(row)["interval"]["mean"])
                for row in rows[:-1]
                if row.get("kind") != "mean"
            },
            with_target=rows[-1]["with_target"],
            missed=rows[-1]["missed"],
            false_alarms=rows[-1]["false_alarms"],
            failed=len(report["failures"]),
            trained_parameters=trained_parameters,
            train_seconds=_read_seconds(RunFolder(run).metrics),
            dice_present=_number(_find_dice(rows[-1])["mean_with_target"]),
            empty=rows[-1]["both_empty"] + rows[-1]["false_alarms"],
            undecided=rows[-1].get("undecided", 0),  # reports of earlier versions have none
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise RunError(f"{run} is damaged ({error!r}); delete this folder and use --resume") from error


def _find_dice(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(metric for metric in row["metrics"] if metric["metric"] == "dice")
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _read_seconds(path: Path) -> float:
    with path.open(newline="", encoding="utf-8") as file:
        return round(sum(float(row["seconds"]) for row in csv.DictReader(file)), 3)

"""`reproduce`: train a published row, score it under the paper's protocol and ours, and compare."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dinoseg.config.training import Training
from dinoseg.data import open_dataset
from dinoseg.errors import DinosegError, RunError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.evaluation.statistics import Interval
from dinoseg.evaluation.summary import Protocol
from dinoseg.model.saved import SavedModel
from dinoseg.outputs import claim, refuse_taken, to_plain, write_csv, write_json
from dinoseg.progress import Progress, Silent
from dinoseg.training.fitting import train
from dinoseg.training.published.recipes import Recipe

OUTCOME = "outcome.json"
TABLE = "reproduce.csv"
_EPOCHS = 10  # that a number of steps is divided into


@dataclass(frozen=True)
class Outcome:
    """A row that was run again.

    Attributes:
        name: of the row.
        method: that was trained.
        published: Dice of the paper; None where it could not be sourced.
        paper: Dice under the paper's protocol, on the test split; None for volumes, which have none.
        native: Dice under ours.
        marks: how this differs from the paper: stand-ins, shortenings.
        flaws: of the data and of the published split.
        note: on the published figure.
    """

    name: str
    method: str
    published: float | None
    paper: Interval | None
    native: Interval
    marks: tuple[str, ...]
    flaws: tuple[str, ...] = ()
    note: str = ""

    @property
    def compared(self) -> Interval:
        """What stands beside the published figure: the paper's protocol where it applies."""
        return self.native if self.paper is None else self.paper

    @property
    def difference(self) -> float | None:
        """Ours minus the published figure."""
        return None if self.published is None else self.compared.mean - self.published

    @property
    def inside(self) -> bool | None:
        """Whether the published figure lies in our interval; None where either is not known."""
        if self.published is None or math.isnan(self.compared.low):
            return None
        return self.compared.low <= self.published <= self.compared.high


def reproduce(
    recipes: Sequence[Recipe],
    data: Path | str,
    out: Path | str,
    *,
    how: Training | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
) -> tuple[Outcome, ...]:
    """Train and score published rows; what is finished already is not done again.

    Args:
        recipes: rows, from `choose_recipes`.
        data: folder of the data sets, each in a folder as its layout says.
        out: a folder for each row, and reproduce.csv.
        how: backbone ("" for that of the paper), seed, device, licence and changed settings; all else is
            the paper's.
        steps: so many training steps in place of the published number.
        progress: shows the bars and lines.

    Returns:
        One outcome for each row whose data are there, in order.

    Raises:
        UsageError: no row has its data there.
        OutputError: reproduce.csv is there and not ours.
        DinosegError: a run failed; the error names the row.
    """
    data, out, progress, how = Path(data), Path(out), progress or Silent(), how or Training(backbone="")
    places = [(recipe, recipe.find_data(data)) for recipe in recipes]
    found = [(recipe, *place) for recipe, place in places if place is not None]
    if not found:
        folders = sorted({name for recipe in recipes for name in recipe.data.folders})
        raise UsageError(
            f"{data} holds none of {', '.join(folders) or 'the data'}; `dinoseg reproduce` without --data "
            "says where they are published"
        )
    refuse_taken([out / TABLE], overwrite=True)
    claim(out)
    outcomes: list[Outcome] = []
    for recipe, place, stand_in in found:
        work = _Work(recipe, place, stand_in, out / recipe.row.name, _complete(recipe, how, steps), steps)
        try:
            outcomes.append(_run_once(work, progress))
        except DinosegError as error:
            raise type(error)(f"{recipe.row.name}: {error}") from error
        _write_table(out / TABLE, outcomes)
    return tuple(outcomes)


@dataclass(frozen=True)
class _Work:
    """A row that is to be run: on which data, where to, and how."""

    recipe: Recipe
    data: Path
    stand_in: str
    out: Path
    how: Training
    steps: int | None

    @property
    def marks(self) -> tuple[str, ...]:
        """How this differs from the paper, for every line that is printed of it."""
        backbone = Path(str(self.how.backbone)).name
        changes = {key: value for key, value in (self.how.changes or {}).items() if key != "cache.folder"}
        if self.steps is not None:
            for key in _shorten(self.steps):
                changes.pop(key, None)
        shown = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in changes.items())
        return tuple(
            mark
            for mark in (
                f"stand-in backbone {backbone}" if backbone != self.recipe.table.backbone else "",
                f"stand-in data {self.stand_in}" if self.stand_in else "",
                f"{self.steps} steps, not the published number" if self.steps is not None else "",
                f"changed {shown}" if shown else "",
            )
            if mark
        )

    def describe(self) -> dict[str, Any]:
        """What an outcome is only valid for."""
        changes = {key: str(value) for key, value in (self.how.changes or {}).items()}
        row = to_plain(self.recipe.row.model_dump(mode="json"))
        return {"row": row, "data": str(self.data), "changes": changes, "seed": self.how.seed,
                "backbone": str(self.how.backbone)}  # fmt: skip


def _complete(recipe: Recipe, how: Training, steps: int | None) -> Training:
    shortened = {} if steps is None else _shorten(steps)
    return replace(
        how,
        method=recipe.table.method,
        backbone=how.backbone or recipe.table.backbone,
        preset="paper",
        shots=recipe.row.shots,
        shots_from="random" if recipe.row.shots is None else "first",
        changes={**shortened, **(how.changes or {})},
    )


def _shorten(steps: int) -> dict[str, Any]:
    epochs = min(_EPOCHS, steps)
    return {
        "train.epochs": epochs,
        "train.steps_per_epoch": -(-steps // epochs),
        "train.validate_every": epochs,
    }


def _run_once(work: _Work, progress: Progress) -> Outcome:
    path, wanted = work.out / OUTCOME, work.describe()
    if path.is_file():
        stored = _read(path)
        if stored["of"] != wanted:
            raise RunError(
                f"{work.out} was made with other settings or data; give them again, or another --out"
            )
        progress.note(f"{work.recipe.row.name} is there already")
        return _from_scores(work, stored["scores"])
    progress.note(f"{work.recipe.row.name}: {'; '.join(work.marks) or 'as published'}")
    run = work.out / "run"
    if not (run / "model" / "README.md").is_file():
        train(
            work.data, run, how=replace(work.how, resume=(run / "config.yaml").is_file()), progress=progress
        )
    scores = _score(work, run, progress)
    write_json(path, {"of": wanted, "scores": scores}, overwrite=True)
    return _from_scores(work, to_plain(scores))


def _score(work: _Work, run: Path, progress: Progress) -> dict[str, Interval]:
    dataset = open_dataset(work.data)
    protocols: tuple[Protocol, ...] = ("native",) if dataset.is_volumes else ("paper", "native")
    found: dict[str, Interval] = {}
    for protocol in protocols:
        evaluation = evaluate(
            SavedModel(run, device=work.how.device, accept_license=work.how.accept_license),
            dataset,
            protocol=protocol,
            out=work.out / f"report-{protocol}",
            overwrite=True,
            progress=progress,
        )
        found[protocol] = evaluation.headline.metric("dice").interval
    return found


def _from_scores(work: _Work, scores: Mapping[str, Mapping[str, float | None]]) -> Outcome:
    intervals = {
        name: Interval(**{key: math.nan if value is None else value for key, value in values.items()})
        for name, values in scores.items()
    }
    row = work.recipe.row
    return Outcome(
        name=row.name,
        method=work.recipe.table.method,
        published=row.published.get("dice"),
        paper=intervals.get("paper"),
        native=intervals["native"],
        marks=work.marks,
        flaws=work.recipe.data.flaws,
        note=row.note,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"of": stored["of"], "scores": {**stored["scores"]}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); move it away, and the row is scored again") from error


def _write_table(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write these rows, and keep those of earlier calls for others."""
    rows = {outcome.name: _to_row(outcome) for outcome in outcomes}
    earlier: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            earlier = [dict(row) for row in csv.DictReader(file) if row.get("row") not in rows]
    write_csv(path, [*earlier, *rows.values()], overwrite=True)


def _name_interval(name: str, found: Interval | None) -> dict[str, float | None]:
    ends = (None,) * 3 if found is None else (found.mean, found.low, found.high)
    values = dict(zip(("dice", "low", "high"), ends, strict=True))
    return {
        f"{name}_{key}": None if value is None or math.isnan(value) else round(value, 4)
        for key, value in values.items()
    }


def _to_row(outcome: Outcome) -> dict[str, Any]:
    paper = outcome.paper
    return {
        "row": outcome.name,
        "method": outcome.method,
        "published_dice": outcome.published,
        **_name_interval("paper", paper),
        **_name_interval("native", outcome.native),
        "difference": None if outcome.difference is None else round(outcome.difference, 4),
        "published_in_interval": outcome.inside,
        "marks": "; ".join(outcome.marks),
        "flaws": "; ".join(outcome.flaws),
    }

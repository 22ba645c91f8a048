"""`dinoseg reproduce`: the published tables, where their data are, and what comes of running them again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Assignments, Debug, Json, Seed, Threads, TrainDevice
from dinoseg.cli.output import Output, session
from dinoseg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dinoseg.evaluation.statistics import Interval
    from dinoseg.training.published.recipes import Recipe
    from dinoseg.training.published.reproduction import Outcome

COLUMNS = ("row", "published", "paper's protocol", "ours", "difference", "inside", "marks")


def reproduce(
    table: Annotated[
        str | None, typer.Argument(help="A table or a row of one; all if not given.", metavar="[TABLE]")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the data sets; without it, where they are published.", metavar="DIR"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the runs and the table go.", metavar="DIR")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="In place of the paper's, which every line then says.", metavar="NAME"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Training steps in place of the published number; every line says it.", min=1),
    ] = None,
    seed: Seed = 0,
    assignments: Assignments = None,
    device: TrainDevice = "cpu",
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the rows of the papers' tables again, and compare.

    Without --data: where each data set is published, its licence, and the layout to put it in. What is
    finished stays: the same command goes on.

    Example: dinoseg reproduce few-shot --data data/ --out reproduced/
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again to go on") as output:
        from dinoseg.training.published.recipes import choose_recipes

        recipes = choose_recipes(table)
        if data is None:
            if out is not None or steps is not None or assignments:
                raise UsageError("--out, --steps and --set are for training; name the data with --data DIR")
            tell_sources(output, recipes)
            return
        if out is None:
            raise UsageError("--data trains; say where the runs go with --out DIR")
        output.begin(f"reproducing {table or 'every table'} -> {out}")
        from dinoseg.cli.training import SETTINGS, choose_training
        from dinoseg.training.published.reproduction import reproduce as run

        given = {
            "backbone": backbone or "",
            "seed": seed,
            "device": device,
            "accept_license": accept_license,
            "assignments": assignments,
            "threads": threads,
            **dict.fromkeys(SETTINGS),
        }
        how = choose_training(given, output.progress)
        outcomes = run(recipes, data, out, how=how, steps=steps, progress=output.progress)
        output.facts = {"out": out, "rows": outcomes}
        tell_outcomes(output, outcomes)
        missing = [recipe.row.name for recipe in recipes if recipe.find_data(data) is None]
        if missing:
            output.line(f"{len(missing)} rows have no data in {data}: {', '.join(missing)}")
        output.line(f"table: {out / 'reproduce.csv'}")


def tell_sources(output: Output, recipes: Sequence[Recipe]) -> None:
    """Show the published figures, and where the data are, under which licence, in which layout."""
    rows = [
        (each.row.name, each.table.method, each.table.source, *_published(each), each.row.note)
        for each in recipes
    ]
    output.facts = {"rows": [each.row for each in recipes], "data": [each.data for each in recipes]}
    output.table(("row", "method", "source", "Dice", "IoU", "HD95", "note"), rows)
    output.line("an empty figure could not be sourced, and is not compared")
    for data in dict.fromkeys(id(each.data) for each in recipes):
        found = next(each.data for each in recipes if id(each.data) == data)
        output.line()
        output.line(found.title)
        output.line(f"  published: {found.place}")
        output.line(f"  licence:   {found.license}")
        output.line(f"  layout:    {found.layout}")
        for flaw in found.flaws:
            output.line(f"  known flaw: {flaw}")


def tell_outcomes(output: Output, outcomes: Sequence[Outcome]) -> None:
    """Show ours beside the published figures; marks stand in every line, flaws below."""
    output.table(COLUMNS, [_show(each) for each in outcomes], title="Dice on the test split, 95 % interval")
    for each in outcomes:
        lines = [*each.flaws, *([each.note] if each.note else [])]
        output.line(f"{each.name} ({'; '.join(each.marks) or 'as published'}): {'; '.join(lines)}")


def _published(recipe: Recipe) -> tuple[str, str, str]:
    figures = recipe.row.published
    shown = [f"{figures[name]:.4f}" if name in figures else "" for name in ("dice", "iou")]
    return shown[0], shown[1], f"{figures['hd95']:.2f}" if "hd95" in figures else ""


def _show(each: Outcome) -> tuple[str, ...]:
    return (
        each.name,
        "" if each.published is None else f"{each.published:.4f}",
        "" if each.paper is None else _interval(each.paper),
        _interval(each.native),
        "" if each.difference is None else f"{each.difference:+.4f}",
        {None: "", True: "yes", False: "no"}[each.inside],
        "; ".join(each.marks),
    )


def _interval(found: Interval) -> str:
    known = math.isfinite(found.low)
    return f"{found.mean:.4f} ({found.low:.4f} to {found.high:.4f})" if known else f"{found.mean:.4f}"

"""`dinoseg ensemble`: several runs become one model, which averages what they say."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import Debug, Json, Overwrite
from dinoseg.cli.output import session


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders with equal classes, or ensembles.", metavar="RUN...")
    ],
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="DIR")],
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make one model of several runs: their class probabilities are averaged.

    The models are copied; backbones stay where they are. Backbones and input sizes may differ.

    Example: dinoseg ensemble runs/a runs/b --out runs/both
    """
    with session(as_json=as_json, debug=debug) as output:
        output.begin(f"making one model of {', '.join(map(str, runs))} -> {out}")
        from dinoseg.model.assembling import make_ensemble

        made = make_ensemble(runs, out, overwrite=overwrite, progress=output.progress)
        output.facts = {"out": out, "members": made.members, "postprocessing": made.postprocessing}
        output.line(f"an ensemble of {len(made.members)} models -> {out}")
        output.line(f"next: dinoseg predict {shlex.quote(str(out))} INPUT --out masks")

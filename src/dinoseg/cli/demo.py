"""`dinoseg demo`: drawn pictures, training, evaluation and prediction, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import Debug, Json, Overwrite
from dinoseg.cli.output import session

CLAIM = (
    "Synthetic phantoms and an untrained backbone: this shows the steps, it is no claim about accuracy on "
    "patients."
)


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.", metavar="DIR")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller pictures; worse masks.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train, evaluate and predict offline, on drawn pictures.

    Example: dinoseg demo --out demo
    """
    with session(as_json=as_json, debug=debug, resume="run the same command with --overwrite") as output:
        from dinoseg.cli.walkthrough import FULL, QUICK, walk_through

        output.line(CLAIM)
        result = walk_through(out, QUICK if quick else FULL, overwrite=overwrite, progress=output.progress)
        output.facts = {"claim": CLAIM, "result": result}
        for line in result.lines():
            output.line(line)

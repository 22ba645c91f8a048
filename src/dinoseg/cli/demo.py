"""`dinoseg demo`: drawn pictures, training, evaluation and prediction, offline, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoseg.cli.options import Debug, Json, Overwrite
from dinoseg.cli.output import Output, session, suggest_folder

if TYPE_CHECKING:
    from dinoseg.cli.walkthrough import DemoResult

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
        output.begin(f"demo -> {out}")
        from dinoseg.cli.evaluate import describe_evaluation, tell_scores
        from dinoseg.cli.walkthrough import FULL, QUICK, walk_through

        output.line(CLAIM)
        plan = QUICK if quick else FULL
        result = walk_through(out, plan, claim=CLAIM, overwrite=overwrite, progress=output.progress)
        output.facts = {
            "claim": CLAIM,
            "contact_sheet": result.sheet,
            "overlays": result.overlays,
            "run": result.run,
            "data": result.data,
            **describe_evaluation(result.evaluation),
        }
        tell_scores(output, result.evaluation, title="test split of the drawn pictures")
        _tell_where_to_look(output, result)


def _tell_where_to_look(output: Output, result: DemoResult) -> None:
    output.line()
    output.line(CLAIM)
    output.line(f"look first at:     {result.sheet}")
    output.line(f"masks on pictures: {result.overlays}")
    output.line(f"run folder:        {result.run}")
    output.line()
    output.line("with your own images and masks:")
    output.line("  dinoseg data check DATA")
    output.line(f"  dinoseg train DATA --out {suggest_folder(Path('runs/first'))}")

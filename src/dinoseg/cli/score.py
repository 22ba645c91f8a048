"""`dinoseg score`: anybody's masks against labels, and observers against each other; no model is needed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoseg.cli.evaluate import describe_evaluation, tell_scores
from dinoseg.cli.options import Debug, Json, Overwrite
from dinoseg.cli.output import Output, session
from dinoseg.errors import DataError, UsageError

if TYPE_CHECKING:
    from dinoseg.evaluation.scoring.observers import Agreement
    from dinoseg.evaluation.statistics import Interval


def score(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of masks and folder of labels; with --observers two or more folders of masks.",
            metavar="PREDICTIONS LABELS",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write a report with tables and pictures here.", metavar="DIR")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="What the values in the files mean, such as 1=liver,2+3=tumour; as declared or found "
            "if not given.",
            metavar="VALUE=NAME,...",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Of the NSD, in mm where the spacing is known, else px.", min=0, metavar="T"),
    ] = None,
    match_iou: Annotated[
        float, typer.Option(help="Two lesions match where their IoU is above this.", min=0, metavar="IOU")
    ] = 0.0,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="Table with the column case or group, whose other columns are strata; metadata.csv beside "
            "the labels if not given.",
            metavar="FILE",
        ),
    ] = None,
    observers: Annotated[
        bool, typer.Option("--observers", help="The folders are annotators: how well do they agree?")
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            help="The run that made the masks: which cases was it trained on? With --observers a folder "
            "with masks of a model: where does it stand?",
            metavar="DIR",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.", min=0)] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score masks that are there already, whoever made them.

    Files are paired by name. The tables are those of `evaluate`.

    Example: dinoseg score nnunet/predictions data/labelsTs --classes 1=liver,2=tumour --out report/
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"scoring {', '.join(map(str, folders))}")
        values = None if classes is None else read_classes(classes)
        if observers:
            if tolerance is not None or match_iou or metadata is not None:
                raise UsageError(
                    "--observers compares Dice; leave --tolerance, --match-iou and --metadata out"
                )
            from dinoseg.evaluation.scoring.observers import compare_observers

            agreement = compare_observers(
                folders,
                model=model,
                classes=values,
                out=out,
                seed=seed,
                overwrite=overwrite,
                progress=output.progress,
            )
            tell_agreement(output, agreement)
            return
        predictions, labels = _two_folders(folders)
        from dinoseg.evaluation.scoring.scorer import score as run_scoring

        evaluation = run_scoring(
            predictions,
            labels,
            classes=values,
            tolerance=tolerance,
            match_iou=match_iou,
            metadata=metadata,
            model=model,
            out=out,
            seed=seed,
            overwrite=overwrite,
            progress=output.progress,
        )
        output.facts = {"predictions": predictions, "labels": labels, **describe_evaluation(evaluation)}
        tell_scores(output, evaluation, title=f"{predictions} against {labels}")
        if evaluation.failures:
            output.problem(f"{len(evaluation.failures)} cases could not be scored and are in no mean")
            output.exit_code = DataError.exit_code


def read_classes(text: str) -> dict[str, tuple[int, ...]]:
    """`"1=liver,2+3=tumour"` as name -> values.

    Raises:
        UsageError: another form, or a name twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in text.split(","):
        values, _, name = (word.strip() for word in part.partition("="))
        numbers = [number.strip() for number in values.split("+")]
        if not name or name in found or not all(number.isdecimal() for number in numbers):
            raise UsageError(
                f"--classes {text!r}: accepted are values and names, each once, such as 1=liver,2+3=tumour"
            )
        found[name] = tuple(map(int, numbers))
    return found


def _two_folders(folders: list[Path]) -> tuple[Path, Path]:
    if len(folders) != 2:
        raise UsageError(
            f"score takes PREDICTIONS and LABELS, given {len(folders)} folders; to compare annotators add "
            "--observers"
        )
    return folders[0], folders[1]


def tell_agreement(output: Output, found: Agreement) -> None:
    """Show every two observers, everyone against the others, and where the model stands."""
    from dinoseg.evaluation.comparison.words import show_p
    from dinoseg.evaluation.scoring.observers import AGREEMENT_TEXT, STANDING_TEXT
    from dinoseg.evaluation.statistics import Interval

    output.facts = dict(vars(found))
    names = ", ".join(found.classes.values())
    title = f"{found.cases} cases of {found.groups} groups; {names}"
    pairs = [(f"{pair.first} - {pair.second}", *_numbers(pair.dice)) for pair in found.pairs]
    output.table(("pair", "Dice", "95 % interval"), pairs, title=title)
    members = [
        (row.name + (" (model)" if row.is_model else ""), *_numbers(row.dice), str(row.rank))
        for row in found.members
    ]
    output.table(("with the observers", "Dice", "95 % interval", "rank"), members)
    if found.left_out:
        output.line(f"{len(found.left_out)} left out, not everybody has them: {', '.join(found.left_out)}")
    if found.model is not None:
        test = found.model
        between = _numbers(Interval(test.difference, test.low, test.high))[1]
        output.line(f"model minus observers: {test.difference:+.3f} ({between}), p {show_p(test.p)}")
        output.line(STANDING_TEXT)
    output.line(AGREEMENT_TEXT)
    if found.out is not None:
        output.line(f"tables: {found.out}")


def _numbers(interval: Interval) -> tuple[str, str]:
    known = math.isfinite(interval.low)
    return f"{interval.mean:.3f}", f"{interval.low:.3f} to {interval.high:.3f}" if known else "unknown"

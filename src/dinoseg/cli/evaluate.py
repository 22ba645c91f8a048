"""`dinoseg evaluate`: scores on a split, with intervals and with misses beside every mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinoseg.cli.options import (
    AcceptLicense,
    BackbonePlace,
    BatchSize,
    DataFolder,
    Debug,
    Device,
    Engine,
    Flips,
    Json,
    Overlap,
    Overwrite,
    Planes,
    Precision,
    RawMasks,
    RunOrBundle,
    Splits,
    Threads,
    Window,
    parse_planes,
)
from dinoseg.cli.output import Output, session
from dinoseg.cli.parts import tell_confidence, tell_lesions, tell_strata
from dinoseg.errors import DataError, UsageError

if TYPE_CHECKING:
    from dinoseg.evaluation import ClassSummary, Evaluation, PostprocessingChoice
    from dinoseg.evaluation.summary import MetricSummary

Protocol = Literal["native", "paper"]
Split = Literal["test", "val", "train", "all"]
COLUMNS = ("class", "score", "mean", "95 % interval", "median", "cases", "with target", "missed")
PRESENT = "mean, class present"


def evaluate(
    run: RunOrBundle,
    data: DataFolder,
    split: Annotated[Split, typer.Option(help="Which part of the data.")] = "test",
    out: Annotated[
        Path | None, typer.Option(help="Write a report with tables and pictures here.", metavar="DIR")
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option(help="native: at the size of the images; paper: as published.")
    ] = "native",
    splits: Splits = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Of the NSD, in mm where the spacing is known, else px.", min=0, metavar="T"),
    ] = None,
    window: Window = None,
    overlap: Overlap = 0.25,
    flips: Flips = None,
    planes: Planes = None,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose-postprocessing",
            help="First try on the split val what cleaning helps each class, and keep it with the model.",
        ),
    ] = False,
    raw_masks: RawMasks = False,
    overwrite: Overwrite = False,
    backbone: BackbonePlace = None,
    device: Device = "cpu",
    precision: Precision = None,
    engine: Engine = None,
    threads: Threads = None,
    batch_size: BatchSize = 8,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a model on a split, with intervals and misses.

    Dice, IoU, HD95, ASSD and NSD of each class, and of each declared region.

    Example: dinoseg evaluate runs/kvasir data/kvasir --split test --out runs/kvasir/report
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"evaluating {run} on {data}")
        from dinoseg.cli.devices import keep_freed_memory, name_model
        from dinoseg.config import Inference
        from dinoseg.evaluation import choose_postprocessing
        from dinoseg.evaluation import evaluate as run_evaluation
        from dinoseg.sharing import resolve

        keep_freed_memory()
        if choose and raw_masks:
            raise UsageError("--choose-postprocessing and --no-postprocessing exclude each other")
        if choose and split != "val":
            raise UsageError(
                f"postprocessing is chosen on the split val, given {split}: scores of cases that it was "
                "chosen on say nothing about others"
            )
        how = Inference(
            window=window,
            overlap=overlap,
            flips=flips,
            batch_size=batch_size,
            planes=parse_planes(planes),
            postprocess=not raw_masks,
        )
        run = resolve(run, output.progress)
        model = name_model(
            run,
            backbone=backbone,
            accept_license=accept_license,
            device=device,
            precision=precision,
            engine=engine,
            threads=threads,
        )
        shown = output.progress
        choice = (
            choose_postprocessing(model, data, splits=splits, how=how, progress=shown) if choose else None
        )
        evaluation = run_evaluation(
            model,
            data,
            split=split,
            protocol=protocol,
            splits=splits,
            tolerance=tolerance,
            out=out,
            overwrite=overwrite,
            how=how,
            progress=shown,
        )
        output.facts = {"run": run, "data": data, "split": split, **describe_evaluation(evaluation)}
        if choice is not None:
            output.facts["postprocessing"] = choice.classes
            tell_choice(output, choice)
        tell_scores(output, evaluation, title=f"{run} on {data}, split {split}, protocol {protocol}")
        if evaluation.failures:
            output.problem(f"{len(evaluation.failures)} cases could not be read and are in no mean")
            output.exit_code = DataError.exit_code


def describe_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """What a program wants to know of an evaluation; the scores of single cases are in the report."""
    return {
        "protocol": evaluation.protocol,
        "tolerance": evaluation.tolerance,
        "unit": evaluation.unit,
        "classes": evaluation.summaries,
        "strata": evaluation.strata,
        "trained_on": dict(evaluation.trained_on),
        "failures": evaluation.failures,
        "confidence": None if evaluation.reliability is None else evaluation.reliability.describe(),
        "report": evaluation.report,
    }


def tell_choice(output: Output, choice: PostprocessingChoice) -> None:
    """Show what was chosen for each class, and what it did to the validation cases."""
    from dinoseg.config import describe_steps

    rows = [
        (
            found.class_name,
            describe_steps(found.steps, choice.settings.size_unit),
            f"{found.before:.4f}",
            f"{found.after:.4f}",
        )
        for found in choice.classes
    ]
    title = f"postprocessing chosen on {choice.cases} validation cases and kept with the model"
    output.table(("class", "steps", "Dice before", "Dice after"), rows, title=title)


def tell_scores(output: Output, evaluation: Evaluation, *, title: str) -> None:
    """Show the table of scores, what it means, and where the report is."""
    from dinoseg.evaluation.definitions import REGIONS_TEXT, UNDECIDED_TEXT

    columns, rows = _tabulate(evaluation.summaries)
    output.table(columns, rows, title=title)
    tell_lesions(output, evaluation.summaries)
    tell_strata(output, evaluation.strata)
    tell_confidence(output, evaluation)
    lines = evaluation.policy
    # The definitions of the five scores are on the page of the report.
    wanted = {REGIONS_TEXT, *((UNDECIDED_TEXT,) if evaluation.headline.undecided else ())}
    for line in (lines[0], *(line for line in lines if line in wanted), *lines[-2:]):
        output.line(line)
    if evaluation.report is not None:
        output.line(f"report with pictures: {evaluation.report}")


def _tabulate(summaries: Sequence[ClassSummary]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows; where targets are empty, the mean over the others comes before that over all."""
    empty = any(summary.empty for summary in summaries)
    undecided = any(summary.undecided for summary in summaries)
    columns = (*COLUMNS, *(("empty",) if empty else ()), "false alarms")
    if empty:
        columns = (*columns[:2], PRESENT, "mean, all cases", *columns[3:])
    if undecided:
        columns = (*columns, "undecided")
    return columns, [row for summary in summaries for row in _rows(summary, empty=empty, undecided=undecided)]


def _rows(summary: ClassSummary, *, empty: bool, undecided: bool) -> Iterator[tuple[str, ...]]:
    from dinoseg.evaluation.definitions import DISTANCES, TITLES

    counts = [summary.with_target, summary.missed, *([summary.empty] if empty else []), summary.false_alarms]
    counts += [summary.undecided] if undecided else []
    for index, metric in enumerate(summary.metrics):
        unit = f" ({summary.unit})" if metric.metric in DISTANCES else ""
        digits = 1 if unit else 3
        yield (
            summary.title if index == 0 else "",
            TITLES[metric.metric] + unit,
            *((_show(metric.mean_with_target, digits),) if empty else ()),
            *_numbers(metric, digits=digits),
            *(str(count) if index == 0 else "" for count in counts),
        )


def _numbers(metric: MetricSummary, *, digits: int) -> tuple[str, str, str, str]:
    interval = metric.interval
    low, high = _show(interval.low, digits), _show(interval.high, digits)
    between = f"{low} to {high}" if math.isfinite(interval.low) else "unknown"
    return _show(interval.mean, digits), between, _show(metric.median, digits), str(metric.cases)


def _show(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"

"""`dinoseg evaluate`: scores on a split, with intervals and with misses beside every mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dinoseg.cli.options import (
    AcceptLicense,
    BackbonePlace,
    DataFolder,
    Debug,
    Device,
    Json,
    Overwrite,
    RunFolder,
    Splits,
)
from dinoseg.cli.output import Output, session

if TYPE_CHECKING:
    from dinoseg.evaluation.summary import ClassSummary, MetricSummary

Protocol = Literal["native", "paper"]
Split = Literal["test", "val", "train"]
COUNTS = ("with target", "missed", "false alarms")
COLUMNS = ("class", "score", "mean", "95 % interval", "median", "cases", *COUNTS)


def evaluate(
    run: RunFolder,
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
    overwrite: Overwrite = False,
    backbone: BackbonePlace = None,
    device: Device = "cpu",
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score a model on a split, with intervals and misses.

    Dice, IoU, HD95, ASSD and NSD of each class.

    Example: dinoseg evaluate runs/kvasir data/kvasir --split test --out runs/kvasir/report
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        from dinoseg.cli.devices import check_device
        from dinoseg.evaluation import evaluate as run_evaluation
        from dinoseg.model import load

        model = load(
            run,
            backbone=backbone,
            accept_license=accept_license,
            device=check_device(device),
            progress=output.progress,
        )
        options = {} if tolerance is None else {"tolerance": tolerance}
        evaluation = run_evaluation(
            model,
            data,
            split=split,
            protocol=protocol,
            splits=splits,
            out=out,
            overwrite=overwrite,
            progress=output.progress,
            **options,
        )
        output.facts = {"run": run, "data": data, "split": split, "protocol": protocol, "report": out}
        output.facts["classes"] = evaluation.summaries
        tell_summaries(
            output, evaluation.summaries, title=f"{run} on the {split} split of {data}, {protocol}"
        )


def tell_summaries(output: Output, summaries: Sequence[ClassSummary], *, title: str) -> None:
    """Show the table of scores and what it means."""
    from dinoseg.evaluation.definitions import EMPTY_TEXT, INTERVAL_TEXT

    rows = [row for summary in summaries for row in _rows(summary)]
    output.table(COLUMNS, rows, title=title)
    output.line(INTERVAL_TEXT)
    output.line(EMPTY_TEXT)


def _rows(summary: ClassSummary) -> Iterator[tuple[str, ...]]:
    from dinoseg.evaluation.definitions import DISTANCES, TITLES

    counts = tuple(str(count) for count in (summary.with_target, summary.missed, summary.false_alarms))
    for index, metric in enumerate(summary.metrics):
        unit = f" ({summary.unit})" if metric.metric in DISTANCES else ""
        yield (
            summary.class_name if index == 0 else "",
            TITLES[metric.metric] + unit,
            *_numbers(metric, digits=1 if unit else 3),
            *(counts if index == 0 else ("", "", "")),
        )


def _numbers(metric: MetricSummary, *, digits: int) -> tuple[str, str, str, str]:
    interval = metric.interval
    low, high = _show(interval.low, digits), _show(interval.high, digits)
    between = f"{low} to {high}" if math.isfinite(interval.low) else "unknown"
    return _show(interval.mean, digits), between, _show(metric.median, digits), str(metric.cases)


def _show(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"

"""`dinoseg curve`: what more labels bring, as a picture and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import (
    AcceptLicense,
    Backbone,
    DataFolder,
    Debug,
    Json,
    Overwrite,
    Splits,
    Threads,
    TrainBatchSize,
    TrainDevice,
    TrainPrecision,
)
from dinoseg.cli.output import session
from dinoseg.cli.spreads import tell_curve
from dinoseg.cli.train import Preset, ScoredSplit, ShotsFrom, ShotUnit
from dinoseg.errors import UsageError


def curve(
    data: DataFolder,
    shots: Annotated[str, typer.Option(help="Numbers of cases, such as 1,5,10,25,40.", metavar="K,K")],
    methods: Annotated[
        str, typer.Option(help="Methods of `dinoseg info methods`, with commas.", metavar="METHOD,METHOD")
    ],
    backbone: Backbone,
    out: Annotated[Path, typer.Option(help="The folder for picture, tables and runs.", metavar="DIR")],
    draws: Annotated[
        int, typer.Option(help="Trainings of each method and number of shots.", min=1, metavar="N")
    ] = 3,
    preset: Annotated[
        Preset, typer.Option(help="default: our recipe; paper: the methods' published ones.")
    ] = "default",
    shots_from: Annotated[
        ShotsFrom, typer.Option(help="Draw the shots (seeded), or take the first of the training split.")
    ] = "random",
    shot_unit: Annotated[ShotUnit, typer.Option(help="What one shot is; a group is a patient.")] = "case",
    split: Annotated[
        ScoredSplit | None,
        typer.Option(help="What is scored; test where it holds cases, else val, if not given."),
    ] = None,
    splits: Splits = None,
    seed: Annotated[int, typer.Option(help="Of the first draw.", min=0)] = 0,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of `dinoseg info settings`, or METHOD:KEY=VALUE for one; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    device: TrainDevice = "cpu",
    precision: TrainPrecision = None,
    batch_size: TrainBatchSize = None,
    threads: Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted curve.")] = False,
    overwrite: Overwrite = False,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train methods on growing numbers of labelled cases, and draw what they reach.

    Example: dinoseg curve data --shots 1,5,10 --methods segdino-v1,linear --backbone dinov3_vits16 --out c
    """
    with session(
        as_json=as_json, debug=debug, resume="run the same command with --resume to go on"
    ) as output:
        from dinoseg.cli.devices import check_device, keep_freed_memory, limit_threads
        from dinoseg.cli.settings import collect_changes

        numbers = parse_shots(shots)
        changes = collect_changes(
            assignments, {"model.backbone.precision": precision, "train.batch_size": batch_size}
        )
        limit_threads(threads)
        keep_freed_memory()
        check_device(device, training=True)
        from dinoseg.training import learn_curve

        found = learn_curve(
            data,
            methods=_split_list(methods),
            shots=numbers,
            backbone=backbone,
            out=out,
            draws=draws,
            preset=preset,
            shots_from=shots_from,
            shot_unit=shot_unit,
            split=split,
            splits=splits,
            changes=changes,
            seed=seed,
            device=device,
            accept_license=accept_license,
            resume=resume,
            overwrite=overwrite,
            progress=output.progress,
        )
        output.facts = {"out": out, "split": found.split, "picture": found.picture, "table": found.table}
        output.facts |= {"summary": found.summary, "repeats": found.repeats}
        tell_curve(output, found)


def parse_shots(text: str) -> list[int]:
    """The numbers of `1,5,10`.

    Raises:
        UsageError: something else.
    """
    words = _split_list(text)
    wrong = [word for word in words if not word.isdecimal() or int(word) < 1]
    if wrong or not words:
        raise UsageError(f"--shots takes whole numbers from 1 up with commas, such as 1,5; given {text!r}")
    return [int(word) for word in words]


def _split_list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]

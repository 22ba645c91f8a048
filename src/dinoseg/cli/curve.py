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
    DrawsEach,
    Epochs,
    FirstSeed,
    Json,
    LearningRate,
    MethodAssignments,
    Methods,
    Overwrite,
    Preset,
    ResumeCurve,
    ScoredSplit,
    ShotsFrom,
    ShotUnit,
    Size,
    Splits,
    Threads,
    TrainBatchSize,
    TrainDevice,
    TrainEngine,
    TrainPrecision,
)
from dinoseg.cli.output import session
from dinoseg.cli.spreads import tell_curve
from dinoseg.cli.training import GO_ON, choose_training, take_defaults
from dinoseg.errors import UsageError


def curve(
    data: DataFolder,
    shots: Annotated[str, typer.Option(help="Numbers of cases, such as 1,5,10,25,40.", metavar="K,K")],
    out: Annotated[Path, typer.Option(help="The folder for picture, tables and runs.", metavar="DIR")],
    methods: Methods = None,
    backbone: Backbone = None,
    draws: DrawsEach = 3,
    preset: Preset = "default",
    size: Size = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    shots_from: ShotsFrom = "random",
    shot_unit: ShotUnit = "case",
    split: ScoredSplit = None,
    splits: Splits = None,
    seed: FirstSeed = 0,
    assignments: MethodAssignments = None,
    device: TrainDevice = "cpu",
    precision: TrainPrecision = None,
    engine: TrainEngine = None,
    batch_size: TrainBatchSize = None,
    threads: Threads = None,
    resume: ResumeCurve = False,
    overwrite: Overwrite = False,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train methods on growing numbers of labelled cases, and draw what they reach.

    Example: dinoseg curve data --shots 1,5,10 --methods segdino-v2,linear --out curve
    """
    given = {**locals(), "shots": None}  # the options are named as the fields of Training
    with session(as_json=as_json, debug=debug, resume=GO_ON) as output:
        output.begin(f"learning curve of {data} -> {out}")
        chosen = take_defaults({"methods": methods}, output.progress)
        lists = _split_list(chosen["methods"]), parse_shots(shots)
        how = choose_training(given, output.progress)
        from dinoseg.training import learn_curve

        found = learn_curve(data, out, *lists, draws, split=split, how=how, progress=output.progress)
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

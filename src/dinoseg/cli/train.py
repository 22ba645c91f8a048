"""`dinoseg train`: a folder of images and masks becomes a run folder with a model in it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dinoseg.cli.info import tell_advice
from dinoseg.cli.options import (
    AcceptLicense,
    Assignments,
    Backbone,
    DataFolders,
    Debug,
    Devices,
    Draws,
    DrawsSplit,
    Epochs,
    Folds,
    Init,
    Json,
    LearningRate,
    Method,
    Nodes,
    Overwrite,
    Preset,
    Resume,
    Seed,
    Shots,
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
from dinoseg.cli.output import Output, session, suggest_folder
from dinoseg.cli.processes import find_launch, start
from dinoseg.cli.spreads import tell_draws, tell_folds
from dinoseg.cli.training import GO_ON, choose_training
from dinoseg.errors import UsageError

if TYPE_CHECKING:
    from dinoseg.config.training import Training
    from dinoseg.model.segmenter import Segmenter


def train(
    data: DataFolders,
    out: Annotated[Path, typer.Option(help="The run folder to make.", metavar="RUN")],
    method: Method = None,
    backbone: Backbone = None,
    preset: Preset = "default",
    size: Size = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    shots: Shots = None,
    shots_from: ShotsFrom = "random",
    shot_unit: ShotUnit = "case",
    splits: Splits = None,
    seed: Seed = 0,
    init: Init = None,
    assignments: Assignments = None,
    device: TrainDevice = "cpu",
    devices: Devices = None,
    nodes: Nodes = None,
    precision: TrainPrecision = None,
    engine: TrainEngine = None,
    batch_size: TrainBatchSize = None,
    threads: Threads = None,
    draws: Draws = None,
    folds: Folds = None,
    split: DrawsSplit = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a method's decoder on a frozen backbone.

    Example: dinoseg train data/kvasir --out runs/kvasir
    """
    given = locals()  # the options are named as the fields of Training
    with session(as_json=as_json, debug=debug, resume=GO_ON) as output:
        launch = find_launch(devices, nodes)
        if launch.starts:
            raise typer.Exit(start(launch.devices, threads=threads, as_json=as_json))
        given |= {"devices": launch.devices, "nodes": launch.nodes}
        output.begin(f"training on {', '.join(map(str, data))} -> {out}")
        how = choose_training(given, output.progress)
        _refuse_lone_options(shots, draws, split)
        _refuse_lone_choices(how)
        if folds is not None:
            _refuse_beside_folds(data, shots, draws)
            _train_folds(output, data[0], out, folds, how)
            return
        if draws is None:
            _train_once(output, data, out, how)
            return
        if len(data) > 1:
            raise UsageError("--draws takes one data folder; join the folders in one to repeat over draws")
        from dinoseg.training import train_draws

        found = train_draws(data[0], out, draws, split=split, how=how, progress=output.progress)
        output.facts = {"out": out, "split": found.split, "repeats": found.repeats}
        tell_draws(output, found)


def _train_once(output: Output, data: list[Path], out: Path, how: Training) -> None:
    from dinoseg.training import train

    model = train(data, out, how=how, progress=output.progress)
    from dinoseg.cli.runs import read_advice

    output.facts = {"run": out, **describe_model(model), "advice": read_advice(out)}
    _tell(output, data[0], out)


def _train_folds(output: Output, data: Path, out: Path, folds: int, how: Training) -> None:
    from dinoseg.training import train_folds

    found = train_folds(data, out, folds, how=how, progress=output.progress)
    output.facts = vars(found)
    tell_folds(output, found, data)


def _refuse_beside_folds(data: list[Path], shots: int | None, draws: int | None) -> None:
    if len(data) > 1:
        raise UsageError("--folds takes one data folder; join the folders in one to cross-validate")
    for option, value in (("--shots", shots), ("--draws", draws)):
        if value is not None:
            raise UsageError(f"--folds trains on all cases but those left out; leave {option} out")


def _refuse_lone_options(shots: int | None, draws: int | None, split: str | None) -> None:
    if draws is not None and shots is None:
        raise UsageError("--draws repeats over draws of a few cases; say of how many with --shots K")
    if split is not None and draws is None:
        raise UsageError(
            "--split says what --draws scores; score a single run with `dinoseg evaluate RUN DATA --split`"
        )


def _refuse_lone_choices(how: Training) -> None:
    given = {"--shots-from": how.shots_from != "random", "--shot-unit": how.shot_unit != "case"}
    for option, chosen in given.items():
        if chosen and how.shots is None:
            raise UsageError(f"{option} says how shots are taken; say how many with --shots K")


def describe_model(model: Segmenter) -> dict[str, Any]:
    """What a program wants to know of a model: method, backbone, classes, size, trained parameters."""
    return {
        "method": model.settings.decoder.method,
        "backbone": model.backbone.name,
        "backbone_license": model.backbone.license,
        "classes": model.classes,
        "size": model.size[0],
        "window": model.settings.preprocessing.window,
        "trained_parameters": sum(parameter.numel() for parameter in model.decoder.parameters()),
    }


def _tell(output: Output, data: Path, out: Path) -> None:
    facts = output.facts
    trained = f"{facts['trained_parameters']:,} trained parameters"
    output.line(f"{facts['method']} on {facts['backbone']}, {trained} -> {out}")
    output.line(f"learning curve: {out / 'report' / 'learning_curve.png'}")
    tell_advice(output, facts["advice"])
    run, folder, report = (shlex.quote(str(path)) for path in (out, data, suggest_folder(out / "report")))
    output.line(f"next: dinoseg evaluate {run} {folder} --split test --out {report}")

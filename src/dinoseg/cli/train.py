"""`dinoseg train`: a folder of images and masks becomes a run folder with a model in it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dinoseg.cli.options import (
    AcceptLicense,
    Backbone,
    DataFolder,
    Debug,
    Json,
    Method,
    Overwrite,
    Splits,
    Threads,
    TrainBatchSize,
    TrainDevice,
    TrainPrecision,
)
from dinoseg.cli.output import Output, session
from dinoseg.cli.spreads import tell_draws
from dinoseg.errors import UsageError

if TYPE_CHECKING:
    from dinoseg.model.segmenter import Segmenter

# As in dinoseg.config, which takes too long to import for --help; a test compares them.
Preset = Literal["default", "paper"]
ShotsFrom = Literal["random", "first"]
ShotUnit = Literal["case", "group"]
ScoredSplit = Literal["test", "val"]


def train(
    data: DataFolder,
    out: Annotated[Path, typer.Option(help="The run folder to make.", metavar="RUN")],
    method: Method,
    backbone: Backbone,
    preset: Annotated[
        Preset, typer.Option(help="default: our recipe; paper: the method's published one.")
    ] = "default",
    shots: Annotated[
        int | None, typer.Option(help="Train on so many cases only.", min=1, metavar="K")
    ] = None,
    shots_from: Annotated[
        ShotsFrom, typer.Option(help="Draw the shots (seeded), or take the first of the training split.")
    ] = "random",
    shot_unit: Annotated[ShotUnit, typer.Option(help="What one shot is; a group is a patient.")] = "case",
    splits: Splits = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.", min=0)] = 0,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting of `dinoseg info settings`; may be repeated.", metavar="KEY=VALUE"
        ),
    ] = None,
    device: TrainDevice = "cpu",
    precision: TrainPrecision = None,
    batch_size: TrainBatchSize = None,
    threads: Threads = None,
    draws: Annotated[
        int | None,
        typer.Option(
            help="Train on so many draws of the shots, score each, report the spread.", min=1, metavar="N"
        ),
    ] = None,
    split: Annotated[
        ScoredSplit | None,
        typer.Option(help="What --draws scores; test where it holds cases, else val, if not given."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Overwrite = False,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a method's decoder on a frozen backbone.

    Example: dinoseg train data/kvasir --method segdino-v2 --backbone dinov3_vits16 --out runs/kvasir
    """
    with session(
        as_json=as_json, debug=debug, resume="run the same command with --resume to go on"
    ) as output:
        from dinoseg.cli.devices import check_device, keep_freed_memory, limit_threads
        from dinoseg.cli.settings import collect_changes

        changes = collect_changes(
            assignments, {"model.backbone.precision": precision, "train.batch_size": batch_size}
        )
        limit_threads(threads)
        keep_freed_memory()
        check_device(device, training=True)
        _refuse_lone_options(shots, draws, split)
        _refuse_lone_choices(shots, shots_from, shot_unit)
        common: dict[str, Any] = {
            "method": method,
            "backbone": backbone,
            "out": out,
            "preset": preset,
            "shots": shots,
            "shots_from": shots_from,
            "shot_unit": shot_unit,
            "splits": splits,
            "changes": changes,
            "seed": seed,
            "device": device,
            "accept_license": accept_license,
            "resume": resume,
            "overwrite": overwrite,
            "progress": output.progress,
        }
        if draws is not None:
            from dinoseg.training import train_draws

            found = train_draws(data, draws=draws, split=split, **common)
            output.facts = {"out": out, "split": found.split, "repeats": found.repeats}
            tell_draws(output, found)
            return
        from dinoseg.training import train as run_training

        model = run_training(data, **common)
        output.facts = {"run": out, **describe_model(model)}
        _tell(output, data, out)


def _refuse_lone_options(shots: int | None, draws: int | None, split: str | None) -> None:
    if draws is not None and shots is None:
        raise UsageError("--draws repeats over draws of a few cases; say of how many with --shots K")
    if split is not None and draws is None:
        raise UsageError(
            "--split says what --draws scores; score a single run with `dinoseg evaluate RUN DATA --split`"
        )


def _refuse_lone_choices(shots: int | None, shots_from: str, shot_unit: str) -> None:
    given = {"--shots-from": shots_from != "random", "--shot-unit": shot_unit != "case"}
    for option, chosen in given.items():
        if chosen and shots is None:
            raise UsageError(f"{option} says how shots are taken; say how many with --shots K")


def describe_model(model: Segmenter) -> dict[str, Any]:
    """What a program wants to know of a model: method, backbone, classes, size, trained parameters."""
    return {
        "method": model.settings.decoder.method,
        "backbone": model.backbone.name,
        "backbone_license": model.backbone.license,
        "classes": model.classes,
        "size": model.size[0],
        "trained_parameters": sum(parameter.numel() for parameter in model.decoder.parameters()),
    }


def _tell(output: Output, data: Path, out: Path) -> None:
    facts = output.facts
    trained = f"{facts['trained_parameters']:,} trained parameters"
    output.line(f"{facts['method']} on {facts['backbone']}, {trained} -> {out}")
    output.line(f"learning curve: {out / 'report' / 'learning_curve.png'}")
    run, folder, report = (shlex.quote(str(path)) for path in (out, data, out / "report"))
    output.line(f"next: dinoseg evaluate {run} {folder} --split test --out {report}")

"""`dinoseg info`: what there is to choose from, and what a run folder holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dinoseg.cli.options import Debug, Json
from dinoseg.cli.output import Output, session


def info(
    topic: Annotated[
        str | None,
        typer.Argument(help="methods, backbones, settings, or a run folder.", metavar="[TOPIC]"),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List methods, backbones or settings, or describe a run folder.

    Example: dinoseg info backbones
    """
    topics = {"methods": _tell_methods, "backbones": _tell_backbones, "settings": _tell_settings}
    with session(as_json=as_json, debug=debug) as output:
        if topic is None:
            _tell_overview(output)
        elif topic in topics:
            topics[topic](output)
        else:
            _tell_run(output, Path(topic))


def _tell_overview(output: Output) -> None:
    from dinoseg import __version__
    from dinoseg.backbones.catalog import BACKBONES
    from dinoseg.backbones.weights_settings import read_settings

    home = read_settings().home
    output.facts = {"version": __version__, "home": home, "backbones": list(BACKBONES)}
    output.line(f"dinoseg {__version__}, medical image segmentation on frozen DINO backbones")
    output.line(f"home folder (weights, features, licences): {home}")
    output.line("dinoseg info methods      what can be trained")
    output.line(f"dinoseg info backbones    the {len(BACKBONES)} backbones known by name")
    output.line("dinoseg info settings     what --set accepts")
    output.line("dinoseg info RUN          what a run folder holds")
    output.line("dinoseg demo              train, evaluate and predict offline, on drawn pictures")


def _tell_methods(output: Output) -> None:
    from dinoseg.methods import METHODS

    problems = METHODS.find_problems()
    output.facts = {
        "methods": [
            {"name": name, "title": method.title, "source": method.source} for name, method in METHODS.items()
        ],
        "problems": list(problems.values()),
    }
    rows = [(name, method.title, method.source) for name, method in METHODS.items()]
    output.table(("method", "what it is", "source"), rows)
    for problem in problems.values():
        output.line(problem)


def _tell_backbones(output: Output) -> None:
    from dinoseg.backbones.catalog import BACKBONES

    rows = [
        (spec.name, round(spec.parameters / 1e6), spec.patch, spec.channels[-1], spec.license)
        for spec in BACKBONES.values()
    ]
    output.facts = {"backbones": list(BACKBONES.values())}
    output.table(("backbone", "M parameters", "patch px", "channels", "licence"), rows)
    output.line("any local Hugging Face folder of a DINOv3 or DINOv2 model is accepted as well")


def _tell_settings(output: Output) -> None:
    from dinoseg.cli.settings import list_settings

    settings = list_settings()
    output.facts = {"settings": settings}
    rows = [(item.key, item.accepted, show_value(item.default), item.description) for item in settings]
    output.table(("setting", "accepted", "default", "what it is"), rows)
    output.line("change one with --set, for example: dinoseg train ... --set train.lr=5e-4")
    output.line("settings of a decoder hold for its method only")
    output.line("defaults of train.* are those of --preset default")


def _tell_run(output: Output, run: Path) -> None:
    from dinoseg.cli.runs import read_run

    output.facts = facts = read_run(run)
    settings, backbone = facts["settings"], facts["backbone"]
    names = ", ".join(f"{index} {name}" for index, name in settings["classes"].items())
    output.line(f"{run}: {settings['decoder']['method']} on {backbone['name']}, dinoseg {facts['dinoseg']}")
    output.line(f"classes: {names}")
    output.line(f"images are resized to {settings['preprocessing']['size']} px")
    output.line(f"backbone: {backbone['source']}, digest {backbone['digest'][:12]}")
    output.line(f"licence of the backbone: {backbone['license']}")
    if facts["training"]:
        _tell_training(output, facts["training"])


def _tell_training(output: Output, training: dict[str, Any]) -> None:
    shots = f", {training['shots']} shots ({training['shot_unit']})" if training["shots"] else ""
    output.line(f"trained on {training['data']} with preset {training['preset']}{shots}")
    output.table(
        ("setting", "value"), list(_flatten({"train": training["train"], "cache": training["cache"]}))
    )


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", show_value(value)


def show_value(value: object) -> str:
    """A setting as it is written after `--set`."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show_value, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)

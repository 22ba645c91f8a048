"""`dinoseg info`: what there is to choose from, and what a run folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dinoseg.cli.bundles import tell_bundle
from dinoseg.cli.options import Debug, Json
from dinoseg.cli.output import Output, session, suggest_folder
from dinoseg.progress import show_duration


def info(
    context: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            help="methods, backbones, settings, schemas, a run folder or a bundle.", metavar="[TOPIC]"
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List methods, backbones or settings, or describe a run folder or a bundle.

    With --json and no topic it tells programs everything; schemas says what each verb prints with --json.

    Example: dinoseg info backbones
    """
    topics = {
        "methods": _tell_methods,
        "backbones": _tell_backbones,
        "settings": _tell_settings,
        "schemas": _tell_schemas,
    }
    with session(as_json=as_json, debug=debug) as output:
        if topic is None:
            _tell_overview(output, context)
        elif topic in topics:
            topics[topic](output)
        else:
            _tell_folder(output, Path(topic))


def _tell_overview(output: Output, context: typer.Context) -> None:
    if output.as_json:
        from dinoseg.cli.program import describe_program

        output.facts = describe_program(context.find_root().command)
        return
    from dinoseg import __version__
    from dinoseg.backbones.catalog import BACKBONES
    from dinoseg.backbones.weights_settings import read_settings

    home = read_settings().home
    output.line(f"dinoseg {__version__}, medical image segmentation on frozen DINO backbones")
    output.line(f"home folder (weights, features, licences): {home}")
    output.line("dinoseg info methods      what can be trained")
    output.line(f"dinoseg info backbones    the {len(BACKBONES)} backbones known by name")
    output.line("dinoseg info settings     what --set accepts")
    output.line("dinoseg info RUN          what a run folder or a bundle holds")
    output.line("dinoseg demo              train, evaluate and predict offline, on drawn pictures")


def _tell_methods(output: Output) -> None:
    from dinoseg.cli.program import describe_methods

    output.facts = facts = describe_methods()
    rows = [(method["name"], method["title"], method["source"]) for method in facts["methods"]]
    output.table(("method", "what it is", "source"), rows)
    for problem in facts["problems"]:
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


def _tell_schemas(output: Output) -> None:
    from dinoseg.cli.schemas import ERROR, list_schemas, read_schema

    schemas = list_schemas()
    output.facts = {"schemas": schemas, "error": read_schema(ERROR)}
    rows = [(verb, schema["description"]) for verb, schema in schemas.items()]
    output.table(("verb", "what it prints with --json"), rows)
    output.line("the schemas themselves: dinoseg info schemas --json")


def _tell_folder(output: Output, folder: Path) -> None:
    from dinoseg.model.bundles import is_bundle
    from dinoseg.model.ensemble import is_ensemble
    from dinoseg.sharing import resolve

    folder = resolve(folder, output.progress)
    if is_bundle(folder):
        tell_bundle(output, folder)
    elif is_ensemble(folder):
        _tell_ensemble(output, folder)
    else:
        _tell_run(output, folder)


def _tell_ensemble(output: Output, run: Path) -> None:
    from dinoseg.cli.runs import read_ensemble_run

    output.facts = facts = read_ensemble_run(run)
    for report in facts["reports"]:
        output.line(_word_report(report))
    members = facts["members"]
    kind = {"folds": "folds of a cross-validation", "runs": "runs"}[facts["kind"]]
    output.line(f"{run}: an ensemble of {len(members)} {kind}; their probabilities are averaged")
    classes = members[0]["settings"]["classes"]
    output.line(f"classes: {', '.join(f'{index} {name}' for index, name in classes.items())}")
    rows = [
        (
            member["run"].name,
            member["settings"]["decoder"]["method"],
            member["backbone"]["name"],
            member["settings"]["preprocessing"]["size"],
            member["backbone"]["license"],
        )
        for member in members
    ]
    output.table(("member", "method", "backbone", "size px", "licence of the backbone"), rows)
    if facts["cases"]:
        output.line(", ".join(f"{count} {name}" for name, count in facts["cases"].items()) + " cases")
    cleaning = facts["postprocessing"]
    names = {int(index): name for index, name in classes.items()}
    output.line(f"postprocessing: {'none' if cleaning is None else cleaning.describe(names)}")
    cases = facts["calibrated_on"]
    output.line(f"confidence: {f'calibrated on {cases} cases' if cases else 'not calibrated'}")


def _tell_run(output: Output, run: Path) -> None:
    from dinoseg.cli.runs import read_run

    output.facts = facts = read_run(run)
    if facts["training"]:
        _tell_outcome(output, facts)
    for report in facts["reports"]:
        output.line(_word_report(report))
    tell_advice(output, facts["advice"])
    settings, backbone = facts["settings"], facts["backbone"]
    names = ", ".join(f"{index} {name}" for index, name in settings["classes"].items())
    output.line(f"{run}: {settings['decoder']['method']} on {backbone['name']}, dinoseg {facts['dinoseg']}")
    output.line(f"classes: {names}")
    output.line(word_input(settings["preprocessing"]))
    output.line(f"backbone: {backbone['source']}, digest {backbone['digest'][:12]}")
    output.line(f"licence of the backbone: {backbone['license']}")
    if facts["training"]:
        _tell_training(output, facts["training"])


def word_input(preprocessing: Mapping[str, Any]) -> str:
    """How a model of these settings sees an image."""
    cut = preprocessing.get("plane", "")  # models of older versions do not say, nor whether there is a window
    if not isinstance(cut, str):
        return f"{', '.join(cut)} slices are resized to {preprocessing['size']} px, and averaged"
    if preprocessing.get("window") is None:
        return f"images are resized to {preprocessing['size']} px"
    return f"images are seen through windows of {preprocessing['window']} px, not resized"


def _tell_outcome(output: Output, facts: Mapping[str, Any]) -> None:
    training = facts["training"]
    dice, epoch, epochs = facts["validation_dice"], facts["kept_epoch"], facts["epochs"]
    reached = "nothing was validated" if dice is None else f"validation Dice {dice:.4f}"
    output.line(f"{reached}; kept is epoch {epoch} of {epochs}" if epochs else "no epoch is on record")
    cases = ", ".join(f"{count} {name}" for name, count in facts["cases"].items())
    output.line(f"data: {training['data']}" + (f" ({cases})" if cases else ""))
    if epochs:
        output.line(f"training took {show_duration(facts['seconds'])}, features not counted")
    if not facts["reports"]:
        places = (facts["run"], training["data"], suggest_folder(facts["run"] / "report"))
        run, data, report = (shlex.quote(str(place)) for place in places)
        output.line(f"no scores yet: dinoseg evaluate {run} {data} --out {report}")


def tell_advice(output: Output, advice: Mapping[str, Any] | None) -> None:
    """What would help a run next, where its training measured that."""
    if advice is not None:
        output.line("what would help next, measured on validation cases:")
        for line in advice["lines"]:
            output.line(f"  {line}")


def _word_report(report: Mapping[str, Any]) -> str:
    """The split, the Dice of the row that stands for all (a mean, where there is one), and where it lies."""
    means = [row for row in report["classes"] if row["kind"] == "mean"]
    row = means[-1] if means else report["classes"][0]
    (item,) = [item for item in row["metrics"] if item["metric"] == "dice"]
    dice = item["interval"]
    between = "" if dice["low"] is None else f", 95 % interval {dice['low']:.3f} to {dice['high']:.3f}"
    shown = f"{dice['mean']:.3f} ({row['class_name']}{between}"
    if row["both_empty"] + row["false_alarms"]:  # cases without the class, which say little where it matters
        present = "unknown" if item["mean_with_target"] is None else f"{item['mean_with_target']:.3f}"
        shown = (
            f"{present} where the class is present ({row['class_name']}; over all {dice['mean']:.3f}{between}"
        )
    return (
        f"split {report['split']}: Dice {shown}; {row['missed']} of "
        f"{row['with_target']} missed, {row['false_alarms']} false alarms): {report['page']}"
    )


def _tell_training(output: Output, training: dict[str, Any]) -> None:
    shots = f", {training['shots']} shots ({training['shot_unit']})" if training["shots"] else ""
    output.line(f"trained with preset {training['preset']}{shots}")
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

"""`dinoseg import`: a released checkpoint becomes a run folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Backbone, Debug, Json, Overwrite
from dinoseg.cli.output import session, suggest_folder


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A released checkpoint.", metavar="CHECKPOINT")],
    method: Annotated[
        str,
        typer.Option(
            help="The method of `dinoseg info methods` that the checkpoint is of.", metavar="METHOD"
        ),
    ],
    out: Annotated[Path, typer.Option(help="The run folder to make.", metavar="RUN")],
    backbone: Backbone = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the foreground classes, in the order of their ids.", metavar="NAME,NAME"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Side in px that images are resized to; as published if not given.", min=1, metavar="N"
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting of the decoder that no tensor shows; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    overwrite: Overwrite = False,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn a released checkpoint into a run folder.

    Example: dinoseg import kvasir.pth --method segdino-v1 --backbone dinov3_vits16 --out runs/released
    """
    with session(as_json=as_json, debug=debug, resume="run the same command with --overwrite") as output:
        output.begin(f"importing {checkpoint} -> {out}")
        from dinoseg.cli.train import describe_model
        from dinoseg.cli.training import take_defaults
        from dinoseg.config import parse_assignments

        changes = parse_assignments(assignments or [])
        from dinoseg.releases import import_checkpoint

        model = import_checkpoint(
            checkpoint,
            method=method,
            backbone=take_defaults({"backbone": backbone}, output.progress)["backbone"],
            out=out,
            classes=number_classes(classes) if classes else None,
            size=size,
            changes=changes,
            accept_license=accept_license,
            overwrite=overwrite,
            progress=output.progress,
        )
        output.facts = {"run": out, **describe_model(model)}
        names = ", ".join(model.classes.values())
        output.line(f"{method} on {model.backbone.name} -> {out}; classes: {names}")
        run, masks = (shlex.quote(str(path)) for path in (out, suggest_folder(Path("masks"))))
        output.line(f"next: dinoseg predict {run} IMAGES --out {masks}")


def number_classes(names: str) -> dict[int, str]:
    """`"liver,tumour"` as {0: "background", 1: "liver", 2: "tumour"}.

    Raises:
        UsageError: a name is empty or given twice.
    """
    from dinoseg.errors import UsageError

    words = [name.strip() for name in names.split(",")]
    if "" in words or len({"background", *words}) != len(words) + 1:
        raise UsageError(
            f"--classes {names!r}: accepted are different names with commas between, without the background, "
            "for example --classes liver,tumour"
        )
    return {0: "background", **dict(enumerate(words, 1))}

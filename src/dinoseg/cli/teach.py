"""`dinoseg teach`: a folder of images, and a page on which a model is taught by strokes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Backbone, Debug, Json
from dinoseg.cli.output import session
from dinoseg.cli.serve import HOST, PORT, SERVING, AllowHost, Host, Port, Token, serve_until_stopped

Classes = Annotated[
    str | None,
    typer.Option(
        help="What is to be painted, with commas, where nothing says so yet; the page can change it.",
        metavar="NAME,NAME",
    ),
]
SIDE = 448  # as dinoseg.teaching.features, which loads torch; a test compares them
Size = Annotated[
    int,
    typer.Option(
        help="Side of the square that images are seen as, px; smaller is faster.", min=32, metavar="N"
    ),
]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Do not open the page in a browser.")]


def teach(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Images or volumes, in sub-folders too, with masks of some of them or without.",
            metavar="FOLDER",
        ),
    ],
    classes: Classes = None,
    backbone: Backbone = None,
    size: Size = SIDE,
    host: Host = HOST,
    port: Port = PORT,
    token: Token = None,
    no_open: NoOpen = False,
    allow_host: AllowHost = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Teach a model on a page, by painting strokes on images. Ctrl-C ends it.

    What is painted lies in FOLDER/.dinoseg; the images stay as they are, and nothing leaves this machine.

    Example: dinoseg teach data/scans --classes polyp,tool
    """
    with session(as_json=as_json, debug=debug) as output:
        output.begin(f"opening {folder}")
        from dinoseg.extras import require

        for library in (*SERVING, "torch"):
            require(library, "teaching")
        from dinoseg.serving.app import create_app
        from dinoseg.serving.options import ServeOptions
        from dinoseg.serving.server import take_address
        from dinoseg.teaching.project import Project

        options = ServeOptions(host=host, port=port, token=token, names=tuple(allow_host or ()))
        with take_address(options) as listening:
            project = Project.open(
                folder,
                backbone=backbone,
                classes=_split(classes),
                side=size,
                accept_license=accept_license,
                progress=output.progress,
            )
            try:
                app = create_app(teaching=project, options=options)
                output.facts = {
                    "folder": folder,
                    "images": len(project.subjects),
                    "backbone": project.backbone,
                }
                what = f"teaching {len(project.subjects)} images"
                serve_until_stopped(
                    output, app, listening, options, what=what, show=not no_open, page="teach"
                )
            finally:
                project.close()
            output.line(f"ended; all strokes are in {project.place}, and the same command goes on with them")


def _split(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]

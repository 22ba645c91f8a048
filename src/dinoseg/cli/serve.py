"""`dinoseg serve`: models behind HTTP, and the page that shows what they find."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Debug, Device, Engine, Json, Precision, Threads
from dinoseg.cli.output import Output, session

if TYPE_CHECKING:
    from socket import socket

    from fastapi import FastAPI

    from dinoseg.serving.options import ServeOptions

SERVING = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")

# As of dinoseg.serving.options, which the help does not import; a test compares them.
HOST, PORT, QUEUE = "127.0.0.1", 8000, 16
UPLOAD_MIB, PIXELS, VOXELS, JOB_SECONDS, KEPT_MINUTES = 1024, 50_000_000, 500_000_000, 1800, 15

Host = Annotated[
    str, typer.Option(help="Address to listen on; any but this machine's own needs --token.", metavar="HOST")
]
Port = Annotated[int, typer.Option(help="0 for a free one.", min=0, max=65535, metavar="N")]
Token = Annotated[
    str | None,
    typer.Option(
        help="What every request must bring, 16 letters at least.", metavar="SECRET", envvar="DINOSEG_TOKEN"
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        help="Another name that the server is reached by, such as that of a reverse proxy; may be repeated.",
        metavar="NAME",
    ),
]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(
        help="A web page elsewhere that may call it, such as https://viewer.example; may be repeated.",
        metavar="URL",
    ),
]
Studies = Annotated[
    Path | None,
    typer.Option(
        help="Images and volumes that 3D Slicer, OHIF and Label Studio open; labels go to DIR/labels.",
        metavar="DIR",
    ),
]
LabelStudio = Annotated[
    str | None,
    typer.Option(
        help="A Label Studio whose images may be fetched, such as http://127.0.0.1:8080.",
        metavar="URL",
    ),
]
LabelStudioToken = Annotated[
    str | None,
    typer.Option(
        help="What Label Studio is asked with: an access token of its account page.",
        metavar="SECRET",
        envvar="DINOSEG_LABEL_STUDIO_TOKEN",
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]
Queue = Annotated[int, typer.Option(help="Predictions that may wait; more are refused.", min=1, metavar="N")]
UploadLimit = Annotated[int, typer.Option(help="MiB that a request may bring.", min=1, metavar="MIB")]
PixelLimit = Annotated[int, typer.Option(help="Pixels that an image may have.", min=1, metavar="N")]
VoxelLimit = Annotated[int, typer.Option(help="Voxels that a volume may have.", min=1, metavar="N")]
JobLimit = Annotated[int, typer.Option(help="Seconds that a prediction may take.", min=1, metavar="S")]
Keep = Annotated[int, typer.Option(help="Minutes that results are kept.", min=1, metavar="MIN")]


def serve(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders made by `dinoseg train`, bundles made by `dinoseg export`, or hf://OWNER/NAME.",
            metavar="RUN...",
        ),
    ],
    host: Host = HOST,
    port: Port = PORT,
    token: Token = None,
    open_page: Open = False,
    allow_host: AllowHost = None,
    allow_origin: AllowOrigin = None,
    studies: Studies = None,
    label_studio: LabelStudio = None,
    label_studio_token: LabelStudioToken = None,
    queue: Queue = QUEUE,
    upload_limit: UploadLimit = UPLOAD_MIB,
    pixel_limit: PixelLimit = PIXELS,
    voxel_limit: VoxelLimit = VOXELS,
    job_limit: JobLimit = JOB_SECONDS,
    keep: Keep = KEPT_MINUTES,
    device: Device = "cpu",
    precision: Precision = None,
    engine: Engine = None,
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve models: a page for people, REST for programs. Ctrl-C ends it.

    Nothing leaves this machine, and what is uploaded is removed.

    Example: dinoseg serve runs/kvasir --open
    """
    with session(as_json=as_json, debug=debug) as output:
        output.begin(f"loading {', '.join(map(str, runs))}")
        from dinoseg.extras import require

        for library in SERVING:
            require(library, "serving")
        from dinoseg.serving.options import MIB, ServeOptions

        options = ServeOptions(
            host=host,
            port=port,
            token=token,
            names=tuple(allow_host or ()),
            origins=tuple(allow_origin or ()),
            studies=studies,
            label_studio=label_studio,
            label_studio_token=label_studio_token,
            queue=queue,
            upload_bytes=upload_limit * MIB,
            pixels=pixel_limit,
            voxels=voxel_limit,
            job_seconds=job_limit,
            kept_seconds=keep * 60,
        )
        from dinoseg.cli.devices import name_model
        from dinoseg.serving.app import create_app
        from dinoseg.serving.models import load_models
        from dinoseg.serving.server import take_address
        from dinoseg.sharing import resolve

        with take_address(options) as listening:
            saved = [
                name_model(
                    resolve(run, output.progress),
                    backbone=None,
                    accept_license=accept_license,
                    device=device,
                    precision=precision,
                    engine=engine,
                    threads=threads,
                )
                for run in runs
            ]
            models = load_models(saved, output.progress)
            app = create_app(models, options=options)
            output.facts = {"models": models.names}
            what = f"serving {', '.join(models.names)}"
            serve_until_stopped(output, app, listening, options, what=what, show=open_page)
            output.line("ended; what was uploaded is removed")


def serve_until_stopped(
    output: Output,
    app: FastAPI,
    listening: socket,
    options: ServeOptions,
    *,
    what: str,
    show: bool,
    page: str = "",
) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        output: told the address, as a fact as well.
        app: what answers.
        listening: of `take_address`.
        options: the limits.
        what: is done there, the beginning of a sentence.
        show: open the page in a browser.
        page: its path below the address.
    """
    from dinoseg.serving.server import name_address, run_server

    address = f"{name_address(listening)}{page}"
    shown = address if options.token is None else f"{address}?token={options.token}"

    def tell() -> None:
        output.facts |= {"address": address, "process": os.getpid()}
        output.publish()
        output.line(f"{what} at {address} (Ctrl-C ends it)")
        if options.token is not None:
            output.line(f"in a browser: {address}?token=TOKEN, with the token that was chosen")
        sys.stdout.flush()
        if show:
            import webbrowser

            webbrowser.open(shown)

    run_server(app, listening, options, on_ready=tell)

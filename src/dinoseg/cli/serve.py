"""`dinoseg serve`: models behind HTTP, and the page that shows what they find."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Debug, Device, Engine, Precision, Threads
from dinoseg.cli.output import session

# As of dinoseg.serving.options, which the help does not import; a test compares them.
HOST, PORT, QUEUE = "127.0.0.1", 8000, 16
UPLOAD_MIB, PIXELS, VOXELS, JOB_SECONDS, KEPT_MINUTES = 1024, 100_000_000, 1_000_000_000, 1800, 15

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
    debug: Debug = False,
) -> None:
    """Serve models: a page for people, REST for programs. Ctrl-C ends it.

    Nothing leaves this machine, and what is uploaded is removed.

    Example: dinoseg serve runs/kvasir --open
    """
    with session(as_json=False, debug=debug) as output:
        output.begin(f"loading {', '.join(map(str, runs))}")
        from dinoseg.extras import require

        require("fastapi", "serving")
        require("uvicorn", "serving")
        from dinoseg.cli.devices import keep_freed_memory, name_model
        from dinoseg.serving.options import MIB, ServeOptions

        options = ServeOptions(
            host=host,
            port=port,
            token=token,
            names=tuple(allow_host or ()),
            origins=tuple(allow_origin or ()),
            queue=queue,
            upload_bytes=upload_limit * MIB,
            pixels=pixel_limit,
            voxels=voxel_limit,
            job_seconds=job_limit,
            kept_seconds=keep * 60,
        )
        from dinoseg.serving.app import create_app
        from dinoseg.serving.models import load_models
        from dinoseg.serving.server import name_address, run_server, take_address
        from dinoseg.sharing import resolve

        keep_freed_memory()
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
            address = name_address(listening)
            app = create_app(models, options=options)
            output.line(f"serving {', '.join(models.names)} at {address}; Ctrl-C ends it")
            if token is not None:
                output.line(f"in a browser: {address}?token=TOKEN, with the token that you chose")

            def tell() -> None:
                if open_page:
                    import webbrowser

                    webbrowser.open(address if token is None else f"{address}?token={token}")

            run_server(app, listening, options, on_ready=tell)
            output.line("ended; what was uploaded is removed")

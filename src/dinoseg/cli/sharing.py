"""`dinoseg push` and `dinoseg pull`: models to a hub or a folder, and from there."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Debug, Json, Overwrite
from dinoseg.cli.output import session

PLACE = "OWNER/NAME of the hub (HF_ENDPOINT names another one), or a folder: file:///..., /... or ./..."


def push(
    run: Annotated[Path, typer.Argument(help="A run folder, an ensemble or a bundle.", metavar="RUN")],
    destination: Annotated[str, typer.Argument(help=f"{PLACE}.", metavar="OWNER/NAME")],
    private: Annotated[
        bool, typer.Option("--private", help="Seen by its owners only; refused where it is public already.")
    ] = False,
    license_name: Annotated[
        str | None,
        typer.Option(
            "--license", help="Of the decoder, as the hub names it; blank if not given.", metavar="NAME"
        ),
    ] = None,
    accept_license: AcceptLicense = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Send a trained model to the hub or to a folder: decoder, description, a page with its scores.

    No image, name of a case or path of this machine is sent.

    Example: dinoseg push runs/kvasir our-clinic/polyps --private
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again: it goes on") as output:
        output.begin(f"pushing {run} -> {destination}")
        from dinoseg.sharing import push as send

        pushed = send(
            run,
            destination,
            private=private,
            license_name=license_name,
            accept_license=accept_license,
            overwrite=overwrite,
            progress=output.progress,
        )
        output.facts = {
            "address": pushed.address,
            "commit": pushed.commit,
            "files": list(pushed.files),
            "bytes": pushed.size,
        }
        output.line(f"{len(pushed.files)} files, {pushed.size / 1e6:.1f} MB -> {pushed.address}")
        output.line(f"next: dinoseg predict {shlex.quote(pushed.address)} IMAGES --out masks")


def pull(
    source: Annotated[str, typer.Argument(help=f"{PLACE}.", metavar="OWNER/NAME[@REVISION]")],
    out: Annotated[
        Path | None,
        typer.Option(help="Copy it to this folder; kept in dinoseg's own if not given.", metavar="RUN"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fetch a model that was pushed, and check every file.

    Example: dinoseg pull our-clinic/polyps@v1 --out runs/polyps
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again: it goes on") as output:
        output.begin(f"pulling {source}")
        from dinoseg.sharing import pull as fetch

        pulled = fetch(source, out=out, overwrite=overwrite, progress=output.progress)
        output.facts = {
            "folder": pulled.folder,
            "address": pulled.address,
            "commit": pulled.commit,
            "files": list(pulled.files),
        }
        version = f", version {pulled.commit}" if pulled.commit else ""
        output.line(f"{pulled.address}{version}: {len(pulled.files)} files in {pulled.folder}")
        output.line(f"next: dinoseg predict {shlex.quote(str(pulled.folder))} IMAGES --out masks")

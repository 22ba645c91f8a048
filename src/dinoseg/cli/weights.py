"""`dinoseg weights`: list, fetch and check the weights of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoseg.cli.options import AcceptLicense, Debug, Json
from dinoseg.cli.output import session

if TYPE_CHECKING:
    from dinoseg.backbones.weights import WeightsStatus
    from dinoseg.progress import Progress

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, fetch and check backbone weights.")

Name = Annotated[str, typer.Argument(help="A backbone of `dinoseg info backbones`.", metavar="NAME")]


@app.command("list")
def list_(as_json: Json = False, debug: Debug = False) -> None:
    """List all backbones: what is on this machine, what is not.

    Example: dinoseg weights list
    """
    with session(as_json=as_json, debug=debug) as output:
        from dinoseg.backbones.weights import list_weights

        statuses = list_weights()
        output.facts = {"weights": statuses}
        columns = ("backbone", "here", "MB", "licence", "accepted", "sha256", "from")
        output.table(columns, [_row(status) for status in statuses])
        output.line("fetch one with `dinoseg weights get NAME`")


@app.command("get")
def get(
    name: Name,
    weights: Annotated[
        Path | None,
        typer.Option(help="Take this file (Meta's .pth, or a .safetensors), not the hub.", metavar="FILE"),
    ] = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fetch the weights of a backbone ahead of time.

    Example: dinoseg weights get dinov3_vits16 --accept-license
    """
    resume = "run the same command again: the download goes on where it stopped"
    with session(as_json=as_json, debug=debug, resume=resume) as output:
        output.begin(f"weights of {name}")
        from dinoseg.backbones.weights import get_weights

        if weights is not None:
            keep(weights, name, accept_license=accept_license, progress=output.progress)
        found = get_weights(name, accept_license=accept_license, progress=output.progress)
        output.facts = {"name": name, "path": found.path, "sha256": found.sha256, "origin": found.origin}
        output.line(f"{found.path}\nsha256 {found.sha256}, from {found.origin}")


@app.command("check")
def check(
    name: Annotated[
        str | None, typer.Argument(help="One backbone; all that are here if not given.", metavar="[NAME]")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Hash and load the weights that are here.

    The exit code is 4 if a file is damaged.

    Example: dinoseg weights check dinov3_vits16
    """
    with session(as_json=as_json, debug=debug) as output:
        output.begin("checking weights")
        from dinoseg.backbones.weights import check_weights
        from dinoseg.errors import WeightsError

        checks = check_weights(name, progress=output.progress)
        output.facts = {"weights": checks}
        rows = [
            (check.name, "ok" if check.ok else "DAMAGED", check.sha256[:16], check.path) for check in checks
        ]
        output.table(("backbone", "state", "sha256", "file"), rows)
        for check in checks:
            if not check.ok:
                output.line(f"{check.name}: {check.problem}")
        if not checks:
            output.line("no weights are on this machine; fetch some with `dinoseg weights get NAME`")
        output.exit_code = 0 if all(check.ok for check in checks) else WeightsError.exit_code


def keep(file: Path, name: str, *, accept_license: bool, progress: Progress) -> None:
    """Copy a weight file to where `name` is looked for, if it is whole and of that backbone."""
    import shutil

    from dinoseg.backbones import create_backbone, find_spec
    from dinoseg.backbones.hub import FILENAME
    from dinoseg.backbones.weights_settings import read_settings
    from dinoseg.errors import OutputError
    from dinoseg.outputs import atomic_path, sweep

    prefix = find_spec(name).meta_prefix
    # Meta's files are found again, and checked, by the name that they were published under.
    meta_name = file.name if prefix is None or file.name.startswith(prefix) else f"{prefix}.pth"
    kept = read_settings().weights / name / (meta_name if file.suffix == ".pth" else FILENAME)
    if kept.exists():
        raise OutputError(f"{kept} is there already; delete it to take {file}")
    create_backbone(name, weights=file, accept_license=accept_license, progress=progress)
    sweep(kept.parent.glob(".*"))  # what a killed process left there
    with atomic_path(kept) as temporary:
        shutil.copyfile(file, temporary)


def _row(status: WeightsStatus) -> tuple[object, ...]:
    here, accepted = ("yes" if known else "no" for known in (status.present, status.accepted))
    sha256 = (status.sha256 or "")[:16]
    return (status.name, here, round(status.size / 1e6), status.license, accepted, sha256, status.origin)

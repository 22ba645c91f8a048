"""`dinoseg convert`: between nnU-Net's raw layout and image folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dinoseg.cli.options import Debug, Json
from dinoseg.cli.output import session


def convert(
    source: Annotated[
        Path, typer.Argument(help="A folder that `dinoseg data check` accepts.", metavar="SRC")
    ],
    target: Annotated[Path, typer.Argument(help="The folder to make; it must not exist.", metavar="DST")],
    to: Annotated[
        Literal["nnunet", "images"],
        typer.Option(
            help="nnunet: imagesTr, labelsTr, dataset.json. images: images, masks, one PNG per slice."
        ),
    ],
    window: Annotated[
        str | None,
        typer.Option(
            help="Centre and width of the values to keep, e.g. 40,400 for CT; the whole range if not given.",
            metavar="CENTRE,WIDTH",
        ),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Of a pixel: 8 or 16 (the default).", metavar="N")] = None,
    plane: Annotated[
        Literal["axial", "coronal", "sagittal"] | None,
        typer.Option(help="Of slices; axial if not given."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Which of several channels, from 0.", min=0, metavar="N")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a data set anew in another layout; volumes become slices, and volumes again on the way back.

    Example: dinoseg convert Dataset004_Hippocampus slices --to images
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"converting {source} -> {target}")
        from dinoseg.data.conversion.conversion import convert as convert_data

        given = {"window": _parse_window(window), "bits": bits, "plane": plane, "channel": channel}
        result = convert_data(source, target, to=to, options=_choose_options(given), progress=output.progress)
        output.facts = {"source": source, **vars(result), "notes": list(result.notes)}
        output.line(f"{result.cases} cases ({result.layout}) -> {target}: {result.files} files")
        for note in result.notes:
            output.line(f"note: {note}")
        output.line(f"next: dinoseg data check {target}")


def _choose_options(given: dict[str, Any]) -> Any:
    """Options of slices, or None where none was given."""
    from dinoseg.data.conversion.slice_folders import SliceOptions
    from dinoseg.errors import UsageError

    chosen = {key: value for key, value in given.items() if value is not None}
    if chosen.get("bits", 16) not in (8, 16):
        raise UsageError(f"--bits {chosen['bits']} is not accepted; choose 8 or 16")
    return SliceOptions(**chosen) if chosen else None


def _parse_window(text: str | None) -> tuple[float, float] | None:
    from dinoseg.errors import UsageError

    if text is None:
        return None
    try:
        centre, width = (float(word) for word in text.split(","))
    except ValueError:
        centre, width = 0.0, 0.0
    if not width > 0 or width == float("inf") or centre - centre != 0:
        raise UsageError(f"--window {text!r} is not accepted; give centre and width, for example 40,400")
    return centre, width

"""Options that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
AcceptLicense = Annotated[
    bool, typer.Option("--accept-license", help="Accept the licence of the backbone's weights; remembered.")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.", metavar="DEVICE")]
Method = Annotated[str, typer.Option(help="A method of `dinoseg info methods`.", metavar="METHOD")]
Backbone = Annotated[
    str,
    typer.Option(
        help="A backbone of `dinoseg info backbones`, or a local Hugging Face folder.", metavar="NAME"
    ),
]
BackbonePlace = Annotated[
    str | None,
    typer.Option("--backbone", help="Another place of the same backbone's weights.", metavar="PATH"),
]
Splits = Annotated[
    Path | None,
    typer.Option(help="A splits.json to use instead of the data's own split.", metavar="FILE"),
]
RunFolder = Annotated[Path, typer.Argument(help="A run folder made by `dinoseg train`.", metavar="RUN")]
DataFolder = Annotated[Path, typer.Argument(help="A folder of images and masks, or a CSV.", metavar="DATA")]

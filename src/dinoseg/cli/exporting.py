"""`dinoseg export`: a run folder becomes a bundle that needs no torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from dinoseg.cli.options import AcceptLicense, BackbonePlace, Debug, Json, Overwrite, RunFolder
from dinoseg.cli.output import session, suggest_folder

BundlePrecision = Literal["float32", "float16", "int8"]  # as in dinoseg.model.bundles; a test compares them


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The folder of the bundle.", metavar="BUNDLE")],
    size: Annotated[
        int | None,
        typer.Option(
            help="Side in px of the images, or windows, that it takes; as trained if not given.",
            min=1,
            metavar="N",
        ),
    ] = None,
    precision: Annotated[
        BundlePrecision,
        typer.Option(
            help="float16: half the space, the same arithmetic; int8: the backbone's products in 8 bits."
        ),
    ] = "float32",
    examples: Annotated[
        list[Path] | None,
        typer.Option(
            help="Images or volumes to compare with torch on, and to calibrate int8 with; may be repeated, "
            "drawn pictures if not given.",
            metavar="FILE",
        ),
    ] = None,
    license_file: Annotated[
        Path | None,
        typer.Option(
            help="Text of the backbone's licence, where none lies beside its weights.", metavar="FILE"
        ),
    ] = None,
    overwrite: Overwrite = False,
    backbone: BackbonePlace = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a bundle of a run: the whole model, for machines without torch.

    It is compared with torch before it gets its name; one that says something else is not kept.

    Example: dinoseg export runs/kvasir --out bundles/kvasir
    """
    with session(as_json=as_json, debug=debug) as output:
        output.begin(f"exporting {run} -> {out}")
        from dinoseg.extras import require

        for library in ("torch", "onnx", "onnxscript", "onnxruntime"):
            require(library, "exporting", extra="export")
        from dinoseg.export import export as run_export

        found = run_export(
            run,
            out,
            size=size,
            precision=precision,
            examples=examples or (),
            license_file=license_file,
            backbone=backbone,
            accept_license=accept_license,
            overwrite=overwrite,
            progress=output.progress,
        )
        compared = found.comparison
        output.facts = {
            "out": found.out,
            "bytes": found.bytes,
            "precision": found.precision,
            "size": found.size,
            "opset": found.opset,
            "comparison": compared.model_dump(),
        }
        output.line(f"{found.out}: {found.bytes / 1e6:.1f} MB, {found.precision}, ONNX opset {found.opset}")
        output.line(
            f"compared with torch on {compared.cases} ({compared.images} images): logits differ by "
            f"{compared.logits:.2g} at most, smallest Dice {compared.dice:.4f}"
        )
        bundle, masks = (shlex.quote(str(path)) for path in (out, suggest_folder(Path("masks"))))
        output.line(f"next: dinoseg predict {bundle} IMAGES --out {masks}")

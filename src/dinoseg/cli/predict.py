"""`dinoseg predict`: masks for images and volumes, folders and lists of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dinoseg.cli.options import (
    AcceptLicense,
    BackbonePlace,
    BatchSize,
    Debug,
    Device,
    Engine,
    Flips,
    Json,
    Overlap,
    Overwrite,
    Planes,
    Precision,
    RawMasks,
    RunOrBundle,
    Threads,
    Window,
    parse_planes,
)
from dinoseg.cli.output import Output, session

VolumeFormat = Literal["nifti", "nrrd", "mha", "dicom-seg"]
LISTED = 10  # volumes whose numbers are shown

if TYPE_CHECKING:
    from dinoseg.inference import PredictionReport


def predict(
    run: RunOrBundle,
    sources: Annotated[
        list[Path],
        typer.Argument(help="Images, volumes, DICOM series, or folders of them.", metavar="INPUT..."),
    ],
    out: Annotated[Path, typer.Option(help="Where the masks go.", metavar="DIR")],
    window: Window = None,
    overlap: Overlap = 0.25,
    flips: Flips = None,
    batch_size: BatchSize = 8,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the class probabilities as well.")
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Write how unsure each pixel is: 16-bit PNG, or float32 NIfTI of a volume.",
        ),
    ] = False,
    review: Annotated[
        bool,
        typer.Option("--review", help="Write review.html: the pictures, those to look at first on top."),
    ] = False,
    no_overlays: Annotated[bool, typer.Option("--no-overlays", help="Write no overlay pictures.")] = False,
    planes: Planes = None,
    volume_format: Annotated[
        VolumeFormat | None,
        typer.Option("--format", help="Of the masks of volumes; that of the input if not given."),
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="UID of the DICOM series, where there are several.", metavar="UID")
    ] = None,
    raw_masks: RawMasks = False,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what is there already.")] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Only this share of the files, such as 3/8: for jobs side by side.", metavar="I/N"),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Compute by workers of Ray: `ray` here, or ray://HOST:PORT.", metavar="CLUSTER"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Of the cluster; 2 if not given.", min=1, metavar="N")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="Of each worker; 0.5 lets two share one.", min=0, metavar="N")
    ] = None,
    backbone: BackbonePlace = None,
    device: Device = "cpu",
    precision: Precision = None,
    engine: Engine = None,
    threads: Threads = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict a mask for each image or volume, at its own size.

    A broken file is named and the others go on; the exit code is then 3.

    Example: dinoseg predict runs/kvasir photos/ --out masks/
    """
    with session(
        as_json=as_json, debug=debug, resume="run the same command with --resume to go on"
    ) as output:
        output.begin(f"predicting with {run} -> {out}")
        from dinoseg.cli.cohorts import choose_runner, refuse_here
        from dinoseg.cli.devices import keep_freed_memory, name_model
        from dinoseg.cohorts.places import is_remote
        from dinoseg.config import Inference
        from dinoseg.inference import predict_files
        from dinoseg.inference.files.shard import Shard
        from dinoseg.sharing import resolve

        keep_freed_memory()
        run = resolve(run, output.progress)
        saved = name_model(
            run,
            backbone=backbone,
            accept_license=accept_license,
            device=device,
            precision=precision,
            engine=engine,
            threads=threads,
        )
        how = Inference(
            window=window,
            overlap=overlap,
            flips=flips,
            batch_size=batch_size,
            planes=parse_planes(planes),
            series=series,
            postprocess=not raw_masks,
            probabilities=probabilities,
            uncertainty=uncertainty,
        )
        share = Shard.read(shard) if shard else Shard()
        runner = choose_runner(saved, cluster, workers=workers, gpus=gpus, threads=threads)
        if any(map(is_remote, [*sources, out])):
            from dinoseg.cohorts.remote import predict_remote

            refuse_here(review=review, volume_format=volume_format, runner=runner)
            found = predict_remote(
                saved.open(output.progress),
                sources,
                out,
                how=how,
                overlays=not no_overlays,
                resume=resume,
                overwrite=overwrite,
                shard=share,
                progress=output.progress,
            )
            output.facts, output.exit_code = {"out": found.out, **found.describe()}, found.exit_code
            output.line(
                f"{found.done} files in {found.out}, {found.skipped} were there, {found.seconds:.1f} s"
            )
            return
        report = predict_files(
            saved,
            sources,
            out,
            how=how,
            shard=share,
            runner=runner,
            overlays=not no_overlays,
            review=review,
            volume_format=volume_format,
            overwrite=overwrite,
            resume=resume,
            progress=output.progress,
        )
        output.facts = {"out": out, **report.describe()}
        output.exit_code = report.exit_code
        _tell(output, report)


def _tell(output: Output, report: PredictionReport) -> None:
    skipped = sum(file.skipped for file in report.files)
    words = f", of which {skipped} were there already" if skipped else ""
    output.line(f"{len(report.files)} masks in {report.out / 'masks'}{words}, {report.seconds:.1f} s")
    for file in [file for file in report.files if file.volumes_ml is not None][:LISTED]:
        listed = [
            f"{report.classes[index]} {ml:.2f} ml" for index, ml in (file.volumes_ml or {}).items() if index
        ]
        output.line(f"{file.source}: {', '.join(listed)}")
    if any(file.overlay for file in report.files):
        output.line(f"pictures to look at: {report.out / 'overlays'}")
    if report.review is not None:
        output.line(f"look at these first: {report.review}")
    if report.failures:
        total = len(report.files) + len(report.failures)
        failed = f"{len(report.failures)} of {total} files could not be read"
        output.problem(f"{failed}; reasons above and in {report.out / 'predictions.json'}")

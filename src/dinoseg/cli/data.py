"""`dinoseg data`: look at a data folder before training on it, split and group it, and list DICOM series."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dinoseg.cli.options import AcceptLicense, DataFolder, Debug, Json, Overwrite, Splits
from dinoseg.cli.output import Output, session

if TYPE_CHECKING:
    from dinoseg.data.checks.findings import DataReport
    from dinoseg.data.dicom import Series

MOST_GROUPS = 20

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check a data folder, split it by group, propose groups, or list DICOM series.",
)


@app.command("check")
def check(
    data: DataFolder,
    size: Annotated[
        int, typer.Option(help="Side in px that training will resize images to.", min=1, metavar="N")
    ] = 320,
    splits: Splits = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Where to draw the pairs of images that look alike.", metavar="DIR"),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Also name images that look nearly the same to this backbone, such as mirrored copies.",
            metavar="NAME",
        ),
    ] = None,
    accept_license: AcceptLicense = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at every file, mask and split before training.

    The exit code is 3 if something would stop a training.
    Example: dinoseg data check data/kvasir
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"checking {data}")
        from dinoseg.data.checks.dataset import check_dataset

        report = check_dataset(data, size=size, splits=splits, progress=output.progress)
        output.facts = report.to_dict()
        for line in report.lines():
            output.line(line)
        if pictures is not None:
            draw_alike(output, report, pictures)
        if backbone is not None:
            tell_alike(output, data, backbone, size=size, splits=splits, accept_license=accept_license)
        output.exit_code = report.exit_code
        if report.exit_code:
            output.problem(f"{len(report.select('error'))} problems of {data} would stop a training")


@app.command("split")
def split(
    data: DataFolder,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; DATA/splits.json if not given.", metavar="FILE")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.", min=0)] = 0,
    fractions: Annotated[
        str, typer.Option(help="Shares of train, val and test.", metavar="F,F,F")
    ] = "0.7,0.1,0.2",
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw train, val and test by group, and write them down.

    Example: dinoseg data split data/kvasir --fractions 0.7,0.1,0.2
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"splitting {data}")
        from dinoseg.data import open_dataset
        from dinoseg.data.splits.splits import check_splits, make_splits, save_splits
        from dinoseg.outputs import claim, refuse_taken

        shares = read_fractions(fractions)
        dataset = open_dataset(data)
        path = out or dataset.root / "splits.json"
        refuse_taken([path], overwrite=overwrite)
        splits = make_splits(dataset, fractions=shares, seed=seed)
        check_splits(dataset, splits, progress=output.progress)
        claim(path.parent, parts=())
        save_splits(path, splits, overwrite=overwrite)
        counts = {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}
        output.facts = {"splits": path, "seed": seed, "cases": counts}
        output.line(f"{path}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
        output.line(f"next: dinoseg data check {shlex.quote(str(data))} --splits {shlex.quote(str(path))}")


@app.command("groups")
def groups(
    data: DataFolder,
    suggest: Annotated[
        bool,
        typer.Option("--suggest", help="Write a proposal for groups.csv, by names and by likeness."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The proposal; DATA/groups_suggested.csv if not given.", metavar="FILE"),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which cases are of one patient or video, or propose it.

    A proposal is for you to look at: it is never used, and an existing groups.csv is never changed.
    Example: dinoseg data groups data/kvasir --suggest
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"looking at the groups of {data}")
        from collections import Counter

        from dinoseg.data import open_dataset
        from dinoseg.data.checks.grouping import suggest_groups, write_proposal
        from dinoseg.errors import UsageError

        if out is not None and not suggest:
            raise UsageError("--out names the proposal that --suggest writes; add --suggest")
        dataset = open_dataset(data, scan_labels=False, progress=output.progress)
        sizes = Counter(case.group for case in dataset.cases)
        output.facts = {"cases": len(dataset.cases), "groups": dict(sizes)}
        output.line(f"{data}: {len(dataset.cases)} cases in {len(sizes)} groups")
        for name, count in sizes.most_common(MOST_GROUPS):
            if count > 1:
                output.line(f"{name}: {count} cases")
        if not suggest:
            return
        proposal = suggest_groups(dataset, progress=output.progress)
        path = write_proposal(dataset, proposal, path=out)
        output.facts.update(proposal=path, proposed_groups=proposal.count, joined_cases=proposal.joined)
        output.line(f"{path}: {proposal.count} groups; {proposal.joined} cases do not stand alone")
        output.line(
            "look at it, correct it, and save it as groups.csv beside the images: nothing reads it before"
        )


@app.command("series")
def series(
    place: Annotated[Path, typer.Argument(help="A folder or zip of DICOM files.", metavar="PLACE")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the DICOM series of a folder or zip, and say which ones are no volume.

    Only headers are read. The exit code is 3 if files are damaged or there is no DICOM file.
    Example: dinoseg data series scans/ct
    """
    with session(as_json=as_json, debug=debug, resume="run the same command again") as output:
        output.begin(f"looking for series in {place}")
        from dinoseg.data.dicom import survey_series

        survey = survey_series(place)
        output.facts = {
            "series": survey.series,
            "ignored": survey.ignored,
            "damaged": survey.damaged,
        }
        show_series(output, survey.series)
        output.line(f"{survey.ignored} files are not DICOM" if survey.ignored else "every file is DICOM")
        for file in survey.damaged:
            output.problem(file.reason)
        if not survey.series:
            output.problem(f"{place} holds no DICOM file")
        output.exit_code = 3 if survey.damaged or not survey.series else 0


def draw_alike(output: Output, report: DataReport, folder: Path) -> None:
    """Draw the pairs that a check found, and say where; volumes are not drawn."""
    from dinoseg.data.checks.pictures import draw_copies

    sheets = draw_copies(report.copies, folder) if report.volumes is None else ()
    output.facts["pictures"] = sheets
    output.line(f"pictures: {', '.join(map(str, sheets))}" if sheets else "pictures: no images look alike")


def tell_alike(
    output: Output, data: Path, backbone: str, *, size: int, splits: Path | None, accept_license: bool
) -> None:
    """List the pairs of images in different splits, or groups, that look the same to a backbone."""
    from dinoseg.backbones import create_backbone
    from dinoseg.training.features.alike import find_alike_images

    frozen = create_backbone(backbone, accept_license=accept_license, progress=output.progress)
    found = find_alike_images(data, frozen, size=size, splits=splits, progress=output.progress)
    output.facts["alike"] = {"limit": found.limit, "pairs": found.pairs}
    output.line(found.describe(most=MOST_GROUPS) or f"no two images look the same to {frozen.name}")


def show_series(output: Output, found: Sequence[Series]) -> None:
    """One row for each series; what makes a series no volume is a line of its own."""
    rows = [
        [
            each.uid,
            each.description,
            each.modality,
            each.patient,
            each.count,
            "×".join(str(length) for length in each.shape or ()),
            "×".join(f"{length:.3g}" for length in each.spacing or ()),
        ]
        for each in found
    ]
    columns = ["uid", "description", "modality", "patient", "slices", "D×H×W", "spacing in mm"]
    if rows:
        output.table(columns, rows)
    for each in found:
        if each.problem:
            output.line(f"{each.uid}: no volume: {each.problem}")


def read_fractions(text: str) -> tuple[float, float, float]:
    """`"0.7,0.1,0.2"` as three numbers.

    Raises:
        UsageError: they are not three numbers.
    """
    from dinoseg.errors import UsageError

    try:
        train, val, test = (float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(
            f"--fractions {text!r}: accepted are three shares with commas between, for example 0.7,0.1,0.2"
        ) from None
    return train, val, test

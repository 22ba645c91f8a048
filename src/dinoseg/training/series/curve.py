"""`learn_curve()`: what more labels bring, for several methods on the same draws and one feature cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dinoseg.outputs import to_plain, write_csv, write_json
from dinoseg.progress import Progress, Silent
from dinoseg.training.runs.run_folder import anchor
from dinoseg.training.series.curve_picture import draw_curve
from dinoseg.training.series.outcomes import Draw, Repeats, gather
from dinoseg.training.series.repeats import Job, Request, Series, carry_out, prepare
from dinoseg.training.series.tables import OF_DRAWS, OF_ONE, list_draw_rows, list_summary_rows

TABLE = "curve.csv"
SUMMARY = "summary.csv"
DOCUMENT = "curve.json"
PICTURE = "curve.png"


@dataclass(frozen=True)
class Curve:
    """What came of a learning curve.

    Attributes:
        out: folder of everything.
        split: what was scored, "test" or "val".
        repeats: one per method and number of shots, methods first, in the order asked for.
        picture: Dice over shots, a line per method.
        table: CSV with a row per run.
        summary: CSV with a row per method and number of shots.
    """

    out: Path
    split: str
    repeats: tuple[Repeats, ...]
    picture: Path
    table: Path
    summary: Path


def learn_curve(
    data: Path | str,
    *,
    methods: Sequence[str],
    shots: Sequence[int],
    backbone: str,
    out: Path | str,
    draws: int = 3,
    preset: Literal["paper", "default"] = "default",
    shots_from: Literal["random", "first"] = "random",
    shot_unit: Literal["case", "group"] = "case",
    split: Literal["test", "val"] | None = None,
    splits: Path | str | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    accept_license: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Curve:
    """Train several methods on growing numbers of cases and draw what they reach.

    All methods see the same cases: the draw of a seed is an order of which the first shots are
    taken. Tables and picture are written anew after every run, so that an interrupted curve can
    be looked at. The draws come one after the other: the first gives the whole curve.

    Args:
        data: folder (or CSV) of images and masks.
        methods: some of `dinoseg.METHODS`.
        shots: numbers of cases or groups.
        backbone: catalog name or local Hugging Face folder.
        out: folder for everything; the run folders are runs/METHOD/K-shot/draw-I.
        draws: of each number of shots; draw i has the seed `seed` + i.
        preset: "paper", the methods' published recipes, or "default", ours.
        shots_from: draw the shots at random (seeded) or take the first of the split.
        shot_unit: what is counted: cases, or groups (patients, videos).
        split: to score, "test" or "val"; default: test where it holds cases, else val.
        splits: a splits.json; default: the data set's own, else one drawn by group.
        changes: dotted settings to change for all methods, such as {"train.epochs": 20}, or for
            one of them, such as {"segdino-v2:model.decoder.width": 128}.
        seed: of the first draw, and of a split that must be drawn.
        device: "cpu", "cuda" or "cuda:1".
        accept_license: accept the licence of the backbone's weights.
        resume: go on with an interrupted curve; what is finished is not trained again. More
            methods, shots or draws than before are added to those that are there.
        overwrite: delete an older curve in `out` first.
        progress: shows the bars and lines.

    Raises:
        SplitError: fewer cases than shots, or nothing to score.
        DataError: the data cannot be read, or the split leaks.
        UsageError: an argument or a setting is not accepted, or a list names something twice.
        OutputError: `out` holds something else.
        RunError: `resume`, and the curve was started with other settings; a run diverged; or another
            process trains in `out`.
        WeightsError: the backbone's weights are missing.
    """
    progress = progress or Silent()
    request = Request(
        data=Path(data),
        out=anchor(Path(out)),
        methods=tuple(methods),
        shots=tuple(shots),
        draws=draws,
        backbone=str(backbone),
        preset=preset,
        shots_from=shots_from,
        shot_unit=shot_unit,
        split=split,
        splits=None if splits is None else Path(splits),
        changes=changes or {},
        seed=seed,
        device=device,
        accept_license=accept_license,
        resume=resume,
        overwrite=overwrite,
    )
    series = prepare(request, "curve", progress)
    jobs = _list_jobs(request)
    done = carry_out(
        series, jobs, publish=lambda found: _publish(series, found, len(jobs)), progress=progress
    )
    return Curve(
        request.out,
        series.split,
        gather(_sort(request, done)),
        *(request.out / name for name in (PICTURE, TABLE, SUMMARY)),
    )


def _list_jobs(request: Request) -> list[Job]:
    """Methods innermost: the first computes the features that the others find."""
    return [
        Job(method, shots, draw, f"runs/{method}/{shots}-shot/draw-{draw}")
        for draw in range(request.draws)
        for shots in request.shots
        for method in request.methods
    ]


def _sort(request: Request, draws: Sequence[Draw]) -> list[Draw]:
    """As they are read: by method, then by shots."""
    return sorted(draws, key=lambda draw: (request.methods.index(draw.method), draw.shots, draw.draw))


def _publish(series: Series, draws: Sequence[Draw], total: int) -> None:
    """Write tables and picture of the runs so far, replacing older ones."""
    request = series.request
    draws = _sort(request, draws)
    repeats = gather(draws)
    name = request.data.absolute().name
    backbone = Path(request.backbone).name  # of a folder
    parts = [f"{series.split} split of {name}", backbone, f"preset {request.preset}"]
    parts += [f"shots: {request.shot_unit}s, {request.shots_from}"]
    parts += [] if len(draws) == total else [f"{len(draws)} of {total} runs so far"]
    title = "; ".join(parts)
    rows, summary = list_draw_rows(draws, request.out), list_summary_rows(repeats)
    write_csv(request.out / TABLE, rows, comments=[title, OF_ONE], overwrite=True)
    write_csv(request.out / SUMMARY, summary, comments=[title, OF_DRAWS], overwrite=True)
    document = {
        "data": str(request.data.absolute()),
        "backbone": request.backbone,
        "preset": request.preset,
        "shots_from": request.shots_from,
        "shot_unit": request.shot_unit,
        "split": series.split,
        "runs": total,
        "meaning": [OF_ONE, OF_DRAWS],
        "repeats": to_plain(repeats, relative_to=request.out),
    }
    write_json(request.out / DOCUMENT, document, overwrite=True)
    draw_curve(
        repeats,
        request.out / PICTURE,
        title=f"{series.split.capitalize()} Dice with few labels: {name}",
        subtitle=", ".join([backbone, *parts[2:3], *parts[4:]]),
        split=series.split,
        unit=request.shot_unit,
    )

"""`learn_curve()`: what more labels bring, for several methods on the same draws and one feature cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dinoseg.config.options import choose_options
from dinoseg.config.training import ScoredSplit, Training
from dinoseg.outputs import to_plain, write_csv, write_json
from dinoseg.progress import Progress, Silent
from dinoseg.training.series.curve_picture import draw_curve
from dinoseg.training.series.jobs import Job
from dinoseg.training.series.outcomes import Draw, Repeats, gather
from dinoseg.training.series.repeats import Request, Series, prepare, train_and_score
from dinoseg.training.series.tables import OF_DRAWS, OF_ONE, list_draw_rows, list_summary_rows

TABLE = "curve.csv"
SUMMARY = "summary.csv"
DOCUMENT = "curve.json"
PICTURE = "curve.png"
ELSEWHERE = {"method": "is one of `methods`, which a curve takes a list of"}


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
    out: Path | str,
    methods: Sequence[str],
    shots: Sequence[int],
    draws: int = 3,
    *,
    split: ScoredSplit | None = None,
    how: Training | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Curve:
    """Train several methods on growing numbers of cases and draw what they reach.

    All methods see the same cases: the draw of a seed is an order of which the first shots are
    taken. Tables and picture are written anew after every run, so that an interrupted curve can
    be looked at. The draws come one after the other: the first gives the whole curve.

    Args:
        data: folder (or CSV) of images and masks.
        out: folder for everything; the run folders are runs/METHOD/K-shot/draw-I.
        methods: some of `dinoseg.METHODS`.
        shots: numbers of cases or groups.
        draws: of each number of shots; draw i has the seed `seed` + i.
        split: to score, "test" or "val"; default: test where it holds cases, else val.
        how: backbone and all else, see `Training`, without method. Of the `changes` a key such as
            "segdino-v2:model.decoder.width" is for one of the methods. With `resume`, what is finished is not
            trained again, and more methods, shots or draws than before are added to those that are there.
        progress: shows the bars and lines.
        options: fields of `Training` by name, in place of those of `how`.

    Raises:
        UsageError: an option or a setting is not accepted, or a list names something twice.
        DinosegError: as for `train_draws`.
    """
    progress, how = progress or Silent(), choose_options(Training, how, options, elsewhere=ELSEWHERE)
    lists = {"methods": tuple(methods), "shots": tuple(shots), "draws": draws}
    series = prepare(Request.make(data, out, split=split, how=how, **lists), "curve", progress)
    jobs = _list_jobs(series)
    publish = partial(_publish, series, total=len(jobs))
    done = train_and_score(series, jobs, publish=publish, progress=progress)
    request = series.request
    files = [request.out / name for name in (PICTURE, TABLE, SUMMARY)]
    return Curve(request.out, series.split, gather(_sort(request, done)), *files)


def _list_jobs(series: Series) -> list[Job]:
    """Methods innermost: the first computes the features that the others find."""
    request = series.request
    return [
        series.job(method, shots, draw, f"runs/{method}/{shots}-shot/draw-{draw}")
        for draw in range(request.draws)
        for shots in request.shots
        for method in request.methods
    ]


def _sort(request: Request, draws: Sequence[Draw]) -> list[Draw]:
    """As they are read: by method, then by shots."""
    return sorted(draws, key=lambda draw: (request.methods.index(draw.method), draw.shots, draw.draw))


def _publish(series: Series, draws: Sequence[Draw], *, total: int) -> None:
    """Write tables and picture of the runs so far, replacing older ones."""
    request, how = series.request, series.request.how
    draws = _sort(request, draws)
    repeats = gather(draws)
    name, backbone = request.data.absolute().name, Path(how.backbone).name  # of a folder
    preset = f"preset {how.preset}"
    so_far = [] if len(draws) == total else [f"{len(draws)} of {total} runs so far"]
    shots = f"shots: {how.shot_unit}s, {how.shots_from}"
    title = "; ".join([f"{series.split} split of {name}", backbone, preset, shots, *so_far])
    rows, summary = list_draw_rows(draws, request.out), list_summary_rows(repeats)
    write_csv(request.out / TABLE, rows, comments=[title, OF_ONE], overwrite=True)
    write_csv(request.out / SUMMARY, summary, comments=[title, OF_DRAWS], overwrite=True)
    document = {
        **request.describe(),
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
        subtitle=", ".join([backbone, preset, *so_far]),
        split=series.split,
        unit=how.shot_unit,
    )

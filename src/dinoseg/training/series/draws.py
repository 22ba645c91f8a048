"""`train_draws()`: one method on several draws of a few cases; the spread that one number hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dinoseg.outputs import to_plain, write_csv, write_json
from dinoseg.progress import Progress, Silent
from dinoseg.training.runs.run_folder import anchor
from dinoseg.training.series.outcomes import Draw, Repeats, gather
from dinoseg.training.series.repeats import Job, Request, Series, carry_out, prepare
from dinoseg.training.series.tables import OF_DRAWS, OF_ONE, describe_spread, list_draw_rows

TABLE = "draws.csv"
DOCUMENT = "draws.json"


@dataclass(frozen=True)
class Draws:
    """What came of several draws.

    Attributes:
        out: folder with a run folder per draw, draws.csv, draws.json and the splits of all.
        split: what was scored, "test" or "val".
        repeats: the draws and their spread.
    """

    out: Path
    split: str
    repeats: Repeats


def train_draws(
    data: Path | str,
    *,
    method: str,
    backbone: str,
    out: Path | str,
    shots: int,
    draws: int = 5,
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
) -> Draws:
    """Train on several draws of a few cases, score each, and report the spread.

    All draws share one split, written to `out`, so that they are scored on the same cases.

    Args:
        data: folder (or CSV) of images and masks.
        method: one of `dinoseg.METHODS`.
        backbone: catalog name or local Hugging Face folder.
        out: folder for all; draw-0, draw-1, … are ordinary run folders, each with its report.
        shots: cases or groups of each draw.
        draws: how many; draw i has the seed `seed` + i.
        preset: "paper", the method's published recipe, or "default", ours.
        shots_from: draw the shots at random (seeded) or take the first of the split.
        shot_unit: what is counted: cases, or groups (patients, videos).
        split: to score, "test" or "val"; default: test where it holds cases, else val.
        splits: a splits.json; default: the data set's own, else one drawn by group.
        changes: dotted settings to change, such as {"train.lr": 1e-4}.
        seed: of the first draw, and of a split that must be drawn.
        device: "cpu", "cuda" or "cuda:1".
        accept_license: accept the licence of the backbone's weights.
        resume: go on with an interrupted series; what is finished is not trained again. More
            `draws` than before are added to those that are there.
        overwrite: delete an older series in `out` first.
        progress: shows the bars and lines.

    Raises:
        SplitError: fewer cases than shots, or nothing to score.
        DataError: the data cannot be read, or the split leaks.
        UsageError: an argument or a setting is not accepted.
        OutputError: `out` holds something else.
        RunError: `resume`, and the series was started with other settings; a run diverged; or another
            process trains in `out`.
        WeightsError: the backbone's weights are missing.
    """
    progress = progress or Silent()
    request = Request(
        data=Path(data),
        out=anchor(Path(out)),
        methods=(method,),
        shots=(shots,),
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
    series = prepare(request, "draws", progress)
    jobs = [Job(method, shots, draw, f"draw-{draw}") for draw in range(draws)]
    done = carry_out(series, jobs, publish=lambda found: _publish(series, found), progress=progress)
    return Draws(request.out, series.split, gather(done)[0])


def _publish(series: Series, draws: Sequence[Draw]) -> None:
    """Write the tables of the draws so far, replacing older ones."""
    request, (repeats,) = series.request, gather(draws)
    unit = f"{request.shot_unit}s, {request.shots_from}"
    backbone = Path(request.backbone).name  # of a folder
    what = f"{repeats.method} on {backbone}, {repeats.shots} shots ({unit}), {series.split} split"
    comments = [f"{what} of {request.data.absolute().name}", describe_spread(repeats), OF_ONE, OF_DRAWS]
    write_csv(request.out / TABLE, list_draw_rows(draws, request.out), comments=comments, overwrite=True)
    document = {
        "data": str(request.data.absolute()),
        "backbone": request.backbone,
        "preset": request.preset,
        "shots_from": request.shots_from,
        "shot_unit": request.shot_unit,
        "split": series.split,
        "meaning": [OF_ONE, OF_DRAWS],
        **to_plain(repeats, relative_to=request.out),
    }
    write_json(request.out / DOCUMENT, document, overwrite=True)

"""`train_draws()`: one method on several draws of a few cases; the spread that one number hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dinoseg.config.options import choose_options
from dinoseg.config.training import ScoredSplit, Training
from dinoseg.errors import UsageError
from dinoseg.methods import find_method
from dinoseg.outputs import to_plain, write_csv, write_json
from dinoseg.progress import Progress, Silent
from dinoseg.training.series.outcomes import Draw, Repeats, gather
from dinoseg.training.series.repeats import Request, Series, prepare, train_and_score
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
    out: Path | str,
    draws: int = 5,
    *,
    split: ScoredSplit | None = None,
    how: Training | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Draws:
    """Train on several draws of a few cases, score each, and report the spread.

    All draws share one split, written to `out`, so that they are scored on the same cases.

    Args:
        data: folder (or CSV) of images and masks.
        out: folder for all; draw-0, draw-1, … are ordinary run folders, each with its report.
        draws: how many; draw i has the seed `seed` + i.
        split: to score, "test" or "val"; default: test where it holds cases, else val.
        how: method, shots and all else, see `Training`; `seed` is that of the first draw, and of a split
            that must be drawn. With `resume`, what is finished is not trained again, and more
            `draws` than before are added to those that are there.
        progress: shows the bars and lines.
        options: fields of `Training` by name, in place of those of `how`.

    Raises:
        SplitError: fewer cases than shots, or nothing to score.
        DataError: the data cannot be read, or the split leaks.
        UsageError: an option or a setting is not accepted, or the number of shots is missing.
        OutputError: `out` holds something else.
        RunError: `resume`, and the series was started with other settings; a run diverged; or another
            process trains in `out`.
        WeightsError: the backbone's weights are missing.
    """
    progress, how = progress or Silent(), choose_options(Training, how, options)
    if how.shots is None:
        raise UsageError("draws are of a few cases; say of how many with shots=K")
    method = find_method(how.method).name
    request = Request.make(
        data, out, methods=(method,), shots=(how.shots,), draws=draws, split=split, how=how
    )
    series = prepare(request, "draws", progress)
    jobs = [series.job(method, how.shots, draw, f"draw-{draw}") for draw in range(draws)]
    done = train_and_score(series, jobs, publish=partial(_publish, series), progress=progress)
    return Draws(request.out, series.split, gather(done)[0])


def _publish(series: Series, draws: Sequence[Draw]) -> None:
    """Write the tables of the draws so far, replacing older ones."""
    request, how, (repeats,) = series.request, series.request.how, gather(draws)
    unit = f"{how.shot_unit}s, {how.shots_from}"
    backbone = Path(how.backbone).name  # of a folder
    what = f"{repeats.method} on {backbone}, {repeats.shots} shots ({unit}), {series.split} split"
    comments = [f"{what} of {request.data.absolute().name}", describe_spread(repeats), OF_ONE, OF_DRAWS]
    write_csv(request.out / TABLE, list_draw_rows(draws, request.out), comments=comments, overwrite=True)
    document = {
        **request.describe(),
        "split": series.split,
        "meaning": [OF_ONE, OF_DRAWS],
        **to_plain(repeats, relative_to=request.out),
    }
    write_json(request.out / DOCUMENT, document, overwrite=True)

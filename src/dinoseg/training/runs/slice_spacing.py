"""How far apart the slices are that a model reads around each: from the headers of the training volumes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dinoseg.config import override
from dinoseg.data import CaseFiles
from dinoseg.data.cases.volumes import measure_spacing
from dinoseg.model.network import reach_of
from dinoseg.model.settings import RunSettings
from dinoseg.progress import Progress
from dinoseg.training.runs.run_folder import RunFolder


def choose_slice_spacing(
    settings: RunSettings, cases: Sequence[CaseFiles], begun: RunFolder | None, progress: Progress
) -> RunSettings:
    """The settings with the distance of slices for methods that read those around each.

    It is the median of the cases that say, in every plane that they are cut in; a run that goes on keeps what
    it was begun with, which is none for runs of older releases.

    Args:
        settings: of the run.
        cases: to learn from; only their headers are read.
        begun: the folder of a run that may be resumed.
        progress: told where the cases differ, or do not all say.

    Raises:
        RunError: the settings of the run that was begun cannot be read.
    """
    if not reach_of(settings.model):
        return settings
    if begun is not None and begun.config.is_file():
        spacing = begun.read_config().model.preprocessing.slice_spacing
    else:
        planes = settings.model.preprocessing.planes
        found = [[measure_spacing(case, plane) for plane in planes] for case in cases]
        known = [each for case in found for each in case if each is not None]
        spacing = round(statistics.median(known), 6) if known else None
        if told := _word(known, spacing, silent=found.count([None] * len(planes)), count=len(cases)):
            progress.note(told)
    return override(settings, {"model.preprocessing.slice_spacing": spacing})


def _word(known: Sequence[float], spacing: float | None, *, silent: int, count: int) -> str:
    """What is read where volumes differ; "" where all are alike."""
    if spacing is None or (not silent and round(min(known), 6) == round(max(known), 6)):
        return ""
    told = (
        f"the slices around each are read {spacing:.3g} mm apart, the median of the training volumes "
        f"({min(known):.3g} to {max(known):.3g} mm)"
    )
    return told + (
        f"; {silent} of {count} do not say how far apart theirs are: there it is the next" if silent else ""
    )

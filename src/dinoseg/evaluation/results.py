"""`Evaluation`: what comes of scoring a model, or anybody's masks, and how the scores of cases become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dinoseg.data.cases.files import shorten
from dinoseg.data.cases.prints import Likeness as Sameness
from dinoseg.errors import DataError
from dinoseg.evaluation.calibration import Observation
from dinoseg.evaluation.contents import Failure
from dinoseg.evaluation.definitions import protocol_lines
from dinoseg.evaluation.lesions import DEFAULT_IOU
from dinoseg.evaluation.metrics import DEFAULT_TOLERANCE, ClassScore, Unit
from dinoseg.evaluation.reliability import Reliability
from dinoseg.evaluation.strata import Strata, find_metadata, find_strata
from dinoseg.evaluation.summary import ClassSummary, Protocol, headline, summarise, tell_undecided
from dinoseg.progress import Progress


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model, or of masks.

    Attributes:
        scores: one per class and case, and one per region where the data set declares regions.
        summaries: one per class, then the mean over classes where there are several; then the same
            for regions.
        protocol: "native" or "paper".
        failures: cases that could not be read; in no mean.
        tolerance: of the NSD, in `unit`.
        unit: of distances, "mm" or "px".
        report: the page that was written, or None.
        match_iou: two lesions match where their IoU is above it.
        strata: the cases by metadata.csv and by size; empty where nothing divides them.
        unlike: cases that are not like what the model was trained on, and how they differ; empty for
            masks.
        reliability: how the model's confidence agrees with the scores; None for masks, and where it says
            nothing.
        observations: what that is from, of the cases in order.
        trained_on: cases that the model was trained on ("same"), or that look the same ("alike"), under
            whatever name; not asked of the split train.
    """

    scores: tuple[ClassScore, ...]
    summaries: tuple[ClassSummary, ...]
    protocol: Protocol
    failures: tuple[Failure, ...]
    tolerance: float
    unit: Unit
    report: Path | None = None
    match_iou: float = DEFAULT_IOU
    strata: tuple[Strata, ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()
    reliability: Reliability | None = None
    observations: tuple[Observation, ...] = field(default=(), repr=False, compare=False)
    trained_on: tuple[tuple[str, Sameness], ...] = ()

    @property
    def headline(self) -> ClassSummary:
        """The row that stands for all: the mean over regions where there are any, else over classes."""
        return headline(self.summaries)

    @property
    def policy(self) -> tuple[str, ...]:
        """What the scores mean, line by line."""
        regions = any(row.region for row in self.summaries)
        return protocol_lines(
            self.protocol,
            tolerance=self.tolerance,
            unit=self.unit,
            regions=regions,
            match_iou=self.match_iou,
        )


@dataclass(frozen=True)
class Scoring:
    """How cases are scored.

    Attributes:
        tolerance: of the NSD; None for the default of the unit.
        seed: of the bootstrap.
        protocol: "native" or "paper".
        match_iou: two lesions match where their IoU is above it.
    """

    tolerance: float | None
    seed: int
    protocol: Protocol = "native"
    match_iou: float = DEFAULT_IOU

    def tolerance_in(self, unit: Unit) -> float:
        """The tolerance of cases with this unit."""
        return DEFAULT_TOLERANCE[unit] if self.tolerance is None else self.tolerance


def conclude(
    scores: Sequence[ClassScore],
    failures: Sequence[Failure],
    scoring: Scoring,
    *,
    root: Path,
    metadata: Path | None = None,
    is_volumes: bool,
    progress: Progress,
) -> Evaluation:
    """Summarise scores, and divide the cases into strata.

    Args:
        scores: of all classes and regions of all cases.
        failures: cases without scores.
        scoring: as they were scored.
        root: of the data, where metadata.csv may lie.
        metadata: the table that a person named instead.
        is_volumes: whether the cases are volumes.
        progress: told which cases failed, and where a unit or a table is missing.

    Raises:
        DataError: there is no score, nobody decided a pixel of any case, or only some cases have a spacing.
        LayoutError: the named table is of no use.
    """
    for failure in failures:
        progress.note(f"{failure.case} failed and is in no mean: {failure.message}")
    if not scores:
        raise DataError(f"no case could be scored: {shorten(failure.message for failure in failures)}")
    tell_undecided(scores, root, progress)
    summaries, unit = summarise(scores, seed=scoring.seed, protocol=scoring.protocol), scores[0].unit
    if is_volumes and unit == "px":
        progress.note("the files say nothing of the size of a voxel: distances are in voxels (px), not mm")
    known = find_metadata(root, scores, given=metadata, progress=progress)
    return Evaluation(
        scores=tuple(scores),
        summaries=tuple(summaries),
        protocol=scoring.protocol,
        failures=tuple(failures),
        tolerance=scoring.tolerance_in(unit),
        unit=unit,
        match_iou=scoring.match_iou,
        strata=find_strata(scores, known, seed=scoring.seed),
    )

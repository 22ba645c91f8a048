"""`Evaluation`: what comes of scoring a model, or anybody's masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dinoseg.evaluation.definitions import protocol_lines
from dinoseg.evaluation.lesions import DEFAULT_IOU
from dinoseg.evaluation.metrics import ClassScore, Unit
from dinoseg.evaluation.report import Failure
from dinoseg.evaluation.strata import Strata
from dinoseg.evaluation.summary import ClassSummary, Protocol, headline


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

"""`Report`: what a report says, before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dinoseg.data.cases.files import shorten
from dinoseg.data.cases.prints import Likeness as Sameness
from dinoseg.evaluation.definitions import CONFIDENCE_TEXT
from dinoseg.evaluation.examples import Picture
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.reliability import Reliability
from dinoseg.evaluation.strata import STRATA_TEXT, Strata
from dinoseg.evaluation.summary import ClassSummary, Protocol

if TYPE_CHECKING:
    from dinoseg.evaluation.paper.study import Study


@dataclass(frozen=True)
class Failure:
    """A case that could not be evaluated.

    Attributes:
        case: name of the case.
        message: why, in one line.
    """

    case: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The content of a report.

    Attributes:
        scores: of all classes and regions of all cases, with their lesions.
        summaries: of the same scores.
        title: heading of the page.
        policy: lines that say what the scores mean; they open every CSV and close the page.
        protocol: "native" or "paper"; the latter is marked as not comparable.
        facts: what was evaluated, shown under the heading and stored (model, data, split, seed).
        classes: name of each id, for the colours of the gallery.
        pictures: of the gallery, in order.
        failures: cases without scores; shown beside the means.
        strata: the cases by metadata and size.
        reliability: of the model's confidence; None where there is none.
        study: what a paper tells of it; None for no method statement and no checklist.
        trained_on: case -> "same" or "alike", where the model was trained on it or on one that looks so.
    """

    scores: Sequence[ClassScore]
    summaries: Sequence[ClassSummary]
    title: str
    policy: Sequence[str]
    protocol: Protocol = "native"
    facts: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    failures: Sequence[Failure] = ()
    strata: Sequence[Strata] = ()
    reliability: Reliability | None = None
    trained_on: Mapping[str, Sameness] = field(default_factory=dict)
    study: Study | None = None

    @property
    def leaks(self) -> str:
        """One line about the cases that the model was trained on; "" where there is none."""
        if not self.trained_on:
            return ""
        total = len({score.case for score in self.scores})
        same = sum(found == "same" for found in self.trained_on.values())
        return (
            f"the model was trained on {same} of the {total} cases, and on cases that look the same as "
            f"{len(self.trained_on) - same} more: {shorten(self.trained_on)}; the scores say too much of it"
        )

    @property
    def failed(self) -> list[str]:
        """The failures as lines."""
        return [f"{failure.case}: {failure.message}" for failure in self.failures]


def list_policy(report: Report) -> list[str]:
    """What everything on the page means, line by line."""
    lines = [*report.policy, *([STRATA_TEXT] if report.strata else [])]
    return [*lines, *([CONFIDENCE_TEXT] if report.reliability is not None else [])]

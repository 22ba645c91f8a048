"""What `check_dataset` reports: findings with a severity, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dinoseg.data.cases.files import shorten
from dinoseg.data.checks.summaries import ClassSummary, Copy, IntensityRange, VolumeSummary, format_share

Severity = Literal["error", "warning", "info"]

_NAMED = 5
_ORDER: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        severity: "error" stops training, "warning" may spoil it, "info" is good to know.
        topic: one word to count and filter by, e.g. "unpaired", "unreadable", "leak".
        message: one line that names files or cases.
    """

    severity: Severity
    topic: str
    message: str


@dataclass(frozen=True)
class DataReport:
    """The result of `check_dataset`.

    Attributes:
        root: the data set.
        layout: the recognised layout in words; "" where there is none.
        cases: number of paired cases.
        groups: number of patients or videos (equal to `cases` where nothing is known).
        splits: split -> number of cases; empty where there are no splits yet.
        smallest: (height, width) of the image with the fewest pixels, or None.
        largest: (height, width) of the image with the most pixels, or None.
        image_kinds: e.g. "JPEG RGB" -> number of images.
        mapping: the mapping of mask values in words; "" where there is none.
        histogram: mask value -> pixels in all masks.
        classes: class id -> its numbers, without the background.
        empty: number of cases whose mask is all background.
        findings: errors first.
        volumes: grids of volumes; None where the cases are images.
        undecided: number of cases of which every pixel is ignored; they are not empty.
        intensities: the range of the images of each depth.
        copies: pairs of cases in different splits, or groups, that show the same or nearly.
        size: side in pixels that training will resize images (of volumes, slices) to.
        proposed_size: the smallest that resolves what the masks show; None where they show nothing.
        proposed_window: side of windows at native resolution that would do so too; None where not.
        proposal: the same in words.
    """

    root: Path
    layout: str = ""
    cases: int = 0
    groups: int = 0
    splits: Mapping[str, int] = field(default_factory=dict)
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    image_kinds: Mapping[str, int] = field(default_factory=dict)
    mapping: str = ""
    histogram: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[int, ClassSummary] = field(default_factory=dict)
    empty: int = 0
    findings: tuple[Finding, ...] = ()
    volumes: VolumeSummary | None = None
    undecided: int = 0
    intensities: tuple[IntensityRange, ...] = ()
    copies: tuple[Copy, ...] = ()
    size: int | None = None
    proposed_size: int | None = None
    proposed_window: int | None = None
    proposal: str = ""

    @property
    def exit_code(self) -> int:
        """3 if anything would stop a training, else 0."""
        return 3 if self.select("error") else 0

    def select(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values."""
        return {
            "root": str(self.root),
            "layout": self.layout,
            "cases": self.cases,
            "groups": self.groups,
            "splits": dict(self.splits),
            "smallest": list(self.smallest) if self.smallest else None,
            "largest": list(self.largest) if self.largest else None,
            "image_kinds": dict(self.image_kinds),
            "mapping": self.mapping,
            "histogram": dict(self.histogram),
            "classes": {str(id_): dict(vars(summary)) for id_, summary in self.classes.items()},
            "empty": self.empty,
            "undecided": self.undecided,
            "intensities": [dict(vars(each)) for each in self.intensities],
            "size": self.size,
            "proposed_size": self.proposed_size,
            "proposed_window": self.proposed_window,
            "proposal": self.proposal,
            "volumes": dict(vars(self.volumes)) if self.volumes else None,
            "copies": [{**vars(copy), "paths": [str(path) for path in copy.paths]} for copy in self.copies],
            "findings": [dict(vars(finding)) for finding in self.findings],
        }

    def lines(self) -> list[str]:
        """The report as text lines."""
        return [*self._describe_files(), *self._describe_labels(), *self._describe_findings()]

    def _describe_files(self) -> list[str]:
        lines = [
            f"{self.root}: {self.layout or 'no known layout'}, {self.cases} cases in {self.groups} groups"
        ]
        if self.smallest and self.largest:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self.image_kinds.items())
            low, high = (f"{height}×{width}" for height, width in (self.smallest, self.largest))
            lines.append(f"images: {low} to {high} (height × width); {kinds}")
        if self.intensities:
            lines.append(f"values: {'; '.join(each.describe() for each in self.intensities)}")
        if self.volumes:
            lines += self.volumes.lines()
        if self.splits:
            lines.append("splits: " + ", ".join(f"{count} {name}" for name, count in self.splits.items()))
        return lines

    def _describe_labels(self) -> list[str]:
        if not self.mapping:
            return []
        total = max(sum(self.histogram.values()), 1)
        shares = [f"{value}: {format_share(count / total)}" for value, count in self.histogram.items()]
        more = [f"and {len(shares) - 16} more"] if len(shares) > 16 else []
        lines = [f"mask values: {', '.join(shares[:16] + more)}", f"classes from values: {self.mapping}"]
        lines += [summary.describe(id_) for id_, summary in self.classes.items()]
        lines.append(f"empty masks: {self.empty}")
        if self.undecided:
            lines.append(f"masks without a decided pixel: {self.undecided}")
        return [*lines, self.proposal] if self.proposal else lines

    def _describe_findings(self) -> list[str]:
        counts = {severity: len(self.select(severity)) for severity in _ORDER}
        summary = f"{counts['error']} errors, {counts['warning']} warnings"
        return [*(f"{finding.severity}: {finding.message}" for finding in self.findings), summary]


def list_cases(severity: Severity, topic: str, ids: Iterable[str], what: str) -> list[Finding]:
    """One finding that names the first few of some cases, or none where there are none."""
    names = list(ids)
    if not names:
        return []
    cases = "1 case" if len(names) == 1 else f"{len(names)} cases"
    return [Finding(severity, topic, f"{what} in {cases}: {shorten(names, limit=_NAMED)}")]


def sort_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings; otherwise in the given order."""
    return tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity)))

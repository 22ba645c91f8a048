"""What a finished training says about what would help next: more labels, more epochs, a larger input.

Numbers that were measured on this run, and the command that acts on them; what cannot be measured is said to
be so. report/advice.json holds all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinoseg.data import CaseFiles
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import write_json
from dinoseg.training.advice.detail import Detail, measure_detail
from dinoseg.training.advice.probes import FEWEST_UNITS, Labels, probe_labels
from dinoseg.training.advice.trend import FEWEST, Trend, find_trend
from dinoseg.training.features.bank import ViewBank

FAIR = 0.5  # of the run's own Dice: below, a linear probe is no measure of what labels bring
LONGER = 1.5  # times as many epochs are proposed


@dataclass(frozen=True)
class Advice:
    """What would help a run next.

    Attributes:
        labels: nested probes; None where there are too few cases, or nothing to validate on.
        epochs: of the run.
        trend: of its validation Dice; None where too few epochs were validated.
        dice: the best validation Dice of the run; None where there is none.
        detail: what the input size leaves of the masks; None where they are seen in windows, as they are.
    """

    labels: Labels | None
    epochs: int
    trend: Trend | None
    dice: float | None
    detail: Detail | None

    def lines(self) -> list[str]:
        """A line each about labels, epochs and size."""
        return [self._word_labels(), self._word_epochs(), self._word_size()]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values, with the lines."""
        labels, trend = self.labels, self.trend
        return {
            "labels": labels
            and {**asdict(labels), "gains": labels.gains, "expected_gain": _round(labels.expected_gain),
                 "fair": self._is_fair(labels)},
            "epochs": trend and {**asdict(trend), "rises": trend.rises, "trained": self.epochs},
            "size": self.detail and {**asdict(self.detail), "cuts": self.detail.cuts},
            "lines": self.lines(),
        }  # fmt: skip

    def _is_fair(self, labels: Labels) -> bool:
        return self.dice is None or labels.reached >= FAIR * self.dice

    def _word_labels(self) -> str:
        labels = self.labels
        if labels is None:
            return f"labels: not measured; that takes {FEWEST_UNITS} training cases, and some to validate on"
        if not self._is_fair(labels):
            return (
                f"labels: not measured: linear probes reach {labels.reached:.2f}, the run {self.dice:.2f}; "
                "`dinoseg curve` trains the method itself on fewer and more"
            )
        quarter, half, whole = labels.counts
        low, high = min(labels.gains), max(labels.gains)
        expected = labels.expected_gain
        told = f"twice as many, {2 * whole} {labels.unit}, would bring about {expected or 0:+.3f} Dice"
        if expected is None:
            told = "what twice as many would bring cannot be told"
        return (
            f"labels: {told}, going by linear probes: {labels.earlier_gain:+.3f} from {quarter} to {half} "
            f"{labels.unit}, {labels.gain:+.3f} from {half} to {whole} ({low:+.3f} to {high:+.3f} in "
            f"{len(labels.gains)} draws); `dinoseg curve` measures the method itself"
        )

    def _word_epochs(self) -> str:
        trend = self.trend
        if trend is None:
            return (
                "epochs: too few to tell whether validation Dice still rises; that takes "
                f"{FEWEST} validations in the last third, so {3 * FEWEST - 2} epochs where each is validated"
            )
        moved = (
            f"validation Dice moved by {trend.change:+.4f} (standard error {trend.error:.4f}) from epoch "
            f"{trend.first} to {trend.last}"
        )
        if not trend.rises:
            return f"epochs: {moved}: no sign that more would help"
        return f"epochs: {moved}: it still rises; --resume --epochs {round(LONGER * self.epochs)} goes on"

    def _word_size(self) -> str:
        detail = self.detail
        if detail is None:
            return "size: nothing is resized, as images are seen in windows"
        if not detail.proposed_size:
            return "size: not judged, as the masks show nothing"
        if not detail.regions:
            return f"size: {detail.words}"
        share = detail.small / detail.regions
        counted = f"{detail.small} of {detail.regions} regions ({share:.1%})"
        return (
            f"size: {detail.words}; at {detail.size} px {counted} are below one patch, {detail.vanished} "
            "below one pixel"
        )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def advise(
    model: Segmenter,
    settings: RunSettings,
    banks: tuple[ViewBank, ViewBank | None],
    cases: Sequence[CaseFiles],
    rows: Sequence[Mapping[str, float]],
    *,
    choosing: bool,
) -> Advice:
    """Measure what would help next, in seconds: on features that are there, without the backbone.

    Args:
        model: that was trained.
        settings: of the run.
        banks: that it learned from and was validated on.
        cases: to learn from, in the order of their bank.
        rows: of its epochs.
        choosing: the validation cases show a class.
    """
    train_bank, val_bank = banks
    scored = [row["val_dice"] for row in rows if row["val_dice"] == row["val_dice"]]
    classes = [id_ for id_ in model.classes if id_ != 0]
    labels = None
    if val_bank is not None and choosing:
        labels = probe_labels(
            train_bank,
            val_bank,
            [case.group for case in cases],
            classes=len(classes),
            seed=settings.train.seed,
        )
    return Advice(
        labels=labels,
        epochs=len(rows),
        trend=find_trend(rows),
        dice=max(scored, default=None),
        detail=None if settings.train.window else _measure_detail(model, banks, classes),
    )


def _measure_detail(
    model: Segmenter, banks: tuple[ViewBank, ViewBank | None], classes: Sequence[int]
) -> Detail:
    return measure_detail(
        [bank for bank in banks if bank is not None],
        classes,
        size=model.size[0],
        patch=min(model.backbone.strides),
    )


def write_advice(advice: Advice, path: Path) -> None:
    """Write it as JSON, replacing an older one."""
    write_json(path, advice.to_dict(), overwrite=True)

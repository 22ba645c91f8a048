"""Report folders for the tests of `compare`: scores are given, not computed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

from dinoseg.evaluation.contents import Failure, Report
from dinoseg.evaluation.definitions import protocol_lines
from dinoseg.evaluation.examples import Picture
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.report import write_report
from dinoseg.evaluation.summary import Protocol, summarise


def made_score(
    case: str,
    dice: float,
    *,
    group: str = "",
    name: str = "lesion",
    class_id: int = 1,
    size: int = 40,
    unit: str = "px",
    outcome: str = "scored",
) -> ClassScore:
    return ClassScore(
        case=case,
        group=group or case,
        class_id=class_id,
        class_name=name,
        dice=dice,
        iou=dice / (2 - dice),
        hd95=10 * (1 - dice),
        assd=5 * (1 - dice),
        nsd=dice,
        outcome=outcome,  # type: ignore[arg-type]
        target_size=size,
        prediction_size=size,
        unit=unit,  # type: ignore[arg-type]
    )


def write_scores(
    folder: Path,
    scores: Sequence[ClassScore],
    *,
    protocol: Protocol = "native",
    tolerance: float = 2.0,
    pictures: Sequence[Picture] = (),
    failures: Sequence[Failure] = (),
) -> Path:
    report = Report(
        scores=scores,
        summaries=summarise(scores, seed=0, draws=20),
        title="a report",
        policy=protocol_lines(protocol, tolerance=tolerance, unit="px"),
        protocol=protocol,
        facts={"Method": "linear", "Postprocessing": "none"},
        pictures=pictures,
        failures=failures,
    )
    with _without_page() if not pictures else nullcontext():
        write_report(report, folder)
    return folder


def _without_page() -> AbstractContextManager[object]:
    """Its chart takes longer than all the rest, and only pictures are read back from it."""
    return patch("dinoseg.evaluation.page.build_page", return_value="")


def write_dice(folder: Path, dice: Sequence[float], *, groups: Sequence[str] = ()) -> Path:
    """A report with these Dice of the cases c0, c1 and so on."""
    names = groups or [""] * len(dice)
    scores = [
        made_score(f"c{place}", value, group=group)
        for place, (value, group) in enumerate(zip(dice, names, strict=True))
    ]
    return write_scores(folder, scores)

"""Writing an evaluation: cases.csv, summary.csv, summary.json and one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinoseg.evaluation.examples import Picture
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.page import build_page
from dinoseg.evaluation.summary import ClassSummary, Protocol
from dinoseg.outputs import refuse_existing, write_csv, write_json, write_text

FILES = ("cases.csv", "summary.csv", "summary.json", "index.html")


@dataclass(frozen=True)
class Failure:
    """A case that could not be evaluated.

    Attributes:
        case: name of the case.
        message: why, in one line.
    """

    case: str
    message: str


def write_report(
    scores: Sequence[ClassScore],
    summaries: Sequence[ClassSummary],
    out: Path,
    *,
    title: str,
    policy: Sequence[str],
    protocol: Protocol = "native",
    facts: Mapping[str, str] | None = None,
    classes: Mapping[int, str] | None = None,
    pictures: Sequence[Picture] = (),
    failures: Sequence[Failure] = (),
    overwrite: bool = False,
) -> Path:
    """Write the four files of a report into `out` and return the path of its page.

    Args:
        scores: of all classes and regions of all cases.
        summaries: of the same scores.
        out: folder, created where needed.
        title: heading of the page.
        policy: lines that say what the scores mean; they open every CSV and close the page.
        protocol: "native" or "paper"; the latter is marked as not comparable.
        facts: what was evaluated, shown under the heading and stored (model, data, split, seed).
        classes: name of each id, for the colours of the gallery.
        pictures: of the gallery, in order.
        failures: cases without scores; shown beside the means.
        overwrite: replace the files of an older report.

    Raises:
        OutputError: a file exists already or cannot be written; existing ones are checked first.
    """
    refuse_report(out, overwrite=overwrite)
    facts = facts or {}
    comments = [title, *(f"{key}: {value}" for key, value in facts.items()), *policy]
    comments += [f"Failed, not in the means: {failure.case}: {failure.message}" for failure in failures]
    comments = [" ".join(line.split()) for line in comments]
    write_csv(out / "cases.csv", _case_rows(scores), comments=comments, overwrite=overwrite)
    write_csv(out / "summary.csv", _summary_rows(summaries), comments=comments, overwrite=overwrite)
    document = {
        "title": title,
        "protocol": protocol,
        "comparable": protocol == "native",
        "facts": dict(facts),
        "policy": list(policy),
        "classes": [asdict(row) for row in summaries],
        "failures": [asdict(failure) for failure in failures],
    }
    write_json(out / "summary.json", document, overwrite=overwrite)
    page = build_page(
        scores,
        summaries,
        title=title,
        policy=policy,
        protocol=protocol,
        facts=facts,
        classes=classes or {},
        pictures=pictures,
        failed=[f"{failure.case}: {failure.message}" for failure in failures],
    )
    write_text(out / "index.html", page, overwrite=overwrite)
    return out / "index.html"


def refuse_report(out: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if `out` holds a file of a report and `overwrite` is false."""
    for name in FILES:
        refuse_existing(out / name, overwrite=overwrite)


def _case_rows(scores: Sequence[ClassScore]) -> list[dict[str, Any]]:
    return [{key: _shorten(value) for key, value in asdict(score).items()} for score in scores]


def _summary_rows(summaries: Sequence[ClassSummary]) -> list[dict[str, Any]]:
    rows = []
    for row in summaries:
        for metric in row.metrics:
            values: dict[str, Any] = {
                "class_id": "all" if row.kind == "mean" else row.class_id,
                "class_name": row.class_name,
                "kind": row.kind,
                "region": row.region,
                "metric": metric.metric,
                "unit": row.unit if metric.metric in ("hd95", "assd") else "",
                "mean": metric.interval.mean,
                "low": metric.interval.low,
                "high": metric.interval.high,
                "sd": metric.sd,
                "median": metric.median,
                "mean_with_target": metric.mean_with_target,
                "cases_in_mean": metric.cases,
                "cases": row.cases,
                "groups": row.groups,
                "with_target": row.with_target,
                "missed": row.missed,
                "false_alarms": row.false_alarms,
                "both_empty": row.both_empty,
            }
            rows.append({key: _shorten(value) for key, value in values.items()})
    return rows


def _shorten(value: Any) -> Any:
    """Return floats with six decimals, ids as 1+2, and an empty cell for what is not known."""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value

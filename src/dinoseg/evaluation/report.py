"""Writing an evaluation: cases.csv, summary.csv, summary.json and one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dinoseg.evaluation.contents import Report
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.page import build_page
from dinoseg.evaluation.summary import ClassSummary
from dinoseg.outputs import refuse_existing, write_csv, write_json, write_text

FILES = ("cases.csv", "summary.csv", "summary.json", "index.html")


def write_report(report: Report, out: Path | str, *, overwrite: bool = False) -> Path:
    """Write the four files of a report into `out` and return the path of its page.

    Args:
        report: what they say.
        out: folder, created where needed.
        overwrite: replace the files of an older report.

    Raises:
        OutputError: a file exists already or cannot be written; existing ones are checked first.
    """
    out = Path(out)
    refuse_report(out, overwrite=overwrite)
    comments = _list_comments(report)
    write_csv(out / "cases.csv", _case_rows(report.scores), comments=comments, overwrite=overwrite)
    write_csv(out / "summary.csv", _summary_rows(report.summaries), comments=comments, overwrite=overwrite)
    document = {
        "title": report.title,
        "protocol": report.protocol,
        "comparable": report.protocol == "native",
        "facts": dict(report.facts),
        "policy": list(report.policy),
        "classes": [asdict(row) for row in report.summaries],
        "failures": [asdict(failure) for failure in report.failures],
    }
    write_json(out / "summary.json", document, overwrite=overwrite)
    write_text(out / "index.html", build_page(report), overwrite=overwrite)
    return out / "index.html"


def _list_comments(report: Report) -> list[str]:
    comments = [report.title, *(f"{key}: {value}" for key, value in report.facts.items()), *report.policy]
    comments += [f"Failed, not in the means: {line}" for line in report.failed]
    return [" ".join(line.split()) for line in comments]


def refuse_report(out: Path, *, overwrite: bool) -> Path:
    """Return `out`; raise `OutputError` if it holds a file of a report and `overwrite` is false."""
    for name in FILES:
        refuse_existing(out / name, overwrite=overwrite)
    return out


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
                "undecided": row.undecided,
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

"""Writing an evaluation: cases.csv, summary.csv, summary.json and one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dinoseg.evaluation.contents import Report
from dinoseg.evaluation.definitions import DISTANCES
from dinoseg.evaluation.lesions import LesionScore
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.reliability import Reliability
from dinoseg.evaluation.summary import ClassSummary
from dinoseg.model.confidence import Confidence
from dinoseg.outputs import atomic_files, claim, refuse_taken, write_csv, write_json, write_text

FILES = ("cases.csv", "summary.csv", "summary.json", "index.html")


def write_report(report: Report, out: Path | str, *, overwrite: bool = False) -> Path:
    """Write the four files of a report into `out` and return the path of its page.

    Args:
        report: what they say.
        out: folder, created where needed.
        overwrite: replace the files of an older report.

    Raises:
        OutputError: a file exists already, or cannot be written; then all older ones are as they were.
    """
    out = Path(out)
    refuse_report(out, overwrite=overwrite)
    claim(out, parts=())
    with atomic_files([out / name for name in FILES], overwrite=overwrite) as folder:
        _write_files(report, folder)
    return out / "index.html"


def _write_files(report: Report, out: Path) -> None:
    # most evaluations write no page
    from dinoseg.evaluation.page import build_page
    from dinoseg.evaluation.paper.statement import write_statement

    comments = _list_comments(report)
    write_csv(out / "cases.csv", _case_rows(report), comments=comments)
    write_csv(out / "summary.csv", _summary_rows(report.summaries), comments=comments)
    document = {
        "title": report.title,
        "protocol": report.protocol,
        "comparable": report.protocol == "native",
        "facts": dict(report.facts),
        "policy": list(report.policy),
        "classes": [asdict(row) for row in report.summaries],
        "strata": [asdict(row) for row in report.strata],
        "failures": [asdict(failure) for failure in report.failures],
        "confidence": None if report.reliability is None else report.reliability.describe(),
        "trained_on": dict(report.trained_on),
        "method": [] if report.study is None else list(write_statement(report.study)),
    }
    write_json(out / "summary.json", document)
    write_text(out / "index.html", build_page(report))


def _list_comments(report: Report) -> list[str]:
    comments = [report.title, *(f"{key}: {value}" for key, value in report.facts.items()), *report.policy]
    comments += [f"Failed, not in the means: {line}" for line in report.failed]
    comments += [f"Leak: {report.leaks}"] if report.leaks else []
    return [" ".join(line.split()) for line in comments]


def refuse_report(out: Path, *, overwrite: bool) -> Path:
    """Return `out`; raise `OutputError` if it holds a file of a report that is not to be replaced."""
    refuse_taken((out / name for name in FILES), overwrite=overwrite)
    return out


def _case_rows(report: Report) -> list[dict[str, Any]]:
    stated = _list_stated(report.reliability)
    listed = [{**_list_values(score), **_list_confidence(score, stated)} for score in report.scores]
    rows = [{key: _shorten(value) for key, value in values.items()} for values in listed]
    columns = max(rows, key=len, default={})  # an undecided case has no lesions
    known = report.trained_on
    return [
        {
            **{key: row.get(key) for key in columns},
            **({"trained_on": known.get(row["case"], "")} if known else {}),
        }
        for row in rows
    ]


def _list_values(score: ClassScore) -> dict[str, Any]:
    values = {key: value for key, value in vars(score).items() if key != "lesions"}
    return values if score.lesions is None else {**values, **_list_lesions(score.lesions)}


def _list_stated(reliability: Reliability | None) -> dict[str, Confidence]:
    return {} if reliability is None else {case.case: case.confidence for case in reliability.cases}


def _list_confidence(score: ClassScore, stated: Mapping[str, Confidence]) -> dict[str, Any]:
    """What was expected of the class, and of the case; regions have no expected Dice of their own."""
    found = stated.get(score.case)
    if not stated:
        return {}
    return {
        "expected_dice": None if found is None else found.classes.get(score.class_id or 0),
        "expected_dice_of_case": None if found is None else found.expected_dice,
        "miss_probability": None if found is None else found.miss,
        "feature_distance": None if found is None else found.distance,
    }


def _list_lesions(found: LesionScore) -> dict[str, Any]:
    return {
        "lesions": len(found.lesions),
        "lesions_predicted": found.predicted,
        "lesions_matched": found.matched,
        "lesion_precision": found.precision,
        "lesion_recall": found.recall,
        "lesion_f1": found.f1,
        "lesion_dice": found.dice,
        "lesion_size": found.size,
        "lesion_size_unit": found.unit,
    }


def _summary_rows(summaries: Sequence[ClassSummary]) -> list[dict[str, Any]]:
    return [
        {key: _shorten(value) for key, value in {**_name_row(row), **values, **_count_row(row)}.items()}
        for row in summaries
        for values in _list_means(row)
    ]


def _name_row(row: ClassSummary) -> dict[str, Any]:
    return {
        "class_id": "all" if row.kind == "mean" else row.class_id,
        "class_name": row.class_name,
        "kind": row.kind,
        "region": row.region,
    }


def _list_means(row: ClassSummary) -> Iterator[dict[str, Any]]:
    for metric in row.metrics:
        yield {
            "metric": metric.metric,
            "unit": row.unit if metric.metric in DISTANCES else "",
            **asdict(metric.interval),
            "sd": metric.sd,
            "median": metric.median,
            "mean_with_target": metric.mean_with_target,
            "cases_in_mean": metric.cases,
        }
    for name, interval in (row.lesions.means if row.lesions else {}).items():
        unknown = {"sd": None, "median": None, "mean_with_target": None}
        yield {"metric": name, "unit": "", **asdict(interval), **unknown, "cases_in_mean": row.cases}


def _count_row(row: ClassSummary) -> dict[str, Any]:
    names = ("cases", "groups", "with_target", "missed", "false_alarms", "both_empty", "undecided")
    return {name: getattr(row, name) for name in names}


def _shorten(value: Any) -> Any:
    """Return floats with six decimals, ids as 1+2, and an empty cell for what is not known."""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value

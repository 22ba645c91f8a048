"""Writing an evaluation: cases.csv, summary.csv, summary.json and one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dinoseg.evaluation.definitions import DISTANCES
from dinoseg.evaluation.examples import Picture
from dinoseg.evaluation.lesions import LesionScore
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.evaluation.page import build_page
from dinoseg.evaluation.strata import Strata
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
    strata: Sequence[Strata] = (),
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
        strata: the cases by metadata and size.
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
        "strata": [asdict(row) for row in strata],
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
        strata=strata,
    )
    write_text(out / "index.html", page, overwrite=overwrite)
    return out / "index.html"


def refuse_report(out: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if `out` holds a file of a report and `overwrite` is false."""
    for name in FILES:
        refuse_existing(out / name, overwrite=overwrite)


def _case_rows(scores: Sequence[ClassScore]) -> list[dict[str, Any]]:
    return [{key: _shorten(value) for key, value in _list_values(score).items()} for score in scores]


def _list_values(score: ClassScore) -> dict[str, Any]:
    values = {key: value for key, value in vars(score).items() if key != "lesions"}
    return values if score.lesions is None else {**values, **_list_lesions(score.lesions)}


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
    names = ("cases", "groups", "with_target", "missed", "false_alarms", "both_empty")
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

"""Writing a comparison: compare.json, cases.csv and one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dinoseg.evaluation.comparison.contestants import Contestant
from dinoseg.evaluation.comparison.page import build_page
from dinoseg.evaluation.comparison.results import Comparison
from dinoseg.evaluation.comparison.words import policy_lines
from dinoseg.outputs import atomic_files, claim, refuse_taken, write_csv, write_json, write_text

FILES = ("compare.json", "cases.csv", "index.html")


def refuse_comparison(out: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` if `out` holds a file of a comparison (or report) that is not to be replaced."""
    refuse_taken((out / name for name in FILES), overwrite=overwrite)


def describe_comparison(found: Comparison) -> dict[str, Any]:
    """What a program wants to know of a comparison; the scores of single cases are in cases.csv."""
    scores = found.scores
    return {
        "metric": scores.metric,
        "part": scores.part,
        "unit": scores.unit,
        "protocol": found.protocol,
        "cases": len(scores.cases),
        "groups": scores.group_count,
        "rough": found.rough,
        "seed": found.seed,
        "models": found.standings,
        "comparisons": found.duels,
        "notes": found.notes,
        "cautions": found.cautions,
        "page": found.page,
    }


def write_comparison(
    found: Comparison, contestants: Sequence[Contestant], out: Path, *, overwrite: bool
) -> Path:
    """Write the three files into `out` and return the path of the page.

    Raises:
        OutputError: one exists already or cannot be written.
    """
    refuse_comparison(out, overwrite=overwrite)
    document = {**describe_comparison(found), "page": out / "index.html", "policy": policy_lines(found)}
    comments = (*policy_lines(found), *found.notes, *found.cautions)
    claim(out, parts=())
    with atomic_files([out / name for name in FILES], overwrite=overwrite) as folder:
        write_json(folder / "compare.json", document)
        write_csv(folder / "cases.csv", _list_cases(found), comments=comments)
        write_text(folder / "index.html", build_page(found, contestants))
    return out / "index.html"


def _list_cases(found: Comparison) -> list[dict[str, Any]]:
    scores = found.scores
    differences = {
        f"{duel.first} - {duel.second}": scores.values[scores.names.index(duel.first)]
        - scores.values[scores.names.index(duel.second)]
        for duel in found.duels
    }
    columns = {**dict(zip(scores.names, scores.values, strict=True)), **differences}
    return [
        {
            "case": case,
            "group": group,
            **{name: round(float(column[place]), 6) for name, column in columns.items()},
        }
        for place, (case, group) in enumerate(zip(scores.cases, scores.groups, strict=True))
    ]

"""Evaluation: metrics, statistics and the report. Names load on first use; importing this needs no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoseg.evaluation.comparison.comparing import compare
    from dinoseg.evaluation.contents import Report
    from dinoseg.evaluation.evaluator import evaluate
    from dinoseg.evaluation.metrics import ClassScore, score_case
    from dinoseg.evaluation.postprocessing import PostprocessingChoice, choose_postprocessing
    from dinoseg.evaluation.report import write_report
    from dinoseg.evaluation.results import Evaluation
    from dinoseg.evaluation.scoring.scorer import score
    from dinoseg.evaluation.statistics import bootstrap_interval, paired_test
    from dinoseg.evaluation.summary import ClassSummary, summarise

__all__ = [
    "ClassScore",
    "ClassSummary",
    "Evaluation",
    "PostprocessingChoice",
    "Report",
    "bootstrap_interval",
    "choose_postprocessing",
    "compare",
    "evaluate",
    "paired_test",
    "score",
    "score_case",
    "summarise",
    "write_report",
]

_HOMES = {
    "ClassScore": "metrics",
    "ClassSummary": "summary",
    "Evaluation": "results",
    "PostprocessingChoice": "postprocessing",
    "Report": "contents",
    "bootstrap_interval": "statistics",
    "choose_postprocessing": "postprocessing",
    "compare": "comparison.comparing",
    "evaluate": "evaluator",
    "paired_test": "statistics",
    "score": "scoring.scorer",
    "score_case": "metrics",
    "summarise": "summary",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dinoseg.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"dinoseg.evaluation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

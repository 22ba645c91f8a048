from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.config import BackboneSettings
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.evaluation import Report, summarise, write_report
from dinoseg.evaluation.metrics import ClassScore
from dinoseg.methods import decoder_settings
from dinoseg.model.settings import ModelSettings, RunSettings
from dinoseg.training.series.outcomes import Draw, read_draw, report_folder
from tests.evaluation.test_regions import FOUND, TARGET, scored


def _read(run: Path, scores: list[ClassScore]) -> Draw:
    save_splits(run / "splits.json", Splits(train=("b",), val=(), test=("a",), seed=None, unit="case"))
    (run / "metrics.csv").write_text("epoch,seconds\n1,2.5\n")
    report = report_folder(run, split="test")
    made = Report(scores=scores, summaries=summarise(scores, seed=0), title="made", policy=())
    write_report(made, report)
    settings = RunSettings(
        data=run,
        shots=1,
        model=ModelSettings(
            backbone=BackboneSettings(name="untrained-vitt16"),
            decoder=decoder_settings("linear"),
            classes={0: "background", 1: "lesion"},
        ),
    )
    return read_draw(run, settings, split="test", draw=0, trained_parameters=1)


def test_a_draw_on_data_with_regions_is_known_by_them(tmp_path: Path) -> None:
    draw = _read(tmp_path, scored(FOUND, TARGET))
    assert draw.scores["dice"] == pytest.approx((10 / 11 + 4 / 7 + 0) / 3)
    assert list(draw.classes) == ["whole (1)", "core (2)", "active", "whole", "core"]
    assert draw.classes["core"] == pytest.approx(4 / 7)

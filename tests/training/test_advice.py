"""What a run says would help next: measured on it, the same every time, and only where it can be measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from dinoseg.data.case import IGNORE_ID
from dinoseg.training.advice.advice import Advice
from dinoseg.training.advice.cells import Cells, Map, find_shares
from dinoseg.training.advice.detail import Detail
from dinoseg.training.advice.probes import Labels, Probes, spread
from dinoseg.training.advice.trend import find_trend
from tests.training.folders import train_small

DETAIL = Detail(64, 16, 10, 20, 1, 4, False, 96, "96 is proposed instead of 64; --size 96")


@pytest.fixture(scope="module")
def advised(tmp_path_factory: pytest.TempPathFactory, data: Path, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("advised") / "run"
    train_small(data, out, cache, method="linear", changes={"train.advice": True, "train.epochs": 12})
    return out


def _read(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "report" / "advice.json").read_text()))


def test_a_run_holds_what_would_help_next(advised: Path) -> None:
    found = _read(advised)
    labels, trend, size = found["labels"], found["epochs"], found["size"]
    assert labels["counts"][2] // 2 == labels["counts"][1]
    assert [len(row) for row in labels["dice"]] == [3, 3, 3]
    assert all(0 <= value <= 1 for row in labels["dice"] for value in row)
    assert labels["gains"] == [pytest.approx(row[2] - row[1], abs=1e-4) for row in labels["dice"]]
    assert len({row[2] for row in labels["dice"]}) == 1  # all cases are all cases, whichever the draw
    assert (trend["first"], trend["last"], trend["trained"]) == (9, 12, 12)
    assert (size["size"], size["patch"]) == (64, 16)
    assert 0 <= size["vanished"] <= size["small"] <= size["regions"]
    assert [line.partition(":")[0] for line in found["lines"]] == ["labels", "epochs", "size"]


def test_the_same_run_says_the_same(advised: Path, data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"train.advice": True, "train.epochs": 12}
    train_small(data, tmp_path / "again", cache, method="linear", changes=changes)
    before = (advised / "report" / "advice.json").read_bytes()
    assert (tmp_path / "again" / "report" / "advice.json").read_bytes() == before
    train_small(data, tmp_path / "again", cache, method="linear", changes=changes, resume=True)
    assert (tmp_path / "again" / "report" / "advice.json").read_bytes() == before


def test_it_can_be_left_out_and_changes_no_model(
    advised: Path, data: Path, cache: Path, tmp_path: Path
) -> None:
    train_small(data, tmp_path / "run", cache, method="linear", changes={"train.epochs": 12})
    assert not (tmp_path / "run" / "report" / "advice.json").exists()
    weights = "model/decoder.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (advised / weights).read_bytes()


def test_windows_are_read_whole_and_not_resized(data: Path, cache: Path, tmp_path: Path) -> None:
    changes = {"train.advice": True, "train.window": 32, "model.preprocessing.size": 32, "train.epochs": 1}
    train_small(data, tmp_path / "run", cache, method="linear", changes=changes)
    found = _read(tmp_path / "run")
    assert found["size"] is None
    assert found["lines"][2] == "size: nothing is resized, as images are seen in windows"
    assert len(found["labels"]["dice"]) == 3


def _rows(dice: list[float]) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "val_dice": value} for epoch, value in enumerate(dice, start=1)]


def test_a_rise_is_told_from_noise() -> None:
    rising = find_trend(_rows([0.1 * epoch for epoch in range(1, 16)]))
    assert rising is not None
    assert (rising.first, rising.last, rising.rises) == (11, 15, True)
    assert rising.change == pytest.approx(0.4)
    noise = find_trend(_rows([0.5 + 0.05 * (-1) ** epoch for epoch in range(15)]))
    assert noise is not None
    assert not noise.rises
    falling = find_trend(_rows([1 - 0.01 * epoch for epoch in range(15)]))
    assert falling is not None
    assert not falling.rises


def test_too_few_validations_have_no_trend() -> None:
    assert find_trend([]) is None
    assert find_trend(_rows([0.1, 0.2, 0.3])) is None
    assert find_trend(_rows([math.nan] * 30)) is None
    assert find_trend(_rows([0.5] * 12)) is not None


def _labels(quarter: float, half: float, whole: float) -> Labels:
    return Labels("cases", (5, 10, 20), ((quarter, half, whole),))


def test_the_next_doubling_brings_no_more_than_the_last() -> None:
    assert _labels(0.4, 0.6, 0.7).expected_gain == pytest.approx(0.05)
    assert _labels(0.4, 0.5, 0.7).expected_gain == pytest.approx(0.2)
    assert _labels(0.4, 0.3, 0.5).expected_gain is None
    assert _labels(0.4, 0.6, 0.5).expected_gain == 0


def _advice(**changes: Any) -> Advice:
    known = {"labels": None, "epochs": 10, "trend": None, "dice": 0.8, "detail": DETAIL}
    return Advice(**{**known, **changes})


def test_probes_that_see_little_say_nothing_about_labels() -> None:
    fair, blind = _labels(0.4, 0.6, 0.7), _labels(0.01, 0.02, 0.03)
    told = (
        "twice as many, 40 cases, would bring about +0.050 Dice, going by linear probes: +0.200 from 5 to 10"
    )
    assert told in _advice(labels=fair).lines()[0]
    assert "cannot be told, going by linear probes" in _advice(labels=_labels(0.4, 0.3, 0.5)).lines()[0]
    assert "not measured: linear probes reach 0.03, the run 0.80" in _advice(labels=blind).lines()[0]
    assert "not measured" in _advice().lines()[0]


def test_each_line_names_the_command() -> None:
    trend = find_trend(_rows([0.05 * epoch for epoch in range(15)]))
    labels, epochs, size = _advice(labels=_labels(0.4, 0.6, 0.7), trend=trend).lines()
    assert "`dinoseg curve`" in labels
    assert "--resume --epochs 15" in epochs
    counted = "at 64 px 4 of 20 regions (20.0%) are below one patch, 1 below one pixel"
    assert size.endswith(f"; --size 96; {counted}")


def test_a_short_run_is_told_how_long_a_trend_takes() -> None:
    told = _advice().lines()[1]
    assert told.endswith("4 validations in the last third, so 10 epochs where each is validated")
    assert find_trend(_rows([0.5] * 10)) is not None
    assert find_trend(_rows([0.5] * 9)) is None


def test_probes_learn_from_their_own_cells() -> None:
    """Of two probes on opposite halves of contradicting cells each says what its half says."""
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).repeat(10, 1)
    shares = torch.tensor([[1.0], [0.0], [0.0], [1.0]]).repeat(10, 1)
    weights = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]).repeat(1, 10)
    probes = Probes(Cells(features, shares, torch.zeros(40)), weights)
    label = torch.zeros(8, 8, dtype=torch.uint8)
    label[:, 4:] = 1
    maps = torch.tensor([-1.0, 1.0]).view(1, 1, 2).expand(2, 2, 2) * torch.tensor([1.0, 0.0]).view(2, 1, 1)
    first, second = probes.score([Map(maps, label, 0)]).tolist()
    assert first > 0.95
    assert second < 0.05


def test_shares_of_cells() -> None:
    label = torch.zeros(4, 4, dtype=torch.uint8)
    label[:2, :1] = 1
    label[2:, :2] = 2
    label[2:, 2:] = IGNORE_ID
    shares = find_shares(label, (2, 2), 2)
    assert shares[:3].tolist() == [[0.5, 0], [0, 0], [0, 1]]
    assert shares[3].isnan().all()


def test_evenly_spread_positions() -> None:
    assert spread(3, 5) == [0, 1, 2]
    assert spread(10, 5) == [0, 2, 4, 6, 8]

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

from dinoseg.backbones import create_backbone
from dinoseg.config import BackboneSettings, PreprocessingSettings, override
from dinoseg.data.layouts.dataset import open_dataset
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.errors import DataError, LabelError, OutputError, SplitError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.evaluation.metrics import score_case
from dinoseg.inference.predictor import predict
from dinoseg.methods.linear.card import LinearSettings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings

T = TypeVar("T")
CASES = tuple(f"case{number}" for number in range(7))


class Listening:
    """Progress that remembers its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items: Iterable[T], *, total: int, label: str) -> Iterator[T]:
        yield from items

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def model() -> Segmenter:
    backbone = create_backbone("untrained-vitt16")
    settings = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=LinearSettings(),
        preprocessing=PreprocessingSettings(size=48),
        classes={0: "background", 1: "lesion"},
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Segmenter(settings, backbone)


def write_case(folder: Path, name: str, rng: np.random.Generator, size: tuple[int, int]) -> None:
    image = rng.integers(0, 120, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    row, column = rng.integers(4, 20, 2)
    mask[row : row + 20, column : column + 24] = 255
    image[mask > 0] += 120
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, name in enumerate(CASES):
        write_case(folder, name, rng, (50 + number, 61))
    lines = [f"{name},{'left' if number % 2 else 'right'}" for number, name in enumerate(CASES)]
    (folder / "groups.csv").write_text("\n".join(["case,group", *lines]) + "\n")
    return folder


def save_own_splits(path: Path) -> Path:
    save_splits(path, Splits(train=CASES[:2], val=CASES[2:3], test=CASES[3:], seed=None, unit="case"))
    return path


@pytest.fixture
def splits(data: Path) -> Path:
    return save_own_splits(data.parent / "own.json")


@pytest.fixture
def run(model: Segmenter, tmp_path: Path) -> Path:
    model.save(tmp_path / "run" / "model")
    save_own_splits(tmp_path / "run" / "splits.json")
    return tmp_path / "run"


def read_mask(data: Path, name: str) -> np.ndarray:
    return (np.asarray(Image.open(data / "masks" / f"{name}.png")) > 0).astype(np.uint8)


def test_scores_are_those_of_predict_at_native_size(model: Segmenter, data: Path, splits: Path) -> None:
    found = evaluate(model, data, splits=splits, batch_size=3)
    assert [score.case for score in found.scores] == list(CASES[3:])
    for score in found.scores:
        prediction = predict(model, data / "images" / f"{score.case}.png")
        assert not isinstance(prediction, list)
        expected = score_case(
            prediction.mask,
            read_mask(data, score.case),
            classes=model.classes,
            spacing=None,
            tolerance=2.0,
            case=score.case,
            group=score.group,
        )
        assert [score] == expected
    assert {score.group for score in found.scores} == {"left", "right"}
    assert (found.protocol, found.unit, found.tolerance, found.failures) == ("native", "px", 2.0, ())
    assert found.headline.cases == 4
    assert found.report is None


def test_the_paper_protocol_looks_once_whatever_the_model_does(
    model: Segmenter, data: Path, splits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = evaluate(model, data, splits=splits, protocol="paper")
    native = evaluate(model, data, splits=splits)
    monkeypatch.setattr(model, "settings", override(model.settings, {"symmetries": 8}))
    assert evaluate(model, data, splits=splits, protocol="paper").scores == once.scores
    assert evaluate(model, data, splits=splits, flips=False).scores == native.scores
    assert evaluate(model, data, splits=splits).scores != native.scores


def test_paper_protocol_scores_on_the_grid_of_the_model(model: Segmenter, data: Path, splits: Path) -> None:
    found = evaluate(model, data, splits=splits, protocol="paper")
    dataset = open_dataset(data)
    for score in found.scores:
        assert score.prediction_size <= 48 * 48
        (files,) = dataset.find([score.case])
        pixels = torch.from_numpy(
            np.asarray(Image.open(files.image)).transpose(2, 0, 1).astype(np.float32) / 255
        )
        small = torch.nn.functional.interpolate(
            pixels[None], (48, 48), mode="bilinear", antialias=True, align_corners=False
        )
        with torch.inference_mode():
            logits = model(model.normalise(small))
        mask = (logits[0, 0] > 0).numpy()
        full = read_mask(data, score.case)
        rows = ((np.arange(48) + 0.5) * full.shape[0] / 48).astype(int)
        columns = ((np.arange(48) + 0.5) * full.shape[1] / 48).astype(int)
        target = full[np.ix_(rows, columns)] > 0
        dice = 2 * (mask & target).sum() / (mask.sum() + target.sum())
        assert score.dice == pytest.approx(dice, abs=2e-3)
        assert score.target_size == target.sum()


def test_tolerance_reaches_the_nsd_and_the_batch_size_changes_nothing(
    model: Segmenter, data: Path, splits: Path
) -> None:
    default = evaluate(model, data, splits=splits)
    wide = evaluate(model, data, splits=splits, tolerance=500, batch_size=1)
    assert all(score.nsd == 1.0 for score in wide.scores if score.outcome == "scored")
    assert [score.dice for score in wide.scores] == [score.dice for score in default.scores]
    assert default.headline.metric("nsd").interval.mean < wide.headline.metric("nsd").interval.mean


def test_a_run_is_scored_on_its_own_splits(run: Path, data: Path) -> None:
    found = evaluate(run, data)
    assert [score.case for score in found.scores] == list(CASES[3:])
    assert [score.case for score in evaluate(run, data, split="val").scores] == [CASES[2]]
    with pytest.raises(SplitError, match="trained on 2 of the 7 cases of the all split"):
        evaluate(run, data, split="all")


def test_cases_that_a_run_was_trained_on_are_refused(run: Path, data: Path, tmp_path: Path) -> None:
    leaking = tmp_path / "leaking.json"
    save_splits(leaking, Splits(train=CASES[4:], val=(), test=CASES[1:4], seed=None, unit="case"))
    with pytest.raises(SplitError, match="trained on 1 of the 3 cases of the test split"):
        evaluate(run, data, splits=leaking)


def test_nothing_is_drawn_for_a_model_whose_splits_are_unknown(model: Segmenter, data: Path) -> None:
    with pytest.raises(SplitError, match="could hold cases that the model was trained on"):
        evaluate(model, data)


def test_the_splits_of_the_layout_are_used(model: Segmenter, data: Path) -> None:
    (data / "splits").mkdir()
    (data / "splits" / "train.txt").write_text("\n".join(CASES[:5]))
    (data / "splits" / "test.txt").write_text("\n".join(CASES[5:]))
    assert [score.case for score in evaluate(model, data).scores] == list(CASES[5:])
    with pytest.raises(SplitError, match="could hold cases"):
        evaluate(model, data, split="val")


def test_a_run_on_part_of_its_data_is_refused(run: Path, data: Path) -> None:
    (data / "images" / "case6.png").unlink()
    (data / "masks" / "case6.png").unlink()
    with pytest.raises(SplitError, match=r"names 1 cases that .* does not hold"):
        evaluate(run, data)


def test_a_broken_image_is_reported_and_the_rest_goes_on(
    model: Segmenter, data: Path, splits: Path, tmp_path: Path
) -> None:
    (data / "images" / "case4.png").write_bytes((data / "images" / "case4.png").read_bytes()[:500])
    listening = Listening()
    found = evaluate(model, data, splits=splits, out=tmp_path / "report", progress=listening)
    assert [failure.case for failure in found.failures] == ["case4"]
    assert [score.case for score in found.scores] == ["case3", "case5", "case6"]
    assert any("case4 failed" in note for note in listening.notes)
    assert "case4" in (tmp_path / "report" / "index.html").read_text()
    for name in CASES[3:]:
        (data / "images" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="no case could be scored"):
        evaluate(model, data, splits=splits)


def test_report_holds_every_case_and_pictures(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    found = evaluate(run, data, out=out)
    assert found.report == out / "index.html"
    page = found.report.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 3
    stored = json.loads((out / "summary.json").read_text())
    assert stored["facts"]["Split"] == "test (4 cases)"
    assert stored["facts"]["Backbone"].startswith("untrained-vitt16 (")
    with pytest.raises(OutputError, match="exists already"):
        evaluate(run, data, out=out)
    again = evaluate(run, data, out=out, overwrite=True, protocol="paper")
    assert json.loads((out / "summary.json").read_text())["protocol"] == again.protocol == "paper"


def test_other_classes_are_refused(model: Segmenter, data: Path, splits: Path) -> None:
    (data / "dataset.yaml").write_text(
        "classes: {0: background, 1: lesion, 2: vessel}\nvalues: {0: 0, 255: 1}\n"
    )
    with pytest.raises(LabelError, match="vessel"):
        evaluate(model, data, splits=splits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "papers"}, "protocol 'papers' is not accepted"),
        ({"split": "tests"}, "split 'tests' is not accepted"),
        ({"device": "cpu"}, r"^device belongs to load\(\)"),
        ({"series": "1.2.3"}, "series is for predict"),
        ({"planes": ("axial",)}, "planes are for volumes"),
        ({"protocol": "paper", "flips": True}, "protocol paper scores whole images once"),
        ({"protocol": "paper", "window": 32}, "protocol paper scores whole images once"),
        ({"batch_size": 0}, "batch_size"),
        ({"tolerance": -1.0}, "tolerance"),
    ],
)
def test_wrong_arguments(
    model: Segmenter, data: Path, splits: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(model, data, splits=splits, **arguments)  # type: ignore[arg-type]


def test_metadata_beside_the_data_divides_the_cases(
    model: Segmenter, data: Path, splits: Path, tmp_path: Path
) -> None:
    rows = [f"{name},{'north' if number < 5 else 'south'}" for number, name in enumerate(CASES)]
    (data / "metadata.csv").write_text("\n".join(["case,site", *rows]) + "\n")
    found = evaluate(model, data, splits=splits, out=tmp_path / "report")
    site = found.strata[0]
    assert [(row.name, row.cases) for row in site.strata] == [("north", 2), ("south", 2)]
    stored = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    assert stored["strata"][0]["column"] == "site"


def test_metadata_of_others_is_noted(model: Segmenter, data: Path, splits: Path) -> None:
    (data / "metadata.csv").write_text("image_id,site\nx,north\n")
    progress = Listening()
    assert evaluate(model, data, splits=splits, progress=progress).scores
    assert any("no strata but size" in note and "needed are case or group" in note for note in progress.notes)

"""A model knows the cases that it was trained on again: predict, evaluate and score say so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoseg.errors import RunError, UsageError
from dinoseg.evaluation import evaluate
from dinoseg.evaluation.scoring.scorer import score
from dinoseg.inference import predict, predict_files
from dinoseg.model.opening import load
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, train_small

pytestmark = pytest.mark.usefixtures("quick")

TELLING = "cases that the model was trained on"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    train_small(data, root / "run", root / "cache", method="linear")
    return root / "run"


@pytest.fixture
def other(data: Path, tmp_path: Path) -> Path:
    """Two training cases under other names, one turned, one encoded anew; and one that was not seen."""
    names = [(data / "splits" / f"{name}.txt").read_text().split() for name in ("train", "test")]
    for name, case in (("turned", names[0][0]), ("jpeg", names[0][1]), ("new", names[1][0])):
        for kind in ("images", "masks"):
            (tmp_path / "other" / kind).mkdir(parents=True, exist_ok=True)
            array = np.asarray(Image.open(next((data / kind).glob(f"{case}.*"))))
            jpeg = name == "jpeg" and kind == "images"
            path = tmp_path / "other" / kind / f"{name}.{'jpg' if jpeg else 'png'}"
            Image.fromarray(np.rot90(array) if name == "turned" else array).save(path)
    (tmp_path / "other" / "dataset.yaml").write_bytes((data / "dataset.yaml").read_bytes())
    return tmp_path / "other"


def test_predict_says_it_of_each_case_and_in_one_line(run: Path, other: Path, tmp_path: Path) -> None:
    notes = Notes()
    predict_files(run, other / "images", tmp_path / "out", progress=notes)
    predict(run, other / "images", progress=notes)
    told = [line for line in notes.notes if TELLING in line]
    assert ["2 of 3 inputs" in line and "turned" in line for line in told] == [True, True]
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())["files"]
    warned = {Path(row["source"]).stem: " ".join(row.get("warnings", ())) for row in rows}
    assert "on this case (the same pixels" in warned["turned"]
    assert "looks the same" in warned["jpeg"]
    assert "trained on" not in warned["new"]


def test_evaluate_names_and_counts_it(run: Path, other: Path, data: Path, tmp_path: Path) -> None:
    notes = Notes()
    found = evaluate(run, other, split="all", out=tmp_path / "report", progress=notes)
    assert dict(found.trained_on) == {"turned": "same", "jpeg": "alike"}
    assert sum(TELLING in line for line in notes.notes) == 1
    lines = (tmp_path / "report" / "cases.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert {row["case"]: row["trained_on"] for row in rows} == {"turned": "same", "jpeg": "alike", "new": ""}
    assert any(line.startswith("# Leak: the model was trained on 1 of the 3 cases") for line in lines)
    assert "<strong>Leak:</strong>" in (tmp_path / "report" / "index.html").read_text()
    assert evaluate(run, data, out=tmp_path / "own").trained_on == ()
    assert evaluate(run, data, split="train").trained_on == ()  # everybody knows
    assert "trained_on" not in (tmp_path / "own" / "cases.csv").read_text()


def test_score_says_it_of_the_images_beside_the_labels(run: Path, other: Path) -> None:
    notes = Notes()
    found = score(other / "masks", other, model=run, progress=notes)
    assert dict(found.trained_on) == {"turned": "same", "jpeg": "alike"}
    assert any(TELLING in line for line in notes.notes)
    with pytest.raises(UsageError, match="holds labels without images"):
        score(other / "masks", other / "masks", model=run)


def test_what_travels_names_no_case_and_damage_is_told(run: Path, data: Path, tmp_path: Path) -> None:
    path = run / "model" / "training_cases.json"
    text = path.read_text()
    names = (data / "splits" / "train.txt").read_text().split()
    assert len(json.loads(text)["cases"]) == len(names)
    assert not any(name in text for name in names)
    copy = tmp_path / "copy"
    load(run).save(copy / "model")
    assert (copy / "model" / path.name).read_text() == text
    (copy / "model" / path.name).write_text(text[:-40])
    with pytest.raises(RunError, match=r"training_cases\.json is damaged"):
        load(copy)
    (copy / "model" / path.name).unlink()  # as earlier versions wrote it
    assert load(copy).trained_on is None
    with pytest.raises(RunError, match="does not say on which cases"):
        score(data / "masks", data, model=copy)


def test_a_run_that_begins_with_another_knows_its_cases_too(run: Path, data: Path, tmp_path: Path) -> None:
    model = train_small(data, tmp_path / "next", tmp_path / "cache", method="linear", init=run, shots=2)
    first = load(run).trained_on
    assert first is not None
    assert model.trained_on is not None
    assert model.trained_on.prints == first.prints

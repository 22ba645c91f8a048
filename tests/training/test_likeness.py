"""A trained model says which inputs are not like those that it was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dinoseg.evaluation import evaluate
from dinoseg.inference import predict, predict_files
from dinoseg.model.opening import load
from dinoseg.model.segmenter import Segmenter
from dinoseg.training.features.bank import ViewBank
from tests.backbones.tiny import Notes
from tests.training.folders import make_data, train_small

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("likeness"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    train_small(data, root / "run", root / "cache", method="linear")
    return root / "run"


@pytest.fixture
def odd(data: Path, tmp_path: Path) -> Path:
    """One image as it is, and one whose values are of 12 bits."""
    (tmp_path / "odd").mkdir()
    name = (data / "splits" / "val.txt").read_text().split()[0]  # the model was not trained on it
    array = np.asarray(Image.open(next((data / "images").glob(f"{name}.*"))))
    Image.fromarray(array).save(tmp_path / "odd" / "a.png")
    Image.fromarray(array // 16).save(tmp_path / "odd" / "b.png")
    return tmp_path / "odd"


def test_the_profile_is_stored_and_read(run: Path) -> None:
    seen = load(run).seen
    assert seen is not None
    assert seen.sizes == ((60, 72), (60, 72))
    assert seen.grey == seen.cases > 0
    assert json.loads((run / "model" / "config.json").read_text())["seen"]["cases"] == seen.cases


def test_predict_files_says_it_and_writes_it(run: Path, odd: Path, tmp_path: Path) -> None:
    notes = Notes()
    report = predict_files(run, odd, tmp_path / "out", progress=notes)
    assert [bool(file.warnings) for file in report.files] == [False, True]
    assert sum("b.png is not like what the model was trained on" in line for line in notes.notes) == 1
    files = json.loads((tmp_path / "out" / "predictions.json").read_text())["files"]
    assert "warnings" not in files[0]
    assert files[1]["warnings"] == list(report.files[1].warnings)


def test_predict_says_it(run: Path, odd: Path) -> None:
    notes = Notes()
    predict(run, odd, progress=notes)
    assert [line.split(" ")[0] for line in notes.notes if "not like what" in line] == ["b"]


def test_evaluate_says_it_and_the_report_too(run: Path, data: Path, tmp_path: Path) -> None:
    notes = Notes()
    found = evaluate(run, data, out=tmp_path / "same", progress=notes)
    assert found.unlike == ()
    assert "Not like training" not in (tmp_path / "same" / "index.html").read_text()
    for path in (data / "images").iterdir():
        (tmp_path / "dark" / "images").mkdir(parents=True, exist_ok=True)
        array = np.asarray(Image.open(path))
        Image.fromarray(array // 16).save(tmp_path / "dark" / "images" / path.name)
    for name in ("masks", "splits"):
        (tmp_path / "dark" / name).symlink_to(data / name)
    (tmp_path / "dark" / "dataset.yaml").write_bytes((data / "dataset.yaml").read_bytes())
    found = evaluate(run, tmp_path / "dark", out=tmp_path / "report", progress=notes)
    cases = len({score.case for score in found.scores})
    assert len(found.unlike) == cases > 0
    assert f"{cases} of {cases} cases, for example" in (tmp_path / "report" / "index.html").read_text()
    assert any("is not like what the model was trained on" in line for line in notes.notes)


def test_models_that_do_not_know_say_nothing(run: Path, odd: Path, tmp_path: Path) -> None:
    model = load(run)
    model.seen = None
    model.save(tmp_path / "old" / "model")
    described = json.loads((tmp_path / "old" / "model" / "config.json").read_text())
    del described["seen"]  # as earlier versions wrote it
    (tmp_path / "old" / "model" / "config.json").write_text(json.dumps(described))
    notes = Notes()
    report = predict_files(tmp_path / "old", odd, tmp_path / "out", progress=notes)
    assert [file.warnings for file in report.files] == [(), ()]
    assert not any("not like" in line for line in notes.notes)


def test_it_is_measured_where_images_are_read_anyway(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at all where the cache knows it."""
    read: list[int] = []
    plain = ViewBank._measure

    def count(self: ViewBank, position: int) -> object:
        read.append(position)
        return plain(self, position)

    monkeypatch.setattr(ViewBank, "_measure", count)
    models: list[Segmenter] = []
    for name in ("first", "second"):
        models.append(train_small(data, tmp_path / name, tmp_path / "cache", method="linear"))
    assert read == []
    assert models[0].seen == models[1].seen
    assert models[0].trained_on == models[1].trained_on

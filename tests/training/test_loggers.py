"""Where a training is logged: TensorBoard, CSV, W&B, MLflow or nowhere; what loggers write stays ours."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from dinoseg.cli.training import SETTINGS, choose_training
from dinoseg.config import TrainSettings, from_yaml, override
from dinoseg.errors import ConfigError, OutputError
from dinoseg.outputs import find_foreign, list_files
from dinoseg.training.runs.composition import PACKAGED_LOGGERS, refuse_missing_loggers
from tests.backbones.tiny import Notes
from tests.training.folders import train_small


def names(run: Path) -> set[str]:
    return {path.relative_to(run / "logs").as_posix() for path in list_files(run / "logs")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("csv", ("csv",)),
        ("csv, tensorboard", ("csv", "tensorboard")),
        (["wandb", "mlflow"], ("wandb", "mlflow")),
        ("none", ()),
        (None, ()),
        ([], ()),
    ],
)
def test_one_several_or_none_are_named(given: Any, expected: tuple[str, ...]) -> None:
    assert override(TrainSettings(), {"logger": given}).logger == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("comet", "a logger is one of tensorboard, csv, wandb, mlflow, or none, not 'comet'"),
        (["csv", "csv"], "a logger is named twice"),
        (3, "give a list of tensorboard"),
        (["none", "csv"], "not 'none'"),
    ],
)
def test_other_names_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(TrainSettings(), {"logger": given})


def test_an_address_with_a_password_is_not_recorded() -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        override(TrainSettings(), {"mlflow_uri": "https://me:secret@server/"})
    assert override(TrainSettings(), {"mlflow_uri": "https://server/@a"}).mlflow_uri == "https://server/@a"


def test_settings_of_an_older_run_have_tensorboard() -> None:
    assert from_yaml(TrainSettings, "epochs: 3").logger == ("tensorboard",)


@pytest.mark.parametrize("name", PACKAGED_LOGGERS)
def test_a_missing_package_is_one_line_before_anything_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dinoseg.training.runs.composition.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=rf"not installed: pip install {name}$"):
        train_small(tmp_path / "no-data", tmp_path / "run", tmp_path, changes={"train.logger": name})
    assert not (tmp_path / "run").exists()


def test_a_folder_of_a_loggers_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()  # as W&B leaves one
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="pip install wandb"):
        refuse_missing_loggers(["wandb"])


@pytest.mark.usefixtures("quick")
def test_csv_is_kept_when_a_run_goes_on_and_replaced_when_it_begins_anew(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    run, changes = tmp_path / "run", {"train.logger": "csv"}
    train_small(data, run, cache, changes=changes)
    assert names(run) == {"csv/version_0/metrics.csv", "csv/version_0/hparams.yaml"}
    logged = yaml.safe_load((run / "logs/csv/version_0/hparams.yaml").read_text())
    assert (logged["train"]["epochs"], logged["model"]["decoder"]["method"]) == (2, "segdino-v2")
    assert "val_dice" in (run / "logs/csv/version_0/metrics.csv").read_text().splitlines()[0]
    before = (run / "logs/csv/version_0/metrics.csv").read_bytes()
    train_small(data, run, cache, changes={**changes, "train.epochs": 3}, resume=True)
    assert (run / "logs/csv/version_0/metrics.csv").read_bytes() == before
    assert "csv/version_1/metrics.csv" in names(run)
    assert find_foreign(list_files(run)) == []
    (run / "logs" / "csv" / "mine.txt").write_text("a note")
    with pytest.raises(OutputError, match=r"mine\.txt was not written by dinoseg"):
        train_small(data, run, cache, changes=changes, overwrite=True)
    train_small(data, run, cache, changes={**changes, "train.epochs": 4}, resume=True)
    assert find_foreign(list_files(run)) == [run / "logs" / "csv" / "mine.txt"]


@pytest.mark.usefixtures("quick")
def test_nothing_is_logged_where_none_is_asked_for_and_a_run_may_go_on_with_another(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_small(data, run, cache, changes={"train.logger": "none"})
    assert not (run / "logs").exists()
    train_small(data, run, cache, changes={"train.logger": "tensorboard", "train.epochs": 3}, resume=True)
    assert any(".tfevents." in name for name in names(run))
    logged = yaml.safe_load((run / "logs" / "hparams.yaml").read_text())
    assert logged["train"]["epochs"] == 3


class TestVariables:
    """What the command line takes from the environment is recorded in the settings, and told."""

    def choose(self, *assignments: str) -> tuple[dict[str, Any], list[str]]:
        notes = Notes()
        given = dict.fromkeys((*SETTINGS, "threads"))
        how = choose_training({**given, "assignments": list(assignments), "device": "cpu"}, notes)
        return dict(how.changes or {}), notes.notes

    def test_the_address_of_mlflow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")  # so that it is given back
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
        changes, notes = self.choose("train.logger=mlflow")
        assert changes["train.mlflow_uri"] == "http://localhost:5000"
        assert any("MLFLOW_TRACKING_URI" in note for note in notes)

    def test_what_is_set_goes_first_and_other_loggers_read_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
        monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
        changes, _ = self.choose("train.logger=mlflow", "train.mlflow_uri=http://other")
        assert changes["train.mlflow_uri"] == "http://other"
        assert self.choose("train.logger=csv")[0] == {"train.logger": "csv"}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_offline(data: Path, cache: Path, tmp_path: Path) -> None:
    run, notes, before = tmp_path / "run", Notes(), dict(os.environ)
    train_small(data, run, cache, changes={"train.logger": "wandb"}, progress=notes)
    assert any("wandb sync" in note for note in notes.notes)
    assert before.get("WANDB_MODE") == os.environ.get("WANDB_MODE")
    (log,) = (run / "logs" / "wandb").rglob("*.wandb")
    assert b"val_dice" in log.read_bytes()
    train_small(data, run, cache, changes={"train.logger": "wandb", "train.epochs": 3}, resume=True)
    assert {log.stem for log in (run / "logs" / "wandb").rglob("*.wandb")} == {log.stem}  # one run for W&B
    train_small(data, run, cache, changes={"train.logger": "wandb"}, overwrite=True)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_in_a_file_of_the_run(data: Path, cache: Path, tmp_path: Path) -> None:
    import mlflow

    run, notes, before = tmp_path / "run", Notes(), mlflow.get_tracking_uri()
    train_small(data, run, cache, changes={"train.logger": "mlflow"}, progress=notes)
    assert any("mlflow ui --backend-store-uri sqlite" in note for note in notes.notes)
    assert mlflow.get_tracking_uri() == before
    train_small(data, run, cache, changes={"train.logger": "mlflow", "train.epochs": 3}, resume=True)
    (store,) = (run / "logs" / "mlflow").glob("*.db")
    with sqlite3.connect(store) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
        scores = database.execute("select count(*) from metrics where key = 'val_dice'").fetchone()
        assert scores == (3,)
        (method,) = database.execute("select value from params where key = 'model/decoder/method'").fetchone()
        assert method == "segdino-v2"
    assert find_foreign(list_files(run)) == []
    train_small(data, run, cache, changes={"train.logger": "mlflow"}, overwrite=True)

"""The run folder: what lies in it, and what may happen to an older one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dinoseg
from dinoseg.backbones import create_backbone
from dinoseg.config import BackboneSettings, from_yaml, override
from dinoseg.data import open_dataset
from dinoseg.data.splits.splits import Splits, load_splits
from dinoseg.errors import OutputError, RunError
from dinoseg.methods import decoder_settings
from dinoseg.model.settings import ModelSettings, RunSettings
from dinoseg.outputs import name_temporary, write_text
from dinoseg.outputs.manifest import MANIFEST
from dinoseg.training.learning.history import COLUMNS
from dinoseg.training.runs.run_folder import RunFolder, anchor_backbone, describe_environment
from tests.training.conftest import Finished
from tests.training.folders import read_rows


def make_settings(**changes: Any) -> RunSettings:
    model = ModelSettings(
        backbone=BackboneSettings(name="untrained-vitt16"),
        decoder=decoder_settings("linear"),
        classes={0: "background", 1: "lesion"},
    )
    return override(RunSettings(data=Path("data"), model=model), changes)


FILES = {"config.yaml", "environment.json", "splits.json", "metrics.csv"}
FOLDERS = {"checkpoints", "model", "report", "logs"}


def started(root: Path) -> RunFolder:
    folder = RunFolder(root)
    folder.open(make_settings(), resume=False, overwrite=False)
    return folder


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def test_a_run_holds_exactly_what_is_documented(finished: Finished) -> None:
    found = {name for name in files(finished.root) if not name.startswith("logs/events.out.tfevents.")}
    assert found == {
        "config.yaml",
        "environment.json",
        "splits.json",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "model/decoder.safetensors",
        "model/config.json",
        "model/README.md",
        "model/training_cases.json",
        "report/learning_curve.png",
        "logs/hparams.yaml",
    }
    assert {path.name for path in finished.root.iterdir()} == {*FILES, *FOLDERS, MANIFEST}


def test_config_is_the_whole_run(finished: Finished, data: Path) -> None:
    settings = from_yaml(RunSettings, (finished.root / "config.yaml").read_text(encoding="utf-8"))
    assert settings.data == data
    assert settings.train.epochs == 2
    assert settings.model == finished.model.settings
    assert settings.model.decoder == decoder_settings("segdino-v2", width=16)


def test_splits_are_those_of_the_data(finished: Finished, data: Path) -> None:
    splits = load_splits(finished.root / "splits.json")
    lists = {name: (data / "splits" / f"{name}.txt").read_text().split() for name in ("train", "val", "test")}
    assert {name: list(ids) for name, ids in splits.items()} == lists
    assert {len(ids) for ids in lists.values()} != {0}
    assert {case.id for case in open_dataset(data).cases} == {id_ for ids in lists.values() for id_ in ids}


def test_environment_names_versions_and_weights(finished: Finished) -> None:
    environment = json.loads((finished.root / "environment.json").read_text())
    backbone = finished.model.backbone
    assert environment["dinoseg"] == dinoseg.__version__
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["backbone"]["digest"] == backbone.digest
    assert environment["backbone"]["license"] == backbone.license
    assert (environment["device"], environment["gpu"]) == ("cpu", None)
    assert len(environment.pop("data")["digest"]) == 64
    assert environment == json.loads(json.dumps(describe_environment(backbone, "cpu")))


def test_table_has_a_row_per_epoch(finished: Finished) -> None:
    header = (finished.root / "metrics.csv").read_text().splitlines()[0]
    assert header == ",".join(COLUMNS)
    rows = read_rows(finished.root)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        assert float(row["train_loss"]) > 0
        assert float(row["val_loss"]) > 0
        assert 0 <= float(row["val_dice"]) <= 1
    assert [note for note in finished.notes if note.startswith("epoch 2/2")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's reader
def test_tensorboard_shows_the_numbers_of_the_table(finished: Finished) -> None:
    events = EventAccumulator(str(finished.root / "logs")).Reload()
    rows = read_rows(finished.root)
    for name in ("train_loss", "val_loss", "val_dice"):
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx([float(row[name]) for row in rows])


def test_checkpoints_hold_the_decoder_only(finished: Finished) -> None:
    decoder = {f"decoder.{name}" for name in finished.model.decoder.state_dict()}
    for name in ("last", "best"):
        checkpoint = torch.load(finished.root / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert set(checkpoint["state_dict"]) == decoder
    size = (finished.root / "checkpoints" / "last.ckpt").stat().st_size
    assert size < 2e6 < sum(weight.nbytes for weight in finished.model.backbone.parameters())


def test_paths_are_those_of_the_files(finished: Finished) -> None:
    folder = RunFolder(finished.root)
    for path in (folder.config, folder.splits, folder.metrics, folder.last, folder.best, folder.curve):
        assert path.is_file()
    assert folder.model.is_dir()


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    folder = started(tmp_path / "a" / "b")
    assert from_yaml(RunSettings, folder.config.read_text()) == make_settings()
    (tmp_path / "empty").mkdir()
    assert started(tmp_path / "empty").config.is_file()


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_killed_writer_left_is_no_run(tmp_path: Path, resume: bool) -> None:
    (tmp_path / ".0123456789ab.tmp-config.yaml").write_text("half")
    RunFolder(tmp_path).open(make_settings(), resume=resume, overwrite=False)
    assert (tmp_path / "config.yaml").is_file()


def test_an_older_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    before = files(folder.root)
    with pytest.raises(OutputError, match=r"run is not empty; continue with --resume, .*--overwrite"):
        folder.open(make_settings(shots=3), resume=False, overwrite=False)
    assert files(folder.root) == before


def test_overwrite_starts_from_nothing(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    for part in ("checkpoints/last.ckpt", "model/config.json", "metrics.csv", "report/cases.csv"):
        write_text(folder.root / part, "old")
    folder.open(make_settings(shots=3), resume=False, overwrite=True)
    assert list(files(folder.root)) == ["config.yaml"]
    assert from_yaml(RunSettings, folder.config.read_text()).shots == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.txt", r"is not empty: .*run/notes\.txt was not written by dinoseg"),
        ("images/a.png", r"is not empty: .*images/a\.png was not written by dinoseg"),
        ("config.yaml", r"is not empty: .*config\.yaml was not written by dinoseg, or was changed since"),
    ],
)
def test_overwrite_deletes_nothing_foreign(tmp_path: Path, name: str, words: str) -> None:
    folder = started(tmp_path / "run")
    (folder.root / name).parent.mkdir(exist_ok=True)
    (folder.root / name).write_text("mine")
    before = files(folder.root)
    with pytest.raises(OutputError, match=words):
        folder.open(make_settings(), resume=False, overwrite=True)
    assert files(folder.root) == before


def test_what_a_killed_writer_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = name_temporary(folder.metrics).name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    (folder.root / left).write_text("half")
    folder.open(make_settings(), resume=False, overwrite=True)
    assert list(files(folder.root)) == ["config.yaml"]


def test_overwrite_deletes_no_folder_without_a_run(tmp_path: Path) -> None:
    """Parts of a run alone are no run: a folder called model/ may be anyone's."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_text("mine")
    with pytest.raises(OutputError, match=r"weights\.bin was not written by dinoseg.*; choose another --out"):
        RunFolder(tmp_path).open(make_settings(), resume=False, overwrite=True)
    assert list(files(tmp_path)) == ["model/weights.bin"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_not_taken_for_a_folder(tmp_path: Path, overwrite: bool) -> None:
    path = tmp_path / "run"
    path.write_text("mine")
    with pytest.raises(OutputError, match="run"):
        RunFolder(path).open(make_settings(), resume=False, overwrite=overwrite)
    assert path.read_text() == "mine"


def test_resuming_with_the_same_settings_keeps_everything(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    (folder.root / "metrics.csv").write_text("old")
    before = files(folder.root)
    folder.open(make_settings(), resume=True, overwrite=False)
    assert files(folder.root) == before


def test_a_path_may_be_spelt_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs record where their data are from the root; older ones as it was typed."""
    monkeypatch.chdir(tmp_path)
    folder = started(tmp_path / "run")
    before = files(folder.root)
    for spelling in (Path("./data"), tmp_path / "data", tmp_path / "run" / ".." / "data"):
        folder.open(make_settings(data=spelling), resume=True, overwrite=False)
    assert files(folder.root) == before
    with pytest.raises(RunError, match="data="):
        folder.open(make_settings(data="elsewhere"), resume=True, overwrite=False)


def test_only_folders_are_anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit").mkdir()
    (tmp_path / "dinov3_vits16").mkdir()
    assert anchor_backbone("./vit") == str(tmp_path / "vit")
    assert anchor_backbone("dinov3_vits16") == "dinov3_vits16"
    assert anchor_backbone("nowhere") == "nowhere"


def test_resuming_nothing_starts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(make_settings(), resume=True, overwrite=False)
    assert folder.config.is_file()


def test_resuming_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("mine")
    with pytest.raises(OutputError, match=r"holds no run to resume \(no config\.yaml\); choose"):
        RunFolder(tmp_path).open(make_settings(), resume=True, overwrite=False)
    assert list(files(tmp_path)) == ["photo.png"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.lr": 0.5}, r"started with train.lr=0.0001, now 0.5; resume with the same"),
        ({"train.augmentation": {}}, r"started with train.augmentation=null, now .*settings differ"),
        ({"model.backbone.layers": [1]}, r"model.backbone.layers=null, now \[1\]"),
        ({"shots": 4, "train.seed": 1}, r"shots=null, now 4 \(2 settings differ\)"),
        ({"model.classes": {0: "a", 1: "lesion"}}, r'model.classes.0="background", now "a"'),
    ],
)
def test_resuming_with_other_settings_names_them(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder = started(tmp_path / "run")
    before = files(folder.root)
    with pytest.raises(RunError, match=words):
        folder.open(make_settings(**changes), resume=True, overwrite=False)
    assert files(folder.root) == before


def test_the_cache_may_move_between_two_parts_of_a_run(tmp_path: Path) -> None:
    """Where features are remembered changes no result, and a full disk is a reason to move them."""
    folder = started(tmp_path / "run")
    elsewhere = make_settings(**{"cache.folder": tmp_path / "other", "cache.limit_gb": 1})
    folder.open(elsewhere, resume=True, overwrite=False)
    with pytest.raises(RunError, match=r"cache\.dtype"):
        folder.open(make_settings(**{"cache.dtype": "float32"}), resume=True, overwrite=False)


def test_a_damaged_config_is_one_line(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    for content in (b"", b"\xff\xfe\x00", b"data: [", b"train: {lr: x}"):
        folder.config.write_bytes(content)
        with pytest.raises(RunError, match=r"config.yaml is damaged .*choose another --out") as caught:
            folder.open(make_settings(), resume=True, overwrite=False)
        assert "\n" not in str(caught.value)


SPLITS = Splits(("a", "b"), ("c",), ("d",), 0, "group")


def test_a_resumed_run_needs_the_same_cases(tmp_path: Path) -> None:
    folder = started(tmp_path / "run")
    folder.record_splits(SPLITS)
    assert load_splits(folder.splits) == SPLITS
    folder.record_splits(SPLITS)
    with pytest.raises(RunError, match=r"splits.json has other cases than the data .*--overwrite"):
        folder.record_splits(Splits(("a",), ("c",), ("d",), 0, "group"))
    assert load_splits(folder.splits) == SPLITS


def test_a_resumed_run_needs_the_same_backbone(tmp_path: Path) -> None:
    folder, backbone = started(tmp_path / "run"), create_backbone("untrained-vitt16")
    folder.record_environment(backbone, "cpu", "pixels")
    folder.record_environment(backbone, "cpu", "pixels")
    other = create_backbone("untrained-vitt16", layers=(1,))
    with pytest.raises(RunError, match=rf"digest {backbone.digest[:12]}, now {other.digest[:12]}"):
        folder.record_environment(other, "cpu", "pixels")
    recorded = json.loads((folder.root / "environment.json").read_text())
    assert recorded["backbone"]["digest"] == backbone.digest

"""The verbs one after another on small drawn pictures: check, split, train, info, evaluate, predict."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.cli import main
from dinoseg.cli.options import PresetName, ShotsFromName, ShotUnitName
from dinoseg.cli.settings import NOT_SETTABLE, list_settings
from dinoseg.config import TrainSettings, override
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.methods.presets import preset
from dinoseg.model.settings import RunSettings
from tests.cli.conftest import Run

SMALL = ["--set", "model.preprocessing.size=64", "--set", "train.views=1", "--set", "train.min_bank=1"]
SMALL += ["--set", "train.min_epoch_samples=8", "--set", "train.epochs=2"]
MODEL = ["--method", "linear", "--backbone", "untrained-vitt16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("data"), kind="dermoscopy", count=12, size=(64, 80))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder made by the command."""
    home = tmp_path_factory.mktemp("home")
    out = home / "run"
    words = [
        "train",
        str(data),
        "--out",
        str(out),
        *MODEL,
        *SMALL,
        "--set",
        f"cache.folder={home / 'features'}",
    ]
    assert main(words) == 0
    return out


def test_check_of_good_data(run: Run, data: Path) -> None:
    ended = run("data", "check", data)
    assert ended.code == 0
    assert "12 cases" in ended.out
    assert "0 errors" in ended.out


def test_check_of_bad_data_ends_with_3(run: Run, tmp_path: Path) -> None:
    write_phantoms(tmp_path, kind="ultrasound", count=6, size=(32, 32))
    (tmp_path / "masks" / "ultrasound_0003.png").write_bytes(b"")
    ended = run("data", "check", tmp_path, "--json")
    assert ended.code == 3
    assert any("ultrasound_0003" in finding["message"] for finding in ended.json["findings"])
    assert "would stop a training" in ended.error


def test_split_is_written_once(run: Run, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "splits.json"
    ended = run("data", "split", data, "--out", out, "--seed", 3, "--json")
    assert ended.code == 0
    cases = ended.json["cases"]
    assert sum(cases.values()) == 12
    written = json.loads(out.read_text(encoding="utf-8"))
    assert {name: len(written[name]) for name in cases} == cases
    assert written["seed"] == 3
    assert run("data", "split", data, "--out", out).code == 1
    assert run("data", "split", data, "--out", out, "--overwrite").code == 0


def test_train_leaves_a_run_folder(run: Run, trained: Path) -> None:
    ended = run("info", trained, "--json")
    assert ended.code == 0
    assert ended.json["settings"]["decoder"]["method"] == "linear"
    assert ended.json["training"]["train"]["epochs"] == 2
    shown = run("info", trained).out
    assert "linear on untrained-vitt16" in shown
    assert "0 background, 1 lesion" in shown


def test_info_of_a_run_begins_with_what_came_of_it(
    run: Run, data: Path, trained: Path, tmp_path: Path
) -> None:
    """Validation Dice and kept epoch are those of metrics.csv, the test score is that of the report."""
    first, second, third, fourth, *_ = run("info", trained).out.splitlines()
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["val_dice"]))
    assert first == f"validation Dice {float(best['val_dice']):.4f}; kept is epoch {best['epoch']} of 2"
    assert second == f"data: {data} (8 train, 2 val, 2 test)"
    assert third.startswith("training took ")
    assert fourth == f"no scores yet: dinoseg evaluate {trained} {data} --out {trained / 'report'}"

    scored = tmp_path / "run"
    shutil.copytree(trained, scored)
    assert run("evaluate", scored, data, "--out", scored / "report").code == 0
    summary = json.loads((scored / "report" / "summary.json").read_text(encoding="utf-8"))
    found = summary["classes"][0]
    dice, empty = found["metrics"][0], found["both_empty"] + found["false_alarms"]
    first = (
        f"{dice['mean_with_target']:.3f} where the class is present"
        if empty
        else f"{dice['interval']['mean']:.3f}"
    )
    line = run("info", scored).out.splitlines()[3]
    assert line.startswith(f"split test (2 cases): Dice {first} (lesion; ")
    assert line.endswith(str(scored / "report" / "index.html"))
    told = run("info", scored, "--json").json
    assert (told["kept_epoch"], told["cases"]) == (int(best["epoch"]), {"train": 8, "val": 2, "test": 2})
    assert told["reports"][0]["split"] == "test (2 cases)"


def test_info_knows_when_the_last_epoch_was_kept(run: Run, trained: Path, tmp_path: Path) -> None:
    last = tmp_path / "run"
    shutil.copytree(trained, last)
    config = (last / "config.yaml").read_text(encoding="utf-8")
    (last / "config.yaml").write_text(config.replace("keep: best", "keep: last"), encoding="utf-8")
    lines = ["epoch,train_loss,val_loss,val_dice,lr,seconds", "1,1,1,0.9,1e-4,30", "2,1,1,0.5,1e-4,31"]
    (last / "metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    first, _, third, *_ = run("info", last).out.splitlines()
    assert first == "validation Dice 0.5000; kept is epoch 2 of 2"
    assert third == "training took 1 min 01 s, features not counted"


@pytest.mark.parametrize("name", ["metrics.csv", "splits.json"])
def test_info_of_a_run_with_a_damaged_file_names_it(
    run: Run, trained: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / name).write_text("epoch,\nx", encoding="utf-8")
    ended = run("info", tmp_path / "run")
    assert ended.code == 1
    assert ended.error.startswith(f"{tmp_path / 'run' / name} is damaged")


def test_train_does_not_touch_an_older_run(run: Run, data: Path, trained: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    ended = run("train", data, "--out", trained, *MODEL)
    assert ended.code == 1
    assert "--overwrite" in ended.error
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_train_says_nothing_but_json_on_stdout(run: Run, data: Path, tmp_path: Path) -> None:
    words = [*MODEL, *SMALL, "--shots", 3, "--seed", 5, "--threads", 1, "--json"]
    ended = run("train", data, "--out", tmp_path / "run", *words)
    assert ended.code == 0
    assert ended.json["method"] == "linear"
    assert ended.json["trained_parameters"] == 4 * 192 + 1
    assert "epoch 2/2" in ended.err
    assert "GPU available" not in ended.err  # what libraries log is kept for --debug
    splits = json.loads((tmp_path / "run" / "splits.json").read_text(encoding="utf-8"))
    assert (len(splits["train"]), splits["seed"]) == (3, 5)


def test_evaluate_shows_intervals_and_misses(run: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    ended = run("evaluate", trained, data, "--out", tmp_path / "report")
    assert ended.code == 0
    header, *others = [line for line in ended.out.splitlines() if "95 % interval" in line]
    assert header.split()[-6:] == ["with", "target", "missed", "empty", "false", "alarms"]
    assert others[0].split()[-3:] == ["lesions", "predicted", "matched"]
    assert str(tmp_path / "report" / "index.html") in ended.out
    assert (tmp_path / "report" / "cases.csv").is_file()


def test_evaluate_without_a_model(run: Run, data: Path, tmp_path: Path) -> None:
    ended = run("evaluate", tmp_path, data)
    assert ended.code == 1
    assert f"{tmp_path} holds no model" in ended.error


def test_evaluate_as_json_equals_the_report(run: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    ended = run("evaluate", trained, data, "--split", "val", "--out", tmp_path / "report", "--json")
    assert ended.code == 0
    report = json.loads((tmp_path / "report" / "summary.json").read_text(encoding="utf-8"))
    assert ended.json["classes"] == report["classes"]
    assert ended.json["split"] == "val"


def test_predict_names_a_broken_file_and_goes_on(run: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    PillowImage.new("RGB", (50, 40), "pink").save(source / "good.png")
    (source / "broken.png").write_bytes(b"no picture")
    ended = run("predict", trained, source, "--out", out, "--probabilities", "--json")
    assert ended.code == 3
    assert [Path(item["source"]).name for item in ended.json["failures"]] == ["broken.png"]
    assert ended.error.startswith("1 of 2 files could not be read")
    mask = np.asarray(PillowImage.open(out / "masks" / "good.png"))
    assert mask.shape == (40, 50)
    assert (out / "overlays" / "good.jpg").is_file()


def test_predict_by_windows_without_overlays(run: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    image = next((data / "images").iterdir())
    words = ["--window", 48, "--overlap", 0.5, "--flips", "--batch-size", 2, "--no-overlays"]
    ended = run("predict", trained, image, "--out", tmp_path / "out", *words)
    assert ended.code == 0
    assert ended.out.startswith("1 masks in")
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["masks"]
    again = run("predict", trained, image, "--out", tmp_path / "out", *words, "--resume")
    assert "1 were there already" in again.out


def test_ctrl_c_while_training_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    words = [
        "train",
        str(data),
        "--out",
        str(tmp_path / "run"),
        *MODEL,
        *SMALL,
        "--set",
        "train.epochs=100000",
    ]
    command = [sys.executable, "-m", "dinoseg", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with process:
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "error: interrupted; run the same command with --resume to go on"
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_choices_are_those_of_the_settings() -> None:
    fields = RunSettings.model_fields
    for choices, name in ((PresetName, "preset"), (ShotsFromName, "shots_from"), (ShotUnitName, "shot_unit")):
        assert set(typing.get_args(choices)) == set(typing.get_args(fields[name].annotation))


def test_info_lists_every_setting_of_a_training(run: Run) -> None:
    shown = {setting["key"]: setting for setting in run("info", "settings", "--json").json["settings"]}
    assert {
        f"train.{name}" for name in TrainSettings.model_fields if name not in ("seed", "augmentation")
    } <= set(shown)
    assert shown["train.lr"]["default"] == preset("default", "linear").lr
    assert NOT_SETTABLE & set(shown) == set()


@pytest.mark.parametrize(
    "setting", [item for item in list_settings() if item.key.startswith("train.")], ids=lambda item: item.key
)
def test_every_listed_default_is_accepted(setting: typing.Any) -> None:
    recipe = preset("default", "segdino-v1")
    assert override(recipe, {setting.key.removeprefix("train."): setting.default}) == recipe


def test_options_that_stand_for_settings(run: Run, data: Path, tmp_path: Path) -> None:
    words = [*MODEL, *SMALL, "--shots", 3, "--precision", "bfloat16", "--batch-size", 2]
    assert run("train", data, "--out", tmp_path / "run", *words).code == 0
    training = run("info", tmp_path / "run", "--json").json["training"]
    config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert "precision: bfloat16" in config
    assert training["train"]["batch_size"] == 2
    ended = run("train", data, "--out", tmp_path / "twice", *words, "--set", "train.batch_size=2")
    assert ended.code == 2
    assert ended.error.startswith("train.batch_size is given with --set and with an option of its own")


def test_precision_threads_and_batch_size_of_a_model(
    run: Run, data: Path, trained: Path, tmp_path: Path
) -> None:
    words = ["--precision", "bfloat16", "--threads", 1, "--batch-size", 3]
    assert run("evaluate", trained, data, "--split", "val", *words).code == 0
    image = next((data / "images").iterdir())
    assert run("predict", trained, image, "--out", tmp_path / "out", *words).code == 0
    written = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert written["model"]["precision"] == "bfloat16"
    assert run("predict", trained, image, "--out", tmp_path / "no", "--precision", "float16").code == 2


def test_info_topics(run: Run) -> None:
    assert "untrained-vitt16" in run("info", "backbones").out
    methods = {item["name"] for item in run("info", "methods", "--json").json["methods"]}
    assert {"segdino-v1", "segdino-v2", "linear"} <= methods
    assert "dinoseg info settings" in run("info").out


def test_evaluate_scores_what_predict_writes(run: Run, data: Path, trained: Path, tmp_path: Path) -> None:
    """The same options of both commands; the report names them."""
    ways = ["--window", "48", "--overlap", "0.5", "--flips", "--batch-size", "3"]
    told = run("evaluate", trained, data, *ways, "--out", tmp_path / "report", "--json")
    assert told.code == 0, told.err
    assert run("predict", trained, data / "images", *ways, "--out", tmp_path / "masks").code == 0
    facts = json.loads((tmp_path / "report" / "summary.json").read_text())["facts"]
    assert (facts["Window"], facts["Overlap"], facts["Symmetries"]) == ("48", "0.5", "4")
    with (tmp_path / "report" / "cases.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert rows
    for row in rows:
        mask, target = (
            np.asarray(PillowImage.open(folder / f"{row['case']}.png")) > 0
            for folder in (tmp_path / "masks" / "masks", data / "masks")
        )
        dice = 2 * (mask & target).sum() / (mask.sum() + target.sum())
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-6)
    plain = run("evaluate", trained, data, "--json")
    assert plain.json["classes"] != told.json["classes"]


def test_one_picture_needs_no_library_that_it_does_not_use(trained: Path, data: Path, tmp_path: Path) -> None:
    picture = next((data / "images").glob("*.png"))
    words = ["predict", str(trained), str(picture), "--out", str(tmp_path / "out")]
    code = f"import sys; from dinoseg.cli import main; main({words!r}) and sys.exit(1); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    unused = {"matplotlib", "lightning", "monai", "torchmetrics", "tensorboard", "pandas"}
    unused |= {"nibabel", "pydicom", "highdicom", "h5py", "tifffile"}
    assert "torch" in loaded
    assert unused & loaded == set()

"""What dinoseg wrote is no input: runs, series of runs, predictions and reports are named, not segmented."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from dinoseg import predict
from dinoseg.cli import main
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.errors import LayoutError
from tests.cli.conftest import Run

SMALL = ["--set", "model.preprocessing.size=64", "--set", "train.views=1", "--set", "train.min_bank=1"]
SMALL += ["--set", "train.min_epoch_samples=8", "--set", "train.epochs=1"]
MODEL = ["--method", "linear", "--backbone", "untrained-vitt16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, a run with a report, predictions/ and draws/."""
    root = tmp_path_factory.mktemp("place")
    data = write_phantoms(root / "data", kind="dermoscopy", count=12, size=(64, 80))
    options = [*MODEL, *SMALL, "--set", f"cache.folder={root / 'features'}"]
    run, draws = root / "run", root / "draws"
    assert main(["train", str(data), "--out", str(run), *options]) == 0
    assert main(["evaluate", str(run), str(data), "--out", str(run / "report")]) == 0
    assert main(["predict", str(run), str(data / "images"), "--out", str(root / "predictions")]) == 0
    words = ["--shots", "2", "--draws", "2"]
    assert main(["train", str(data), "--out", str(draws), *options, *words]) == 0
    return root


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("run", "is a run folder; a run is what predicts"),
        ("run/report", "is a report; "),
        ("draws", "is a folder of 2 runs; it holds trained models"),
        ("draws/draw-0/report/test", "is a report; "),
        ("predictions", "is what `dinoseg predict` wrote; name the images"),
        ("predictions/overlays", "is a part of what `dinoseg predict` wrote"),
        ("predictions/masks", "is a part of what `dinoseg predict` wrote"),
    ],
)
def test_our_own_folders_are_no_input(run: Run, place: Path, tmp_path: Path, given: str, named: str) -> None:
    ended = run("predict", place / "run", place / given, place / "data" / "images", "--out", tmp_path / "out")
    assert ended.code == 3
    assert named in ended.error
    assert str(place / given) in ended.error
    assert not (tmp_path / "out").exists()
    with pytest.raises(LayoutError, match="no input"):
        predict(place / "run", [place / given])


def test_a_picture_of_a_report_is_no_input_and_one_beside_a_run_is(
    run: Run, place: Path, tmp_path: Path
) -> None:
    overlay = next((place / "predictions" / "overlays").glob("*.jpg"))
    ended = run("predict", place / "run", overlay, "--out", tmp_path / "out")
    assert ended.code == 3
    assert "part of what `dinoseg predict` wrote" in ended.error
    shutil.copytree(place / "run", tmp_path / "run")
    PillowImage.new("RGB", (50, 40), "pink").save(tmp_path / "run" / "photo.png")
    assert run("predict", place / "run", tmp_path / "run" / "photo.png", "--out", tmp_path / "out").code == 0


def test_runs_and_predictions_inside_a_folder_are_left_out(run: Run, place: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copytree(place / "run", tmp_path / "in" / "run")
    shutil.copytree(place / "predictions", tmp_path / "in" / "earlier")
    PillowImage.new("RGB", (50, 40), "pink").save(tmp_path / "in" / "photo.png")
    ended = run("predict", place / "run", tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert ended.code == 0
    assert [Path(item["source"]).name for item in ended.json["files"]] == ["photo.png"]
    for name in ("run", "earlier"):
        assert f"{tmp_path / 'in' / name} is left out: dinoseg wrote it" in ended.err
    (tmp_path / "in" / "photo.png").unlink()
    ended = run("predict", place / "run", tmp_path / "in", "--out", tmp_path / "none")
    assert ended.code == 3
    assert "holds no images" in ended.error
    assert "is left out: dinoseg wrote it" in ended.error


def test_images_that_predictions_were_written_beside_are_still_an_input(
    run: Run, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "data" / "images", tmp_path / "images")
    assert run("predict", place / "run", tmp_path, "--out", tmp_path).code == 0
    ended = run("predict", place / "run", tmp_path, "--out", tmp_path / "again", "--json")
    assert ended.code == 0
    assert len(ended.json["files"]) == 12


@pytest.mark.parametrize("given", ["run", "draws", "predictions", "predictions/masks", "run/report"])
def test_our_own_folders_are_no_data_set(run: Run, place: Path, tmp_path: Path, given: str) -> None:
    ended = run("evaluate", place / "run", place / given)
    assert ended.code == 3
    assert ended.error.startswith(f"no data set: {place / given} is ")
    ended = run("train", place / given, "--out", tmp_path / "run", *MODEL)
    assert ended.code == 3
    assert ended.error.startswith(f"no data set: {place / given} is ")


@pytest.mark.parametrize("verb", ["info", "predict", "evaluate"])
def test_a_folder_of_runs_says_which_one_to_name(run: Run, place: Path, tmp_path: Path, verb: str) -> None:
    draws, data = place / "draws", place / "data"
    more = {"predict": [data / "images", "--out", tmp_path / "out"], "evaluate": [data]}
    ended = run(verb, draws, *more.get(verb, []))
    assert ended.code == 1
    assert ended.error == f"{draws} holds 2 runs and is none itself; name one of them: {draws / 'draw-0'}"

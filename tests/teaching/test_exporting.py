"""What is accepted becomes a data set that `train` takes as it is; of volumes too."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dinoseg.data import open_dataset
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.cases.volumes import read_volume_case
from dinoseg.errors import OutputError, RunError, UsageError
from dinoseg.model.opening import load
from dinoseg.teaching.exporting import export
from dinoseg.teaching.full_training import TrainingPlan, train_fully
from dinoseg.teaching.project import Project
from dinoseg.training import train
from tests.data.volume_folders import write_nifti
from tests.teaching.scenes import (
    BACKBONE,
    dot,
    draw_disc,
    open_project,
    paint_disc,
    wait_for_features,
    write_discs,
)

TINY = {"model.preprocessing.size": 64, "train.epochs": 1, "train.views": 1, "train.min_bank": 1}
DEPTH, SIZE = 4, 40
LPS = np.diag([-1.0, -1.0, 2.0, 1.0])  # a file whose axes run otherwise than the slices are shown


def accept_discs(project: Project, count: int) -> None:
    for number, subject in enumerate(project.subjects[:count]):
        if number < 2:
            paint_disc(project, subject.id, number)
    assert project.wait(60)
    for subject in project.subjects[:count]:
        project.accept(subject.id)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Eight pictures, six of them accepted."""
    folder = tmp_path_factory.mktemp("discs")
    write_discs(folder, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINOSEG_HOME", str(tmp_path_factory.mktemp("home")))
        project = open_project(folder, classes=["disc"])
        wait_for_features(project)
        accept_discs(project, 6)
        yield project
        project.close()


def write_scans(folder: Path, count: int) -> None:
    """Volumes with a bright box."""
    for number in range(count):
        voxels = np.random.default_rng(number).integers(0, 60, (DEPTH, SIZE, SIZE)).astype(np.int16)
        voxels[:, 8:24, 4 + number : 20 + number] += 400
        write_nifti(folder / f"scan-{number}.nii.gz", voxels, LPS)


@pytest.fixture
def scans(tmp_path: Path) -> Iterator[Project]:
    write_scans(tmp_path, 3)
    project = open_project(tmp_path, classes=["box"])
    wait_for_features(project)
    yield project
    project.close()


def find_box(project: Project, image: str, index: int) -> NDArray[np.bool_]:
    return project.image(image, index).array[0] > 0.5


@pytest.mark.parametrize("layout", ["folder", "nnunet"])
def test_train_takes_an_export_as_it_is(discs: Project, layout: str, tmp_path: Path) -> None:
    written = export(discs, f"for-{layout}", layout=layout)
    model = train(written.folder, tmp_path / "run", method="linear", backbone=BACKBONE, changes=TINY)
    assert model.classes == {0: "background", 1: "disc"}
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_names_that_are_equal_in_two_folders_stay_apart(tmp_path: Path) -> None:
    for part in ("a", "b"):
        write_discs(tmp_path / part, 2)
    project = open_project(tmp_path, classes=["disc"])
    wait_for_features(project)
    accept_discs(project, 4)
    written = export(project, "all", layout="folder")
    project.close()
    assert written.images == len(open_dataset(written.folder).cases) == 4


def test_slices_of_a_volume_are_painted_where_they_lie_in_its_file(scans: Project) -> None:
    image = scans.subjects[0].id
    assert (scans.subjects[0].slices, scans.subjects[0].size) == (DEPTH, (SIZE, SIZE))
    for index in (1, 2):
        box = np.argwhere(find_box(scans, image, index)).mean(axis=0) + 0.5
        scans.add_stroke(image, f"box-{index}", dot(1, box[1], box[0], radius=7, index=index))
        away = np.argwhere(~find_box(scans, image, index))
        far = away[np.abs(away - box).sum(axis=1).argmax()]
        scans.add_stroke(
            image, f"ground-{index}", dot(0, float(far[1]), float(far[0]), radius=5, index=index)
        )
    assert scans.wait(60)
    shown = scans.prediction(image, 1)
    assert shown is not None
    assert (shown[find_box(scans, image, 1)] == 1).mean() > 0.7
    scans.accept(image, 1)
    scans.accept(image, 2)
    for layout in ("folder", "nnunet"):
        written = export(scans, layout, layout=layout)
        assert (written.images, written.left_out, written.ignored) == (1, 2, 0.5)
        dataset = open_dataset(written.folder)
        case = read_volume_case(dataset.cases[0], dataset.labels).canonical()
        assert case.label is not None
        assert (case.label.array[[0, 3]] == IGNORE_ID).all()
        assert np.array_equal(case.label.array[1], shown)
        given = case.image.array[0, 1]
        assert (given[shown == 1].mean() > 200) == (given[shown == 0].mean() < 200)


def test_all_slices_of_a_volume_are_accepted_at_once(scans: Project) -> None:
    image = scans.subjects[1].id
    box = np.argwhere(find_box(scans, image, 0)).mean(axis=0)
    scans.add_stroke(image, "box", dot(1, box[1], box[0], radius=6))
    scans.add_stroke(image, "ground", dot(0, 2, 2, radius=3))
    assert scans.wait(60)
    scans.accept(image)
    assert scans.state().images[1].accepted == DEPTH
    assert export(scans, "whole", layout="nnunet").ignored == 0


def test_masks_in_nnunet_raw_are_accepted_and_others_are_new(discs: Project, tmp_path: Path) -> None:
    written = export(discs, "partly", layout="nnunet")
    for label in sorted((written.folder / "labelsTr").iterdir())[4:]:
        label.unlink()
    project = open_project(written.folder)
    try:
        states = [image.state for image in project.state().images]
        assert states == ["accepted"] * 4 + ["new"] * 2
        assert [each.name for each in project.classes] == ["disc"]
        assert (project.prediction(project.subjects[0].id) == draw_label(discs, 0)).all()
    finally:
        project.close()


def draw_label(project: Project, number: int) -> NDArray[np.uint8]:
    found = project.prediction(project.subjects[number].id)
    assert found is not None
    assert found.shape == draw_disc(number)[1].shape
    return found


def test_a_training_that_fails_says_why(discs: Project) -> None:
    with pytest.raises(UsageError, match="method 'unet' is unknown"):
        train_fully(discs, TrainingPlan("unet"), report=print_nothing, is_cancelled=lambda: False)
    assert not (discs.place / "runs" / "unet-1").exists()


def print_nothing(done: int, total: int) -> None:
    """Where nobody wants to know."""


def test_a_cancelled_training_ends(discs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is one that would never end, so that the test need not train."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr("dinoseg.teaching.full_training.word_command", lambda *_: sleeper)
    began = time.monotonic()
    with pytest.raises(RunError, match="cancelled; go on with"):
        train_fully(
            discs,
            TrainingPlan("linear"),
            report=print_nothing,
            is_cancelled=lambda: time.monotonic() > began + 0.2,
        )
    assert time.monotonic() - began < 20


def test_the_last_line_of_a_failed_training_is_told(discs: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('error: the disk is full')"]
    monkeypatch.setattr("dinoseg.teaching.full_training.word_command", lambda *_: failing)
    with pytest.raises(RunError, match="the training failed: the disk is full"):
        train_fully(discs, TrainingPlan("linear"), report=print_nothing, is_cancelled=lambda: False)


@pytest.mark.slow
def test_train_fully_makes_a_run_that_predicts(discs: Project) -> None:
    told: list[tuple[int, int]] = []
    run = train_fully(
        discs,
        TrainingPlan("linear", epochs=2),
        report=lambda done, total: told.append((done, total)),
        is_cancelled=lambda: False,
    )
    assert run.parent == discs.place / "runs"
    assert told[-1][1] == 2
    assert load(run).classes == {0: "background", 1: "disc"}


def test_an_export_that_is_there_stays(discs: Project) -> None:
    export(discs, "once", layout="folder")
    with pytest.raises(OutputError, match="exists already"):
        export(discs, "once", layout="folder")

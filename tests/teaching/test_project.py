"""A project: what was answered is kept, what is painted is learned, and the user's files stay as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dinoseg.cli import teach
from dinoseg.data import open_dataset, read_case
from dinoseg.data.case import Image
from dinoseg.errors import FileFormatError, LayoutError, OutputError, RunError, UsageError
from dinoseg.progress import Silent
from dinoseg.teaching import features
from dinoseg.teaching.classes import check_classes
from dinoseg.teaching.exporting import export
from dinoseg.teaching.features import Seer
from dinoseg.teaching.frames import Frame
from dinoseg.teaching.learner import Learner
from dinoseg.teaching.project import Project
from dinoseg.teaching.records import ClassName
from dinoseg.teaching.strokes import UNPAINTED
from dinoseg.teaching.subjects import find_subjects
from tests.teaching.scenes import (
    SIDE,
    dot,
    draw_disc,
    measure_dice,
    open_project,
    paint_disc,
    wait_for_features,
    write_discs,
)

COUNT = 6


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".dinoseg" not in path.parts
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_discs(tmp_path, COUNT)
    return tmp_path


@pytest.fixture
def project(folder: Path) -> Iterator[Project]:
    opened = open_project(folder, classes=["disc"])
    wait_for_features(opened)
    yield opened
    opened.close()


def list_ids(project: Project) -> list[str]:
    return [subject.id for subject in project.subjects]


def test_a_file_that_is_no_image_is_told_and_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("hello")
    with pytest.raises(LayoutError, match=r"broken\.png is text"):
        find_subjects(tmp_path, Silent())
    write_discs(tmp_path, 2)
    found = find_subjects(tmp_path, Silent())
    assert [subject.name for subject in found.subjects] == ["disc-0.png", "disc-1.png"]
    assert [str(broken) in problem for problem in found.problems] == [True]
    assert broken.read_text() == "hello"


@pytest.mark.parametrize("error", [FileFormatError("cut short"), MemoryError("no room")])
def test_an_image_that_cannot_be_seen_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Also where it is the last of a few: the projection waits for the first images."""
    write_discs(tmp_path, 3)
    see = Seer.see

    def see_but_the_last(self: Seer, frame: Frame) -> object:
        if frame.subject.name.startswith("disc-2"):
            raise error
        return see(self, frame)

    monkeypatch.setattr(Seer, "see", see_but_the_last)
    opened = open_project(tmp_path, classes=["disc"])
    try:
        wait_for_features(opened)
        assert [image.features for image in opened.state().images] == ["yes", "yes", "no"]
        assert str(error) in str(opened.state().images[2].problem)
    finally:
        opened.close()


def test_a_round_that_fails_is_told_and_is_not_the_last(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = list_ids(project)

    def fail(self: Learner) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(Learner, "learn", fail)
        paint_disc(project, images[0], 0)
        assert project.wait(60)
    assert "could not be learned from: no room" in str(project.state().images[0].problem)
    paint_disc(project, images[1], 1)
    assert project.wait(60)
    assert project.state().images[0].problem is None
    assert measure_dice(project.prediction(images[2]), draw_disc(2)[1]) > 0.8


def test_two_painted_images_teach_the_others(project: Project, folder: Path) -> None:
    before = digest(folder)
    images = list_ids(project)
    for number in (0, 1):
        paint_disc(project, images[number], number)
    assert project.wait(60)
    for number in range(2, COUNT):
        assert measure_dice(project.prediction(images[number]), draw_disc(number)[1]) > 0.8
    state = project.state()
    assert state.round > 0
    assert state.seconds is not None
    assert state.estimate is not None
    assert 0 <= state.estimate.low <= state.estimate.dice <= state.estimate.high <= 1
    assert state.next in images[2:]
    assert [image.state for image in state.images[:3]] == ["stroked", "stroked", "new"]
    assert all(image.uncertainty is not None for image in state.images)
    other, mask = draw_disc(77)
    assert measure_dice(project.segment(Image(other)), mask) > 0.8
    assert digest(folder) == before


def test_an_answered_stroke_is_there_when_the_project_is_opened_again(folder: Path) -> None:
    project = open_project(folder)
    image = list_ids(project)[2]
    project.add_stroke(image, "one", dot(1, 30, 30))
    project.add_stroke(image, "two", dot(0, 60, 60))
    project.undo(image)
    canvas = project.canvas(image)
    project.close()
    again = open_project(folder)
    assert np.array_equal(again.canvas(image), canvas)
    assert again.redo(image) == 2
    assert (again.canvas(image) == 0).any()
    again.close()


def test_undo_gives_back_what_was_learned_before(project: Project) -> None:
    images = list_ids(project)
    paint_disc(project, images[0], 0)
    assert project.wait(60)
    before = project.prediction(images[3])
    project.add_stroke(images[0], "wrong", dot(1, 5, 5, radius=30))
    assert project.wait(60)
    assert not np.array_equal(project.prediction(images[3]), before)
    project.undo(images[0])
    assert project.wait(60)
    assert np.array_equal(project.prediction(images[3]), before)


def test_the_order_of_images_does_not_matter(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("other")
    write_discs(folder, COUNT)
    other = open_project(folder, classes=["disc"])
    wait_for_features(other)
    images = list_ids(project)
    for number in (0, 1, 2):
        paint_disc(project, images[number], number)
    for number in (2, 0, 1):
        paint_disc(other, images[number], number)
    assert project.wait(60)
    assert other.wait(60)
    same = np.mean([(project.prediction(image) == other.prediction(image)).mean() for image in images])
    other.close()
    assert same > 0.995


def test_without_background_nothing_is_predicted_or_accepted(project: Project) -> None:
    image = list_ids(project)[0]
    project.add_stroke(image, "one", dot(1, 30, 30))
    assert project.wait(60)
    assert project.prediction(image) is None
    with pytest.raises(UsageError, match="paint object and background first"):
        project.accept(image)


def test_accepting_keeps_the_prediction_with_the_paint_on_top(project: Project) -> None:
    images = list_ids(project)
    paint_disc(project, images[0], 0)
    assert project.wait(60)
    project.add_stroke(images[1], "corner", dot(1, 3, 3, radius=3))
    shown, canvas = project.prediction(images[1]), project.canvas(images[1])
    assert shown is not None
    project.accept(images[1])
    label = project.prediction(images[1])
    assert label is not None
    assert np.array_equal(label[canvas != UNPAINTED], canvas[canvas != UNPAINTED])
    assert project.state().images[1].state == "accepted"
    project.add_stroke(images[1], "later", dot(1, 90, 90, radius=3))
    later = project.prediction(images[1])
    assert later is not None
    assert (later[90, 90], label[90, 90]) == (1, 0)
    assert project.state().images[1].state == "accepted"
    project.reopen(images[1])
    assert project.state().images[1].state == "stroked"


def test_changes_tell_which_images(project: Project) -> None:
    image = list_ids(project)[4]
    seen = project.changes.version
    told: list[int] = []
    with project.changes.watched(lambda: told.append(1)):
        project.add_stroke(image, "one", dot(1, 30, 30))
    assert told
    assert [each.id for each in project.state(since=seen).images if each.strokes] == [image]
    project.wait(60)
    assert project.state(since=project.changes.version).images == ()


def test_a_class_with_strokes_cannot_vanish(project: Project) -> None:
    project.set_classes([ClassName(1, "disc", "#ff0000"), ClassName(2, "tool", "#00ff00")])
    image = list_ids(project)[0]
    project.add_stroke(image, "one", dot(2, 30, 30))
    with pytest.raises(UsageError, match="class tool cannot vanish"):
        project.set_classes([ClassName(1, "disc", "#ff0000")])
    project.undo(image)
    project.set_classes([ClassName(1, "ball", "#ff0000")])
    assert [each.name for each in project.classes] == ["ball"]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "at least one"),
        ([ClassName(1, "a", "#ffffff"), ClassName(1, "b", "#ffffff")], "of their own"),
        ([ClassName(1, "a", "#ffffff"), ClassName(2, "a", "#ffffff")], "of their own"),
        ([ClassName(0, "a", "#ffffff")], "ids are 1 to 32"),
        ([ClassName(1, "  ", "#ffffff")], "1 to 60 characters"),
        ([ClassName(1, "a", "red")], "give one such as #e69f00"),
    ],
)
def test_classes_that_are_none_are_refused(classes: list[ClassName], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_classes(classes)


def test_strange_strokes_are_refused(project: Project) -> None:
    image = list_ids(project)[0]
    with pytest.raises(UsageError, match="no image"):
        project.add_stroke("nowhere", "one", dot(1, 3, 3))
    with pytest.raises(UsageError, match="no slice 1; it has 1"):
        project.add_stroke(image, "one", dot(1, 3, 3, index=1))
    with pytest.raises(UsageError, match="no class 9"):
        project.add_stroke(image, "one", dot(9, 3, 3))
    with pytest.raises(UsageError, match="1 to 60 characters"):
        project.add_stroke(image, "", dot(1, 3, 3))


def test_two_servers_do_not_open_one_project(project: Project, folder: Path) -> None:
    with pytest.raises(RunError, match="is open in another `dinoseg teach`; close that first"):
        open_project(folder)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="holds no images"):
        open_project(tmp_path)
    with pytest.raises(LayoutError, match="is no folder"):
        open_project(tmp_path / "nowhere")
    assert not (tmp_path / ".dinoseg").exists()


def test_masks_of_some_images_are_accepted_labels(tmp_path: Path) -> None:
    write_discs(tmp_path, COUNT, masks=2)
    project = open_project(tmp_path)
    wait_for_features(project)
    assert [image.state for image in project.state().images] == ["accepted"] * 2 + ["new"] * (COUNT - 2)
    images = list_ids(project)
    assert np.array_equal(project.prediction(images[0]), draw_disc(0)[1])
    assert measure_dice(project.prediction(images[3]), draw_disc(3)[1]) > 0.8
    project.reopen(images[0])
    project.close()
    again = open_project(tmp_path)
    assert again.state().images[0].state == "new"  # what was taken back stays so
    again.close()


@pytest.mark.parametrize("layout", ["folder", "nnunet"])
def test_what_is_exported_is_what_was_accepted(project: Project, layout: str) -> None:
    images = list_ids(project)
    paint_disc(project, images[0], 0)
    assert project.wait(60)
    for image in images[:4]:
        project.accept(image)
    written = export(project, "first", layout=layout)
    assert (written.images, written.left_out, written.ignored) == (4, COUNT - 4, 0)
    dataset = open_dataset(written.folder)
    assert dataset.classes == {0: "background", 1: "disc"}
    for files, image in zip(dataset.cases, images, strict=False):
        case = read_case(files, dataset.labels)
        assert case.label is not None
        assert case.label.size == (SIDE, SIDE)
        assert np.array_equal(case.label.array, project.prediction(image))
    with pytest.raises(OutputError, match="exists already"):
        export(project, "first", layout=layout)


def test_nothing_accepted_nothing_exported(project: Project) -> None:
    with pytest.raises(UsageError, match="no image is accepted yet"):
        export(project, "first", layout="folder")
    with pytest.raises(UsageError, match=r"name '\.\./x' is not accepted"):
        export(project, "../x", layout="folder")
    with pytest.raises(UsageError, match="choose folder or nnunet"):
        export(project, "first", layout="zip")
    assert not (project.place / "exports").exists()


def test_the_command_line_says_the_size_that_is_used() -> None:
    """The command line must not load torch to know it."""
    assert teach.SIDE == features.SIDE

"""The page that teaches, as it is used: strokes in, a model out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.browser.conftest import Open
from tests.browser.screen import Screen
from tests.browser.teaching import (
    SIZE,
    UNPAINTED,
    Lesson,
    corner_far_from,
    middle_of,
    open_image,
    paint_disc,
    teaching,
    train_once,
    wait_ready,
    wait_saved,
)
from tests.serving.servers import wait_until
from tests.teaching.scenes import write_discs

COUNT = 12


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lesson]:
    """Twelve pictures without labels; every test paints on others of them."""
    folder = tmp_path_factory.mktemp("pictures")
    write_discs(folder, COUNT)
    with teaching(folder, "--classes", "disc") as lesson:
        yield lesson


@pytest.fixture
def screen(open_screen: Open, lesson: Lesson) -> Screen:
    screen = open_screen(f"{lesson.address}/teach")
    screen.find("item").nth(COUNT - 1).wait_for()
    return screen


def test_strokes_teach(screen: Screen, lesson: Lesson) -> None:
    assert "Paint a little of the disc" in screen.find("hint").inner_text()
    assert screen.find_violations() == []
    wait_ready(lesson)
    for number in range(3):
        open_image(screen, f"disc-{number}.png")
        paint_disc(screen, number)
    wait_until(lambda: all(image["round"] > 0 for image in lesson.project["images"]), seconds=60)
    assert lesson.score(range(3, COUNT)) > 0.6
    screen.page.locator("#estimate", has_text="Dice").wait_for()
    open_image(screen, "disc-5.png")
    disc, ground = (screen.colour(SIZE, point) for point in (middle_of(5), corner_far_from(5)))
    screen.page.keyboard.press("m")
    assert np.abs(screen.colour(SIZE, middle_of(5)) - disc).sum() > 60
    assert np.abs(screen.colour(SIZE, corner_far_from(5)) - ground).sum() < 10
    assert screen.find_violations() == []


def test_the_next_image_is_offered(screen: Screen, lesson: Lesson) -> None:
    offered = next(image for image in lesson.project["images"] if image["id"] == lesson.project["next"])
    opened = screen.page.locator("[aria-current=true]", has_text=offered["name"])
    opened.wait_for()
    screen.page.keyboard.press("n")
    opened.wait_for(state="detached")
    assert screen.page.locator("[aria-current=true]").count() == 1


def test_undo_redo_and_eraser(screen: Screen, lesson: Lesson) -> None:
    name = "disc-3.png"
    open_image(screen, name)
    screen.drag(SIZE, [(20, 20), (60, 20)])
    wait_saved(screen)
    painted = lesson.labels(name)
    assert (painted[20, 20:60] == 1).all()
    screen.page.keyboard.press("Control+z")
    wait_until(lambda: lesson.is_painted(name, UNPAINTED))
    screen.page.get_by_role("button", name="Redo").click()
    wait_until(lambda: np.array_equal(lesson.labels(name), painted))
    screen.page.keyboard.press("e")
    screen.drag(SIZE, [(40, 20), (40, 21)])
    wait_saved(screen)
    erased = lesson.labels(name)
    assert erased[20, 40] == UNPAINTED
    assert erased[20, 22] == 1
    assert screen.find("item").filter(has_text=name).inner_text().endswith("2 strokes")


def test_polygon_and_fill(screen: Screen, lesson: Lesson) -> None:
    name = "disc-4.png"
    open_image(screen, name)
    screen.page.keyboard.press("p")
    for corner in ((10, 10), (50, 10), (50, 40)):
        screen.page.mouse.click(*screen.place(SIZE, corner))
    screen.page.keyboard.press("Enter")
    wait_saved(screen)
    inside = lesson.labels(name)
    assert inside[20, 45] == 1
    assert inside[35, 12] == UNPAINTED
    assert 500 < (inside == 1).sum() < 700
    screen.page.keyboard.press("0")
    screen.page.keyboard.press("f")
    screen.page.mouse.click(*screen.place(SIZE, (45, 20)))
    wait_saved(screen)
    filled = lesson.labels(name)
    np.testing.assert_array_equal(filled == 0, inside == 1)


def test_classes_are_added_renamed_and_kept(screen: Screen, lesson: Lesson) -> None:
    screen.find("add-class").click()
    assert screen.find_violations() == []
    screen.page.get_by_label("Name of the class").fill("rim")
    screen.page.get_by_role("button", name="Add", exact=True).click()
    screen.find("class-2").wait_for()
    open_image(screen, "disc-6.png")
    screen.page.keyboard.press("2")
    screen.drag(SIZE, [(30, 80), (60, 80)])
    wait_saved(screen)
    assert set(np.unique(lesson.labels("disc-6.png"))) == {2, UNPAINTED}
    screen.page.get_by_role("button", name="Rename or recolour rim").click()
    screen.page.get_by_label("Name of the class").fill("edge")
    screen.page.get_by_role("button", name="Keep").click()
    wait_until(lambda: [item["name"] for item in lesson.project["classes"]] == ["disc", "edge"])
    screen.expect("409")
    screen.page.get_by_role("button", name="Rename or recolour edge").click()
    screen.page.get_by_role("button", name="Remove", exact=True).click()
    refused = screen.page.get_by_role("alert").first
    refused.wait_for()
    assert "edge cannot vanish" in refused.inner_text()
    screen.page.get_by_role("button", name="Cancel").click()
    screen.page.keyboard.press("Control+z")
    wait_until(lambda: lesson.is_painted("disc-6.png", UNPAINTED))


def test_a_reload_keeps_everything(screen: Screen, lesson: Lesson) -> None:
    open_image(screen, "disc-7.png")
    screen.page.keyboard.press("1")
    screen.drag(SIZE, [(20, 50), (70, 50)])
    wait_saved(screen)
    screen.page.reload()
    open_image(screen, "disc-7.png")
    red, green, blue = screen.colour(SIZE, (45, 50))
    assert (lesson.labels("disc-7.png")[50, 20:70] == 1).all()
    assert max(red, green, blue) - min(red, green, blue) > 60  # the picture is grey, paint is not


def test_two_tabs_see_each_other(screen: Screen, open_screen: Open, lesson: Lesson) -> None:
    other = open_screen(f"{lesson.address}/teach", beside=screen)
    for each in (screen, other):
        open_image(each, "disc-8.png")
    before = other.colour(SIZE, (45, 30))
    screen.page.bring_to_front()
    screen.drag(SIZE, [(20, 30), (70, 30)])
    wait_saved(screen)
    other.page.bring_to_front()
    wait_until(lambda: np.abs(other.colour(SIZE, (45, 30)) - before).sum() > 60)
    assert lesson.find("disc-8.png")["strokes"] == 1


def test_what_is_accepted_is_exported_and_trained_on(screen: Screen, lesson: Lesson, tmp_path: Path) -> None:
    for number in (0, 1, 2):
        open_image(screen, f"disc-{number}.png")
        screen.find("accept").click()
        screen.find("item").filter(has_text=f"disc-{number}.png").get_by_text("accepted").wait_for()
    screen.find("export").click()
    assert screen.find_violations() == []
    screen.page.get_by_role("button", name="Export", exact=True).click()
    screen.find("job").get_by_text("Exported").wait_for()
    command = screen.find("job").locator("code").inner_text()
    assert command.startswith("dinoseg train ")
    folder = Path(command.removeprefix("dinoseg train ").strip("'\""))
    assert len(list((folder / "masks").iterdir())) == 3
    train_once(folder, tmp_path / "run")
    assert (tmp_path / "run" / "model").is_dir()


def test_a_full_training_is_cancelled(screen: Screen, lesson: Lesson) -> None:
    screen.find("train").click()
    assert screen.find_violations() == []
    screen.page.get_by_label("Method").select_option("linear")
    screen.page.get_by_role("button", name="Train", exact=True).click()
    screen.find("job").get_by_role("button", name="Cancel").click()
    screen.find("job").get_by_text("stopping").wait_for()
    screen.find("job").wait_for(state="detached", timeout=120_000)

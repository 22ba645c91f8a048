"""Both pages for everybody: fingers on a small screen, the keyboard alone, dark and light, screen readers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import Open
from tests.browser.screen import AXE, Screen
from tests.browser.teaching import SIZE, UNPAINTED, Lesson, open_image, teaching, wait_saved
from tests.serving.servers import wait_until
from tests.teaching.scenes import SIDE, write_discs

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
NEEDED = ["model", "theme", "help", "choose-files", "choose-folder"]


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lesson]:
    folder = tmp_path_factory.mktemp("pictures")
    write_discs(folder, 3)
    with teaching(folder, "--classes", "disc") as lesson:
        yield lesson


def test_axe_looks_at_the_pages() -> None:
    if not AXE.is_file():
        pytest.skip("the pages were not looked at by axe; that needs npm of node 20 or later")
    assert "axe" in AXE.read_text(encoding="utf-8")[:200]


def _segment(open_screen: Open, server: str, picture: Path, **context: Any) -> Screen:
    screen = open_screen(server, **context)
    screen.find("model").wait_for()
    assert screen.find_violations() == []
    screen.find("files").set_input_files([picture])
    screen.wait_for("() => document.querySelector('[data-testid=item]')?.dataset.state === 'done'")
    return screen


def _is_too_wide(screen: Screen) -> bool:
    return screen.page.evaluate("() => document.documentElement.scrollWidth > innerWidth")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_schemes(open_screen: Open, server: str, lesson: Lesson, files: dict[str, Path], scheme: str) -> None:
    screen = _segment(open_screen, server, files["picture"], color_scheme=scheme)
    assert screen.find_violations() == []
    taught = open_screen(f"{lesson.address}/teach", color_scheme=scheme)
    open_image(taught, "disc-0.png")
    assert taught.find_violations() == []
    shown = [
        page.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        for page in (screen, taught)
    ]
    assert all((sum(map(int, colour[4:-1].split(","))) < 384) == (scheme == "dark") for colour in shown)
    taught.page.get_by_role("button", name="Dark or light").click()
    other = taught.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert other != shown[1]


def test_segmenting_on_a_phone(open_screen: Open, server: str, files: dict[str, Path]) -> None:
    screen = _segment(open_screen, server, files["picture"], **PHONE)
    assert not _is_too_wide(screen)
    assert screen.find_violations() == []
    screen.page.get_by_role("button", name="Brush", exact=True).tap()
    screen.touch([[screen.place(SIZE, point) for point in ((8, 8), (16, 8), (24, 8))]])
    screen.page.get_by_text("corrected").first.wait_for()
    assert screen.read_label(screen.download("download-mask.png"))[8, 8:24].all()


def test_teaching_on_a_phone(open_screen: Open, lesson: Lesson) -> None:
    screen = open_screen(f"{lesson.address}/teach", **PHONE)
    open_image(screen, "disc-1.png")
    assert not _is_too_wide(screen)
    assert screen.find_violations() == []
    screen.touch([[screen.place(SIZE, point) for point in ((20, 40), (40, 40), (60, 40))]])
    wait_saved(screen)
    painted = lesson.labels("disc-1.png")
    assert (painted[40, 22:58] == 1).all()
    left, right = (screen.place(SIZE, point) for point in ((30, 50), (60, 50)))
    apart = [(right[0] + 5 * step, right[1]) for step in range(5)]
    screen.touch([[left] * 5, apart])
    screen.page.wait_for_timeout(500)
    assert (lesson.labels("disc-1.png") == painted).all()  # two fingers zoom and do not paint


def test_segmenting_by_keyboard(open_screen: Open, server: str, files: dict[str, Path]) -> None:
    screen = open_screen(server)
    screen.find("model").wait_for()
    reached = []
    for _ in range(12):
        screen.page.keyboard.press("Tab")
        reached.append(screen.page.evaluate("() => document.activeElement.id"))
    assert [name for name in NEEDED if name not in reached] == []
    screen.page.keyboard.press("?")
    sheet = screen.find("help-sheet")
    assert "Brush" in sheet.inner_text()
    assert screen.find_violations() == []
    screen.page.keyboard.press("Escape")
    sheet.wait_for(state="hidden")
    with screen.page.expect_file_chooser() as waiting:
        screen.page.locator("#choose-files").focus()
        screen.page.keyboard.press("Enter")
    waiting.value.set_files(files["picture"])
    screen.wait_for("() => document.querySelector('[data-testid=item]')?.dataset.state === 'done'")
    with screen.page.expect_download():
        screen.page.keyboard.press("Control+s")


def test_teaching_by_keyboard(open_screen: Open, lesson: Lesson) -> None:
    screen = open_screen(f"{lesson.address}/teach")
    open_image(screen, "disc-2.png")
    keyboard = screen.page.keyboard
    screen.find("viewer").focus()
    keyboard.press("b")
    for key in ("Space", *["ArrowRight"] * 3, "Space"):
        keyboard.press(key)
    wait_saved(screen)
    painted = lesson.labels("disc-2.png")
    rows, columns = (painted == 1).nonzero()
    assert abs(rows.mean() - SIDE / 2) < SIDE / 8  # begun in the middle of the screen
    assert np.ptp(columns) > np.ptp(rows) + 6
    keyboard.press("Control+z")
    wait_until(lambda: lesson.is_painted("disc-2.png", UNPAINTED))
    keyboard.press("?")
    screen.find("help-sheet").wait_for()
    assert screen.find_violations() == []
    keyboard.press("Escape")
    keyboard.press("k")
    screen.page.locator("[aria-current=true]", has_text="disc-1.png").wait_for()

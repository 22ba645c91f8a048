"""A server that is killed and comes back, and volumes: nothing that was painted is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.browser.conftest import Open
from tests.browser.material import SCAN, draw_scan
from tests.browser.teaching import SIZE, UNPAINTED, Lesson, open_image, teaching, wait_saved
from tests.inference.volumes import save_nifti
from tests.serving.servers import wait_until
from tests.teaching.scenes import write_discs

GONE = (
    "ERR_CONNECTION_REFUSED",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_EMPTY_RESPONSE",
    "ERR_CONNECTION_RESET",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_discs(tmp_path / "mixed", 2)
    save_nifti(tmp_path / "mixed" / "scan.nii.gz", draw_scan(1)[0])
    return tmp_path / "mixed"


@pytest.fixture
def lesson(folder: Path) -> Iterator[Lesson]:
    with teaching(folder, "--classes", "box") as lesson:
        yield lesson


def test_slices_and_a_server_that_is_killed(open_screen: Open, lesson: Lesson, folder: Path) -> None:
    screen = open_screen(f"{lesson.address}/teach")
    size = (SCAN[2], SCAN[1])
    open_image(screen, "scan.nii.gz")
    slices = screen.page.get_by_role("slider", name="Slice")
    slices.fill("0")
    screen.page.get_by_text("Slice 1 of 6").wait_for()
    screen.page.wait_for_timeout(500)
    screen.drag(size, [(20, 24), (28, 24)])
    wait_saved(screen)
    assert (lesson.labels("scan.nii.gz", 0) == 1).any()
    assert (lesson.labels("scan.nii.gz", 1) == UNPAINTED).all()
    screen.page.keyboard.press("w")
    screen.page.get_by_text("Slice 2 of 6").wait_for()
    screen.page.keyboard.press("s")
    assert screen.find_violations() == []

    open_image(screen, "disc-0.png")
    screen.drag(SIZE, [(20, 20), (60, 20)])
    wait_saved(screen)
    screen.expect(*GONE)
    lesson.process.kill()
    lesson.process.wait()
    screen.drag(SIZE, [(20, 70), (60, 70)])
    screen.find("saved").get_by_text("1 stroke not saved, trying again").wait_for()
    assert screen.find_violations() == []
    with teaching(folder, port=lesson.port) as again:
        screen.find("saved").get_by_text("Saved", exact=True).wait_for()
        labels = again.labels("disc-0.png")
        assert (labels[20, 20:60] == 1).all()
        assert (labels[70, 20:60] == 1).all()
        assert (again.labels("scan.nii.gz", 0) == 1).any()
        wait_until(lambda: np.ptp(screen.colour(SIZE, (40, 70))) > 60)  # still on the screen, in colour


def test_a_stroke_that_was_not_saved_survives_a_reload(
    open_screen: Open, lesson: Lesson, folder: Path
) -> None:
    screen = open_screen(f"{lesson.address}/teach")
    open_image(screen, "disc-1.png")
    screen.expect(*GONE)
    lesson.process.kill()
    lesson.process.wait()
    screen.drag(SIZE, [(20, 70), (60, 70)])
    screen.find("saved").get_by_text("not saved").wait_for()
    with teaching(folder, port=lesson.port) as again:
        screen.page.on("dialog", lambda dialog: dialog.accept())
        screen.page.reload()
        wait_until(lambda: again.is_painted("disc-1.png", 1, (70, slice(20, 60))))

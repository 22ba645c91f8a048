"""`dinoseg teach` as a process, asked beside the page for what it has."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tests.browser.screen import Point, Screen
from tests.serving.servers import running, wait_until
from tests.teaching.scenes import BACKBONE, SIDE, draw_disc, measure_dice

SIZE = (SIDE, SIDE)
UNPAINTED = 255
ALL = (slice(None), slice(None))


class Lesson:
    """A server that teaches."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def ask(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.address}/api/v1/teach/{path}", timeout=60).raise_for_status()

    @property
    def project(self) -> Any:
        return self.ask("project").json()

    def find(self, name: str) -> Any:
        return next(image for image in self.project["images"] if image["name"] == name)

    def labels(self, name: str, index: int = 0) -> NDArray[np.uint8]:
        return self._read(name, "labels", index)

    def prediction(self, name: str, index: int = 0) -> NDArray[np.uint8]:
        return self._read(name, "prediction", index)

    def _read(self, name: str, what: str, index: int) -> NDArray[np.uint8]:
        content = self.ask(f"images/{self.find(name)['id']}/{what}?slice={index}").content
        return np.asarray(PillowImage.open(io.BytesIO(content)))

    def is_painted(self, name: str, value: int, part: tuple[int | slice, int | slice] = ALL) -> bool:
        """Whether all of a picture, or a part of it (rows, columns), is painted with a class."""
        return bool((self.labels(name)[part] == value).all())

    def score(self, numbers: range) -> float:
        """Mean Dice of what is predicted for pictures of discs."""
        found = [
            measure_dice(self.prediction(f"disc-{number}.png"), draw_disc(number)[1]) for number in numbers
        ]
        return float(np.mean(found))


@contextmanager
def teaching(folder: Path, *words: str, port: int = 0) -> Iterator[Lesson]:
    """A server in a process of its own."""
    command = [
        "dinoseg",
        "teach",
        str(folder),
        "--backbone",
        BACKBONE,
        "--no-open",
        "--port",
        str(port),
        *words,
    ]
    with running(*command) as (process, address):
        yield Lesson(process, address)


def wait_ready(lesson: Lesson) -> None:
    """Until the features of all images are there."""
    wait_until(lambda: lesson.project["features"]["done"] == lesson.project["features"]["total"], seconds=120)


def open_image(screen: Screen, name: str) -> None:
    """By a click on its line."""
    line = screen.find("item").filter(has=screen.page.get_by_title(name, exact=True))
    line.get_by_role("button").click()
    screen.page.locator("[aria-current=true]", has_text=name.split("/")[-1]).wait_for()
    screen.page.wait_for_timeout(300)


def wait_saved(screen: Screen) -> None:
    """Until the page says so."""
    screen.find("saved").get_by_text("Saved", exact=True).wait_for()


def middle_of(number: int) -> Point:
    """Of a disc."""
    rows, columns = draw_disc(number)[1].nonzero()
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def corner_far_from(number: int) -> Point:
    """A place in the ground."""
    x, y = middle_of(number)
    return (8.0 if x > SIDE / 2 else SIDE - 8.0), (8.0 if y > SIDE / 2 else SIDE - 8.0)


def paint_disc(screen: Screen, number: int) -> None:
    """Two strokes: across the disc, and in a corner of the ground."""
    (x, y), (left, top) = middle_of(number), corner_far_from(number)
    screen.page.keyboard.press("1")
    screen.drag(SIZE, [(x - 12, y), (x + 12, y)])
    screen.page.keyboard.press("0")
    screen.drag(SIZE, [(left, top), (left, SIDE / 2), (SIDE / 2, top)])
    wait_saved(screen)


def train_once(folder: Path, out: Path) -> None:
    """One pass over an export, by the command."""
    words = [
        "--method",
        "linear",
        "--backbone",
        BACKBONE,
        "--size",
        "96",
        "--epochs",
        "1",
        "--set",
        "train.views=1",
    ]
    words += ["--set", "train.advice=false", "--set", f"cache.folder={out.parent / 'features'}"]
    command = [sys.executable, "-m", "dinoseg", "train", str(folder), "--out", str(out), *words]
    subprocess.run(command, check=True, capture_output=True)

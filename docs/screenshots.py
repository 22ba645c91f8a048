"""The pictures of the page in the manual: `make screenshots`.

Drawn skin pictures and an untrained backbone, so that they need no data and no download; Debian's chromium.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from scipy import ndimage

from dinoseg.data.phantoms.phantoms import write_phantoms

IMAGES = Path(__file__).parent / "images"
WIDE, NARROW = (1280, 800), (390, 844)
SIDE, TOP = 16, 64  # what the page leaves free around an image
PATIENCE = 300_000  # ms


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """The address of a `dinoseg` command that serves, until the end of the block."""
    command = [sys.executable, "-m", "dinoseg", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(
                found[0] for line in process.stdout if (found := re.search(r"http://[\d.]+:\d+/", line))
            )
        finally:
            process.kill()  # what is shown is in a temporary folder


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's own, never one that is downloaded."""
    path = shutil.which("chromium") or sys.exit("the pictures need chromium (apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def open_page(browser: Browser, size: tuple[int, int], *, dark: bool) -> Page:
    """A tab of its own, in CSS pixels."""
    scheme = "dark" if dark else "light"
    width, height = size
    return browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1
    )


def keep(page: Page, name: str) -> None:
    """Write what is on the screen to docs/images."""
    page.wait_for_timeout(400)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(IMAGES / f"page-{name}.jpg", quality=82, optimize=True)


def paint(page: Page, mask: np.ndarray) -> None:
    """A stroke within the lesion and one beside it, as a person would draw them."""
    box = page.get_by_test_id("viewer").bounding_box()
    height, width = mask.shape
    scale = min((box["width"] - 2 * SIDE) / width, (box["height"] - TOP - SIDE) / height)
    left = box["x"] + (box["width"] - width * scale) / 2
    top = box["y"] + TOP + (box["height"] - TOP - SIDE - height * scale) / 2
    beside = ndimage.binary_dilation(mask, iterations=60) & ~ndimage.binary_dilation(mask, iterations=30)
    for key, part in (("1", mask), ("0", beside)):
        page.keyboard.press(key)
        depth = ndimage.distance_transform_edt(part)
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        reach = min(depth.max() * 0.6, 60)
        page.mouse.move(left + (x - reach) * scale, top + y * scale)
        page.mouse.down()
        page.mouse.move(left + (x + reach) * scale, top + (y + reach / 3) * scale, steps=9)
        page.mouse.up()
        page.wait_for_timeout(300)


def show_teaching(browser: Browser, folder: Path) -> None:
    """The teach page, empty and after strokes on five images."""
    images, masks = folder / "skin", folder / "drawn/masks"
    write_phantoms(folder / "drawn", kind="dermoscopy", count=14, size=(480, 640), seed=3)
    images.mkdir()
    for mask in masks.glob("*.png"):
        if np.asarray(Image.open(mask)).any():  # some show healthy skin, where nobody would begin
            shutil.copy(folder / "drawn/images" / mask.name, images)
    words = ("teach", str(images), "--backbone", "untrained-vitt16", "--classes", "lesion", "--no-open")
    with serving(*words) as address:
        page = open_page(browser, WIDE, dark=True)
        page.goto(f"{address}teach")
        page.get_by_test_id("images").get_by_text("ready", exact=True).first.wait_for(timeout=PATIENCE)
        keep(page, "teach-first")
        for _ in range(4):
            name = page.locator("#list .current b").get_attribute("title")
            paint(page, np.asarray(Image.open(masks / name)) > 0)
            page.get_by_test_id("images").get_by_text("predicted").first.wait_for(timeout=PATIENCE)
            page.wait_for_timeout(1500)
            page.keyboard.press("a")
            page.wait_for_timeout(800)
            page.keyboard.press("n")
            page.wait_for_timeout(1200)
        paint(
            page, np.asarray(Image.open(masks / page.locator("#list .current b").get_attribute("title"))) > 0
        )
        page.wait_for_timeout(2500)
        page.mouse.move(5, 400)
        keep(page, "teach")


def show_segmenting(browser: Browser, folder: Path) -> None:
    """The segment page before the first file and with results, on a desk and on a phone; after the other."""
    demo = folder / "demo"
    command = [sys.executable, "-m", "dinoseg", "demo", "--quick", "--out", demo]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    files = sorted((folder / "skin").glob("*.png"))[:5]
    with serving("serve", str(demo / "run")) as address:
        for name, size, dark in (("segment", WIDE, False), ("segment-phone", NARROW, True)):
            page = open_page(browser, size, dark=dark)
            page.goto(address)
            page.get_by_test_id("model").wait_for()
            if size == WIDE:
                keep(page, "segment-first")
            page.get_by_test_id("files").set_input_files(files)
            page.locator("[data-state=done]").nth(len(files) - 1).wait_for(timeout=PATIENCE)
            page.get_by_test_id("legend").wait_for()
            keep(page, name)


def main() -> None:
    """All pictures, in two minutes."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        show_teaching(browser, Path(folder))
        show_segmenting(browser, Path(folder))


if __name__ == "__main__":
    main()

"""A page as a user has it: looked at, clicked, painted on. It notes what no user should ever cause."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
SIDES, TOP = 16, 64  # px around an image that is shown as a whole
BROKEN_POLICY = (
    "addEventListener('securitypolicyviolation', "
    "event => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
)

Point = tuple[float, float]


class Screen:
    """One tab.

    Attributes:
        page: Playwright's.
        complaints: errors on the console, exceptions, requests to other origins, violations of the policy.
    """

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        self.silenced: tuple[str, ...] = ()
        page.add_init_script(BROKEN_POLICY)
        page.on("console", lambda message: message.type == "error" and self.complain(message.text))
        page.on("pageerror", lambda error: self.complain(f"exception: {error}"))
        page.on("request", lambda request: self.check_origin(request.url))
        page.goto(address)

    def complain(self, text: str) -> None:
        if not any(part in text for part in self.silenced):
            self.complaints.append(text)

    def check_origin(self, url: str) -> None:
        if (
            urlsplit(url).scheme not in ("blob", "data")
            and urlsplit(url).netloc != urlsplit(self.address).netloc
        ):
            self.complain(f"request to {url}")

    def expect(self, *texts: str) -> None:
        """These errors on the console belong to the test."""
        self.silenced = texts

    def find(self, testid: str) -> Any:
        return self.page.get_by_test_id(testid)

    def wait_for(self, expression: str, argument: Any = None, *, seconds: float = 60) -> None:
        """Until JavaScript says true."""
        self.page.wait_for_function(expression, arg=argument, timeout=seconds * 1000)

    def find_violations(self) -> list[str]:
        """What axe has against the page as it is; nothing where axe is not there, which a test tells."""
        if not AXE.is_file():
            return []
        if not self.page.evaluate("() => typeof axe !== 'undefined'"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("() => axe.run()")
        return [
            f"{each['id']}: {node['html'][:120]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    def place(self, size: tuple[int, int], point: Point) -> Point:
        """Where a point of an image (width, height) lies on the page while the whole image is shown."""
        box = self.find("viewer").bounding_box()
        wide, high = box["width"] - 2 * SIDES, box["height"] - TOP - SIDES
        scale = min(wide / size[0], high / size[1], 64)
        left, top = SIDES + (wide - size[0] * scale) / 2, TOP + (high - size[1] * scale) / 2
        return box["x"] + left + point[0] * scale, box["y"] + top + point[1] * scale

    def drag(self, size: tuple[int, int], points: Sequence[Point]) -> None:
        """Press at the first point of an image, move along, let go at the last."""
        mouse = self.page.mouse
        first, *others = [self.place(size, point) for point in points]
        mouse.move(*first)
        mouse.down()
        for point in others:
            mouse.move(*point, steps=4)
        mouse.up()

    def touch(self, fingers: Sequence[Sequence[Point]]) -> None:
        """Fingers that go down at their first points on the page, move along all of them, and lift."""
        session = self.page.context.new_cdp_session(self.page)

        def send(kind: str, points: Sequence[Point]) -> None:
            touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        steps = list(zip(*fingers, strict=True))
        send("touchStart", steps[0])
        for points in steps[1:]:
            send("touchMove", points)
        send("touchEnd", [])
        session.detach()

    def download(self, testid: str) -> bytes:
        """What a button hands over as a file."""
        with self.page.expect_download() as waiting:
            self.find(testid).click()
        return Path(waiting.value.path()).read_bytes()

    def read_label(self, content: bytes) -> NDArray[np.uint8]:
        """The values of a PNG, palette indices of one with a palette."""
        return np.asarray(PillowImage.open(io.BytesIO(content)))

    def colour(self, size: tuple[int, int], point: Point) -> NDArray[np.int64]:
        """Red, green and blue of the page where a point of an image is."""
        shown = PillowImage.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        x, y = self.place(size, point)
        return np.asarray(shown.getpixel((int(x), int(y))), np.int64)

    def read_colours(self, testid: str) -> int:
        """How many colours a part of the page shows: one means that it is empty."""
        picture = PillowImage.open(io.BytesIO(self.find(testid).screenshot())).convert("RGB")
        return len(picture.getcolors(1 << 24))

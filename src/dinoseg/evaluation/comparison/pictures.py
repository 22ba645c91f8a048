"""The pictures of cases that a report's page holds, read back from it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_JPEG = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+")


class _Gallery(HTMLParser):
    """Remembers the image and the bold name of each figure."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._image = ""
        self._name: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "figure":
            self._image = ""
        elif tag == "img":
            self._image = dict(attrs).get("src") or ""
        elif tag == "strong" and self._image:
            self._name = []

    def handle_data(self, data: str) -> None:
        if self._name is not None:
            self._name.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "strong" and self._name is not None:
            # Anything else than a JPEG in base64 could be more than a picture on the new page.
            if _JPEG.fullmatch(self._image):
                self.found["".join(self._name)] = self._image
            self._name, self._image = None, ""


def read_pictures(page: Path | None) -> dict[str, str]:
    """Return case -> picture as a data URL; nothing where there is no page, or one without pictures."""
    if page is None:
        return {}
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    gallery = _Gallery()
    gallery.feed(text)
    return gallery.found

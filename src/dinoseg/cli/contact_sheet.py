"""The demo's picture: cases from worst to best, each as image, expert mask and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from dinoseg.data.case import Image
from dinoseg.inference.overlays import draw_overlay
from dinoseg.outputs import atomic_path

COLUMNS = ("image", "mask (exact, by construction)", "prediction")
TILE = 256
GAP = 10
LETTERS = 16
CAPTION = 120  # width of the words beside each row
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Row:
    """One case of the sheet.

    Attributes:
        image: intensities in 0..1.
        target: (H, W), the expert's class ids.
        prediction: (H, W), the model's class ids.
        words: lines beside the row.
    """

    image: Image
    target: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    words: tuple[str, ...]


def draw_sheet(
    rows: Sequence[Row], path: Path, *, title: str, notes: Sequence[str], overwrite: bool = False
) -> None:
    """Write the rows as one PNG with a title, and with notes below.

    Raises:
        OutputError: the file exists (without `overwrite`) or cannot be written.
    """
    header = 3 * LETTERS + 3 * GAP
    width = CAPTION + len(COLUMNS) * (TILE + GAP) + GAP
    lines = [line for note in notes for line in _wrap(note, width - 2 * GAP)]
    height = header + len(rows) * (TILE + GAP) + len(lines) * (LETTERS + GAP // 2) + 2 * GAP
    sheet = PillowImage.new("RGB", (width, height), PAPER)
    _write_header(sheet, title)
    for index, row in enumerate(rows):
        _place_row(sheet, row, header + index * (TILE + GAP))
    top = header + len(rows) * (TILE + GAP) + GAP
    _write_lines(sheet, lines, GAP, top, PALE)
    with atomic_path(path, overwrite=overwrite) as temporary:
        sheet.save(temporary, format="PNG")


def _write_header(sheet: PillowImage.Image, title: str) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, fill=INK, font=_font(LETTERS + 4))
    for index, column in enumerate(COLUMNS):
        place = (_left(index), 2 * GAP + LETTERS + 8)
        draw.text(place, column, fill=PALE, font=_font(LETTERS))


def _place_row(sheet: PillowImage.Image, row: Row, top: int) -> None:
    empty = np.zeros_like(row.target)
    for index, mask in enumerate((empty, row.target, row.prediction)):
        picture = PillowImage.fromarray(draw_overlay(row.image, mask))
        picture.thumbnail((TILE, TILE))
        sheet.paste(picture, (_left(index), top))
    _write_lines(sheet, row.words, GAP, top, INK)


def _write_lines(
    sheet: PillowImage.Image, lines: Sequence[str], left: int, top: int, colour: tuple[int, int, int]
) -> None:
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        draw.text((left, top + index * (LETTERS + GAP // 2)), line, fill=colour, font=_font(LETTERS))


def _wrap(text: str, width: int) -> list[str]:
    font = _font(LETTERS)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= width else [*lines, word]
    return lines


def _left(column: int) -> int:
    return CAPTION + column * (TILE + GAP)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)

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
from dinoseg.inference.pictures.overlays import draw_overlay
from dinoseg.outputs import atomic_path

COLUMNS = ("image", "mask (exact, as drawn)", "prediction")
TILE = 256
GAP = 10
LETTERS = 16
LINE = LETTERS + 5
CAPTION = 130  # width of the words beside each row
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
    """Write the rows as one PNG, with a title and notes above.

    Raises:
        OutputError: the file exists (without `overwrite`) or cannot be written.
    """
    pictures = [_draw_pictures(row) for row in rows]
    width = CAPTION + len(COLUMNS) * (TILE + GAP)
    lines = [line for note in notes for line in _wrap(note, width - 2 * GAP)]
    header = LINE * (len(lines) + 2) + 4 * GAP
    height = header + sum(shown[0].height + GAP for shown in pictures)
    sheet = PillowImage.new("RGB", (width, height), PAPER)
    _write_header(sheet, title, lines, header)
    top = header
    for row, shown in zip(rows, pictures, strict=True):
        _write_lines(
            sheet, [part for words in row.words for part in _wrap(words, CAPTION - 2 * GAP)], GAP, top, INK
        )
        for index, picture in enumerate(shown):
            sheet.paste(picture, (_left(index), top))
        top += shown[0].height + GAP
    with atomic_path(path, overwrite=overwrite) as temporary:
        sheet.save(temporary, format="PNG")


def _write_header(sheet: PillowImage.Image, title: str, lines: Sequence[str], bottom: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, fill=INK, font=_font(LETTERS + 4))
    _write_lines(sheet, lines, GAP, 2 * GAP + LINE, PALE)
    for index, column in enumerate(COLUMNS):
        draw.text((_left(index), bottom - LINE), column, fill=PALE, font=_font(LETTERS))


def _draw_pictures(row: Row) -> list[PillowImage.Image]:
    empty = np.zeros_like(row.target)
    pictures = [
        PillowImage.fromarray(draw_overlay(row.image, mask)) for mask in (empty, row.target, row.prediction)
    ]
    for picture in pictures:
        picture.thumbnail((TILE, TILE), PillowImage.Resampling.LANCZOS)
    return pictures


def _write_lines(
    sheet: PillowImage.Image, lines: Sequence[str], left: int, top: int, colour: tuple[int, int, int]
) -> None:
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        draw.text((left, top + index * LINE), line, fill=colour, font=_font(LETTERS))


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

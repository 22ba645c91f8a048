"""Pictures for a person to judge by: the pairs of images that a check found to be alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from dinoseg.data.checks.summaries import Copy
from dinoseg.data.images import read_image
from dinoseg.outputs import atomic_path

ROWS = 10
SHEETS = 20
TILE = 240
_GAP, _LETTERS = 8, 14
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def draw_copies(copies: Sequence[Copy], folder: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Draw pairs side by side with their names, ten on a sheet, at most 20 sheets.

    Args:
        copies: pairs of images, not of volumes.
        folder: where duplicates_1.png and so on go; it is made.
        overwrite: replace sheets that are there.

    Returns:
        The sheets.

    Raises:
        OutputError: a sheet exists already or cannot be written.
        FileFormatError: an image cannot be read.
    """
    sheets = [copies[start : start + ROWS] for start in range(0, min(len(copies), ROWS * SHEETS), ROWS)]
    paths = []
    for number, sheet in enumerate(sheets, start=1):
        path = folder / f"duplicates_{number}.png"
        with atomic_path(path, overwrite=overwrite) as temporary:
            _draw_sheet(sheet).save(temporary, format="PNG")
        paths.append(path)
    return tuple(paths)


def _draw_sheet(copies: Sequence[Copy]) -> PillowImage.Image:
    row = TILE + _LETTERS + 2 * _GAP
    sheet = PillowImage.new("RGB", (2 * TILE + 3 * _GAP, len(copies) * row + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=_LETTERS)
    for index, copy in enumerate(copies):
        top = _GAP + index * row
        alike = "equal" if copy.bits is None else f"{copy.bits} of 255 bits differ"
        draw.text((_GAP, top), f"{copy.describe()}: {alike}", fill=_INK, font=font)
        for column, path in enumerate(copy.paths):
            sheet.paste(_draw_tile(path), (_GAP + column * (TILE + _GAP), top + _LETTERS + _GAP))
    return sheet


def _draw_tile(path: Path) -> PillowImage.Image:
    array = read_image(path).array  # (C, H, W)
    levels = np.rint(array * 255).astype(np.uint8)
    rgb = np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))
    picture = PillowImage.fromarray(rgb)
    picture.thumbnail((TILE, TILE))
    return picture

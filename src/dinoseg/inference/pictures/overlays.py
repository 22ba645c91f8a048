"""Drawing a mask on its image so that people of every colour vision see where it ends."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from dinoseg.data.case import Image

# Colours that people with any common colour blindness tell apart.
# Source: Okabe & Ito, Color Universal Design (2008); those far from the reds and browns of tissue
# first, and their pale sky blue saturated, because on red tissue it fades to grey.
_COLOURS = (
    (0, 190, 255),  # sky blue
    (240, 228, 66),  # yellow
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
)
_FILL = 4  # one part in so many is the colour of the class, inside
_GOLDEN = 0.6180339887  # of the colour circle: later hues fall between the earlier ones
_RIM = 7  # twentieths: brightness of the thin dark rim around each contour


def palette(classes: int) -> NDArray[np.uint8]:
    """RGB colour of each class id, (classes, 3); background is black.

    The first seven classes have the colours of Okabe and Ito; more get hues that alternate
    between light and dark, and then the contours and the legend must help.
    """
    colours = [(0, 0, 0), *_COLOURS]
    colours += [_later_colour(index) for index in range(classes - len(colours))]
    return np.array(colours[:classes], dtype=np.uint8)


def draw_overlay(image: Image, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image as RGB (H, W, 3) with a transparent fill, a contour and a thin dark rim per class.

    Args:
        image: (1 or 3, H, W), intensities in 0..1.
        mask: (H, W), class ids.
    """
    planes = _to_planes(image)
    width = contour_width(image.size)
    box = _box(mask, margin=width + 1)
    if box is not None:
        _draw_classes(planes[:, box[0], box[1]], mask[box], width)
    return np.stack(list(planes), axis=-1)  # (3, H, W) -> (H, W, 3)


def draw_legend(
    picture: NDArray[np.uint8], mask: NDArray[np.uint8], classes: Mapping[int, str]
) -> NDArray[np.uint8]:
    """Name the classes that occur in the mask, in the corner that covers the least of it.

    Args:
        picture: (H, W, 3); returned unchanged where the legend does not fit, or nothing occurs.
        mask: (H, W), class ids.
        classes: class id -> name.
    """
    present = [index for index in np.unique(mask).tolist() if index > 0]
    box = _render_legend([(index, classes[index]) for index in present], contour_width(mask.shape) * 6 + 6)
    height, width = mask.shape
    if not present or box.shape[0] > height // 2 or box.shape[1] > width // 2:
        return picture
    rows = (slice(0, box.shape[0]), slice(height - box.shape[0], height))
    columns = (slice(0, box.shape[1]), slice(width - box.shape[1], width))
    corners = [(row, column) for row in rows for column in columns]
    corner = min(corners, key=lambda place: int(np.count_nonzero(mask[place])))
    drawn: NDArray[np.uint8] = picture.copy()
    drawn[corner] = box
    return drawn


def contour_width(size: tuple[int, ...]) -> int:
    """Pixels of a contour: 1 on a small image, 2 at 500 px, more where the picture will be shown reduced."""
    return max(1, round(max(size) / 250))


def _to_planes(image: Image) -> NDArray[np.uint8]:
    """(3, H, W), bytes."""
    pixels = np.multiply(image.array, np.float32(255))
    np.rint(pixels.clip(0, 255, out=pixels), out=pixels)
    planes = pixels.astype(np.uint8)
    return np.repeat(planes, 3, axis=0) if len(planes) == 1 else planes


def _box(mask: NDArray[np.uint8], *, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns that hold all classes and `margin` pixels more; None where there is none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    height, width = (
        slice(max(0, int(found[0]) - margin), int(found[-1]) + margin + 1) for found in (rows, columns)
    )
    return height, width


def _draw_classes(planes: NDArray[np.uint8], mask: NDArray[np.uint8], width: int) -> None:
    """Change `planes` (3, h, w) in place: fill, then contour, then rim.

    Whole planes in small integers, then a choice: picking pixels one by one takes ten times as long.
    """
    tint = np.take(palette(int(mask.max()) + 1).T, mask, axis=1)  # (h, w) -> (3, h, w)
    inside = mask > 0
    wide = planes.astype(np.uint16)
    np.copyto(planes, ((wide * (_FILL - 1) + tint + _FILL // 2) // _FILL).astype(np.uint8), where=inside)
    np.copyto(planes, tint, where=inside & _near_other_class(mask, width))
    rim = ~inside & _near_other_class(mask, max(1, width // 2))
    np.copyto(planes, ((wide * _RIM + 10) // 20).astype(np.uint8), where=rim)


def _near_other_class(mask: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Whether a pixel of another class is within `width` steps; the image's border is no class."""
    near: NDArray[np.bool_] = np.zeros(mask.shape, dtype=bool)
    vertical = mask[1:] != mask[:-1]
    near[1:] |= vertical
    near[:-1] |= vertical
    horizontal = mask[:, 1:] != mask[:, :-1]
    near[:, 1:] |= horizontal
    near[:, :-1] |= horizontal
    for step in range(width - 1):
        near = _grow(near, diagonal=step % 2 == 0)
    return near


def _grow(area: NDArray[np.bool_], *, diagonal: bool) -> NDArray[np.bool_]:
    # A square and a cross in turn come close to a disc.
    rows = area.copy()
    rows[1:] |= area[:-1]
    rows[:-1] |= area[1:]
    base = rows if diagonal else area
    grown: NDArray[np.bool_] = rows.copy()
    grown[:, 1:] |= base[:, :-1]
    grown[:, :-1] |= base[:, 1:]
    return grown


def _later_colour(index: int) -> tuple[int, int, int]:
    light = 0.65 if index % 2 == 0 else 0.40
    red, green, blue = colorsys.hls_to_rgb((index * _GOLDEN) % 1, light, 0.8)
    return round(red * 255), round(green * 255), round(blue * 255)


def _render_legend(entries: list[tuple[int, str]], height: int) -> NDArray[np.uint8]:
    """Dark box (h, w, 3) with a coloured square and a name per line; `height` of the letters in pixels."""
    font = ImageFont.load_default(size=height)
    line, gap = round(1.4 * height), max(2, height // 3)
    colours = palette(max((index for index, _ in entries), default=0) + 1)
    length = max((font.getlength(name) for _, name in entries), default=0)
    box = PillowImage.new(
        "RGB", (round(length) + height + 3 * gap, line * len(entries) + 2 * gap), (20, 20, 20)
    )
    draw = ImageDraw.Draw(box)
    for row, (index, name) in enumerate(entries):
        top = gap + row * line
        square = (gap, top + (line - height) // 2, gap + height - 1, top + (line + height) // 2 - 1)
        draw.rectangle(square, fill=tuple(colours[index].tolist()))
        draw.text((2 * gap + height, top + line // 2), name, fill=(255, 255, 255), font=font, anchor="lm")
    return np.asarray(box)

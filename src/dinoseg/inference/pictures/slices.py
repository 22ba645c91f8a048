"""A volume's mask as one picture: the slices that tell most, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.cases.volumes import VolumeSlices
from dinoseg.data.tensors.transforms import resize_image, resize_label
from dinoseg.data.volumes import Plane
from dinoseg.data.volumes.slices import plane_axis
from dinoseg.inference.pictures.overlays import draw_legend, draw_overlay

SHOWN = 6
_COLUMNS = 3
_SIDE = 384  # longest side of one slice in pixels
_GAP = 6
_GREY = 40


def choose_slices(mask: NDArray[np.uint8], *, count: int = SHOWN) -> list[int]:
    """Indices along the first axis that show most of a mask (D, H, W), in order.

    First the slice with the most of each class, rarest class first, then slices evenly spread over
    those that hold anything; over all slices where none does.
    """
    present = [_count_classes(plane) for plane in mask]
    areas: dict[int, list[int]] = {}
    for index, found in enumerate(present):
        for class_id, area in found.items():
            areas.setdefault(class_id, [0] * len(mask))[index] = area
    by_rarity = sorted(areas, key=lambda class_id: (sum(areas[class_id]), class_id))
    chosen = list(dict.fromkeys(int(np.argmax(areas[class_id])) for class_id in by_rarity))[:count]
    filled = [index for index, found in enumerate(present) if found] or list(range(len(mask)))
    for place in np.linspace(0, len(filled) - 1, 2 * count + 1)[1::2].round().astype(int):
        if len(chosen) < count and filled[place] not in chosen:
            chosen.append(filled[place])
    return sorted(chosen)


def draw_slices(
    slices: VolumeSlices,
    mask: NDArray[np.uint8],
    *,
    plane: Plane,
    classes: Mapping[int, str],
    spacing: tuple[float, float, float],
) -> NDArray[np.uint8]:
    """An RGB picture (H, W, 3) of a few slices in true proportions, each with its number.

    Args:
        slices: of the canonical volume, in `plane`.
        mask: (D, H, W), class ids on the same grid.
        plane: direction of the cut.
        classes: class id -> name, for the legend.
        spacing: of a voxel along (D, H, W).
    """
    axis = plane_axis(plane)
    across = np.moveaxis(mask, axis, 0)
    sizes = [length for place, length in enumerate(spacing) if place != axis]
    shape = shown_size(slices.size, (sizes[0], sizes[1]))
    tiles = [
        _draw_tile(slices.image(index), across[index], shape, classes, f"{plane} {index + 1}/{len(slices)}")
        for index in choose_slices(across)
    ]
    return _arrange(tiles)


def shown_size(size: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Height and width in pixels of a slice with square pixels."""
    height, width = size[0] * spacing[0], size[1] * spacing[1]
    scale = _SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _count_classes(plane: NDArray[np.uint8]) -> dict[int, int]:
    counts = np.bincount(plane.ravel())
    return {int(class_id): int(counts[class_id]) for class_id in np.flatnonzero(counts) if class_id > 0}


def _draw_tile(
    image: Image, mask: NDArray[np.uint8], size: tuple[int, int], classes: Mapping[int, str], text: str
) -> NDArray[np.uint8]:
    shown = resize_image(image, size)
    ids = resize_label(LabelMap(np.ascontiguousarray(mask)), size).array
    picture = draw_overlay(shown, ids)
    if len(classes) > 2:
        picture = draw_legend(picture, ids, classes)
    tile = PillowImage.fromarray(picture)
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(tile).text(
        (4, size[0] - 4), text, fill="white", font=font, anchor="ls", stroke_width=2, stroke_fill="black"
    )
    return np.asarray(tile)


def _arrange(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height, width, _ = tiles[0].shape
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3)
    picture: NDArray[np.uint8] = np.full(size, _GREY, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        picture[top : top + height, left : left + width] = tile
    return picture

"""Small pictures with a disc, whose masks are known."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.images import write_image, write_mask
from dinoseg.teaching.project import Project
from dinoseg.teaching.strokes import Stroke

BACKBONE = "untrained-vitt16"
SIDE = 96  # px of the pictures, and of what the backbone sees
RADIUS = 22


def draw_disc(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(3, SIDE, SIDE) in 0..1 and its mask: a bright disc on a dark ground."""
    generator = np.random.default_rng(number)
    row, column = generator.integers(RADIUS + 4, SIDE - RADIUS - 4, 2)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    disc = (y - row) ** 2 + (x - column) ** 2 < RADIUS**2
    ground = 0.15 + 0.05 * generator.random((3, SIDE, SIDE))
    return np.where(disc, 0.85, ground).astype(np.float32), disc.astype(np.uint8)


def write_discs(folder: Path, count: int, *, masks: int = 0) -> None:
    """Pictures, and masks of the first of them, as a folder of images or of images and masks."""
    for number in range(count):
        pixels, mask = draw_disc(number)
        write_image(folder / ("images" if masks else ".") / f"disc-{number}.png", Image(pixels))
        if number < masks:
            write_mask(folder / "masks" / f"disc-{number}.png", LabelMap(mask))


def open_project(folder: Path, **options: object) -> Project:
    """A project that sees small pictures."""
    return Project.open(folder, backbone=BACKBONE, side=SIDE, **options)


def wait_for_features(project: Project) -> None:
    """Until all are there, and what was painted is learned."""
    until = time.monotonic() + 60
    while project.state().features.done < project.state().features.total:
        if time.monotonic() > until:
            raise TimeoutError("no features after a minute")
        time.sleep(0.02)
    if not project.wait(60):
        raise TimeoutError("no round after a minute")


def dot(class_id: int, x: float, y: float, *, radius: float = 4.0, index: int = 0) -> Stroke:
    """A brush that was set down once."""
    return Stroke("brush", class_id, slice=index, radius=radius, points=((x, y),))


def paint_disc(project: Project, image: str, number: int) -> None:
    """A line through the disc, and one through the ground."""
    _, mask = draw_disc(number)
    rows, columns = np.nonzero(mask)
    middle = float(columns.mean()), float(rows.mean())
    project.add_stroke(image, uuid.uuid4().hex, dot(1, *middle, radius=8))
    rows, columns = np.nonzero(mask == 0)
    far = np.argmax((rows - middle[1]) ** 2 + (columns - middle[0]) ** 2)
    project.add_stroke(image, uuid.uuid4().hex, dot(0, float(columns[far]), float(rows[far]), radius=12))


def measure_dice(found: NDArray[np.uint8] | None, mask: NDArray[np.uint8]) -> float:
    """Of class 1."""
    one = np.zeros_like(mask) if found is None else found == 1
    return float(2 * (one & (mask == 1)).sum() / max(1, one.sum() + mask.sum()))

"""Drawn vessels: thin branching lines of 1 to 5 px on a cloudy ground, which no backbone's cells resolve."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter

SIDE = 256  # px, of an image
WIDEST = 5.0  # px, at the root
SPLITS = {"train": 30, "val": 10, "test": 20}


def draw_vessels_once(folder: Path, *, side: int = SIDE) -> Path:
    """Images, masks and splits in `folder`, the same every time; nothing where they are there.

    Larger images hold more vessels, of the same widths.
    """
    if (folder / "splits" / "test.txt").is_file():
        return folder
    for name in ("images", "masks", "splits"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = [f"vessels_{number:02d}" for number in range(sum(SPLITS.values()))]
    for seed, name in enumerate(names):
        image, mask = draw_pair(np.random.default_rng(seed), side=side)
        image.save(folder / "images" / f"{name}.png")
        mask.save(folder / "masks" / f"{name}.png")
    for split, count in SPLITS.items():
        (folder / "splits" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names[:count]))
        names = names[count:]
    return folder


def draw_pair(
    random: np.random.Generator, *, side: int = SIDE
) -> tuple[PillowImage.Image, PillowImage.Image]:
    """An image and its mask of 0 and 255."""
    mask = PillowImage.new("L", (side, side))
    for _ in range(round(random.integers(3, 6) * (side / SIDE) ** 2)):
        root = random.uniform(0.2, 0.8, 2) * side
        _grow(ImageDraw.Draw(mask), random, root, random.uniform(0, 2 * math.pi), WIDEST)
    clouds = PillowImage.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    ground = np.asarray(clouds.resize((side, side), PillowImage.Resampling.BICUBIC), np.float32)
    ground = np.array([150, 90, 60], np.float32) + 0.25 * (ground - 128)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.6)), np.float32)[..., None] / 255
    noise = random.normal(0, 8, (side, side, 1)).astype(np.float32)
    darker = ground - soft * random.uniform(35, 60) + noise
    return PillowImage.fromarray(darker.clip(0, 255).astype(np.uint8)), mask


def _grow(
    draw: ImageDraw.ImageDraw,
    random: np.random.Generator,
    place: np.ndarray,
    angle: float,
    width: float,
) -> None:
    """A bending line that thins out, with branches."""
    while width >= 1 and (place >= 0).all() and (place < draw.im.size[0]).all():
        angle += random.normal(0, 0.15)
        following = place + 4 * np.array([math.cos(angle), math.sin(angle)])
        draw.line([*place, *following], fill=255, width=round(width))
        if random.random() < 0.06:
            turn = random.choice([-1, 1]) * random.uniform(0.4, 1)
            _grow(draw, random, following, angle + turn, 0.6 * width)
        place, width = following, width - 0.06

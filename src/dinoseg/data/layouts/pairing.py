"""Which mask belongs to which image: by name, never by position in a list."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import stem_of

_MASK_SUFFIX = re.compile(r"[ _.-](masks?|segmentation|seg|labels?|gt|ground[ _-]?truth)$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `stem` is the name of the image without extension."""

    stem: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Pairing:
    """The pairs in the order of the images, and one line for each file that belongs to none."""

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]


def pair_files(images: Sequence[Path], masks: Sequence[Path]) -> Pairing:
    """Pair images with masks of the same name, or of that name and a suffix such as `_mask`.

    A mask whose whole name is an image's belongs to that image, even where the name ends in
    a suffix. Two images or two masks of one name are ambiguous, whatever their extension.
    """
    images_of = _by_stem(images)
    masks_of: dict[str, list[Path]] = defaultdict(list)
    orphans = []
    for mask in masks:
        stem = stem_of(mask)
        key = stem if stem in images_of else strip_suffix(stem)
        if key in images_of:
            masks_of[key].append(mask)
        else:
            orphans.append(f"{mask}: no image of this name")
    pairs, problems = [], []
    for stem, files in images_of.items():
        found = masks_of.get(stem, [])
        if len(files) == len(found) == 1:
            pairs.append(Pair(stem, files[0], found[0]))
        else:
            problems.append(_explain(files, found))
    return Pairing(tuple(pairs), tuple(problems + orphans))


def pair_folder(files: Sequence[Path]) -> Pairing:
    """Pair the files of one folder in which masks carry a suffix: x.jpg and x_mask.png."""
    masks = [file for file in files if strip_suffix(stem_of(file)) != stem_of(file)]
    others = set(files) - set(masks)
    return pair_files([file for file in files if file in others], masks)


def strip_suffix(stem: str) -> str:
    """The name without `_mask`, `_segmentation`, `_label`, `_gt` and their likes."""
    return _MASK_SUFFIX.sub("", stem)


def _by_stem(files: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        found[stem_of(file)].append(file)
    return dict(found)


def _explain(images: list[Path], masks: list[Path]) -> str:
    if len(images) > 1:
        return f"several images have one name: {', '.join(map(str, images))}"
    if not masks:
        return f"{images[0]}: no mask of this name"
    return f"{images[0]}: several masks: {', '.join(mask.name for mask in masks)}"

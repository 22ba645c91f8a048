"""Which mask belongs to which image: by name, never by position in a list."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.cases.files import stem_of
from dinoseg.data.labels.parts import Merge

_WORD = r"[ _.-](masks?|segmentation|seg|labels?|gt|ground[ _-]?truth)"
_MASK_SUFFIX = re.compile(_WORD + "$", re.IGNORECASE)
_NUMBERED_SUFFIX = re.compile(_WORD + r"[ _.-]?\(?\d+\)?$", re.IGNORECASE)  # x_mask_1 (BUSI)
_SEPARATORS = " _.-"


@dataclass(frozen=True)
class Pair:
    """An image and its masks; `stem` is the name of the image without extension.

    More than one mask only where the data set says how they are joined.
    """

    stem: str
    image: Path
    masks: tuple[Path, ...]

    @property
    def mask(self) -> Path:
        """The first mask."""
        return self.masks[0]


@dataclass(frozen=True)
class Pairing:
    """The pairs in the order of the images, and one line for each file that belongs to none."""

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...]


def pair_files(images: Sequence[Path], masks: Sequence[Path], *, merge: Merge | None = None) -> Pairing:
    """Pair images with masks of the same name, or of that name and a suffix such as `_mask`.

    A mask whose whole name is an image's belongs to that image, even where the name ends in
    a suffix. Two images of one name are ambiguous, whatever their extension, and so are two masks, unless
    `merge` says how they become one.
    """
    images_of = _by_stem(images)
    masks_of: dict[str, list[Path]] = defaultdict(list)
    orphans = []
    for mask in masks:
        key = _find_image(stem_of(mask), images_of, merge)
        if key:
            masks_of[key].append(mask)
        else:
            orphans.append(mask)
    named_after = {**_find_other_case(orphans, images_of), **_group_orphans(orphans, images_of)}
    pairs, problems = [], []
    for stem, files in images_of.items():
        found = _sort(masks_of.get(stem, []), merge)
        others = named_after.get(stem, [])
        if len(files) == 1 and found and not others and (merge or len(found) == 1):
            pairs.append(Pair(stem, files[0], tuple(found)))
        else:
            problems.append(_explain(files, [*found, *others]))
    told = {mask for group in named_after.values() for mask in group}
    problems += [f"{mask}: no image of this name" for mask in orphans if mask not in told]
    return Pairing(tuple(pairs), tuple(problems))


def pair_folder(files: Sequence[Path], *, merge: Merge | None = None) -> Pairing:
    """Pair the files of one folder in which masks carry a suffix: x.jpg and x_mask.png."""
    stems = {stem_of(file) for file in files}
    masks = {file for file in files if _is_mask_of_another(stem_of(file), stems, merge)}
    images = [file for file in files if file not in masks]
    return pair_files(images, [file for file in files if file in masks], merge=merge)


def _is_mask_of_another(stem: str, stems: set[str], merge: Merge | None) -> bool:
    if strip_suffix(stem) != stem:
        return True
    ending = merge.ending_of(stem) if merge else ""
    numbered = _NUMBERED_SUFFIX.sub("", stem)
    return bool(ending and stem[: -len(ending)] in stems) or (numbered != stem and numbered in stems)


def strip_suffix(stem: str) -> str:
    """The name without `_mask`, `_segmentation`, `_label`, `_gt` and their likes."""
    return _MASK_SUFFIX.sub("", stem)


def _find_image(stem: str, images_of: Mapping[str, object], merge: Merge | None) -> str:
    ending = merge.ending_of(stem) if merge else ""
    bare = stem[: -len(ending)] if ending else ""
    for name in (stem, strip_suffix(stem), _NUMBERED_SUFFIX.sub("", stem), bare):
        if name in images_of:
            return name
    if merge is not None and not merge.classes:
        return _longest_start(stem, images_of)
    return ""


def _sort(masks: list[Path], merge: Merge | None) -> list[Path]:
    if merge is None:
        return masks
    return sorted(masks, key=lambda mask: (merge.order(stem_of(mask)), mask.name))


def _group_orphans(orphans: Sequence[Path], images_of: Mapping[str, object]) -> dict[str, list[Path]]:
    """Masks named after an image with an ending that means nothing yet: x_MA.png and x_EX.png of x.jpg."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for mask in orphans:
        image = _longest_start(stem_of(mask), images_of)
        if image:
            groups[image].append(mask)
    return groups


def _find_other_case(orphans: Sequence[Path], images_of: Mapping[str, object]) -> dict[str, list[Path]]:
    """Masks whose name is that of an image but for capital letters: C1.png of c1.jpg."""
    folded = {stem.casefold(): stem for stem in images_of}
    named = {
        folded[stem_of(mask).casefold()]: [mask] for mask in orphans if stem_of(mask).casefold() in folded
    }
    return {stem: masks for stem, masks in named.items() if stem_of(masks[0]) != stem}


def _longest_start(stem: str, images_of: Mapping[str, object]) -> str:
    for end in range(len(stem) - 1, 0, -1):
        if stem[end] in _SEPARATORS and stem[:end] in images_of:
            return stem[:end]
    return ""


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
    names = ", ".join(mask.name for mask in masks[:4]) + (", …" if len(masks) > 4 else "")
    if len(masks) > 1:
        return (
            f"several masks for {images[0]}: {names}; make them one, or say in dataset.yaml how they are "
            "joined: `merge: union`, or `merge: {_MA: 1, _EX: 2}` where the ending of a name is its class"
        )
    if stem_of(masks[0]).casefold() == stem_of(images[0]).casefold():
        return f"{images[0]}: no mask of this name, but {names}, which differs in capital letters; rename one"
    ending = stem_of(masks[0])[len(stem_of(images[0])) :]
    return (
        f"{images[0]}: no mask of this name, but {names}; rename it, or declare what its ending means in "
        f"dataset.yaml, `merge: {{{ending}: 1}}`"
    )

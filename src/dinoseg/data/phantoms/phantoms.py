"""Drawn pictures with exact masks, for demos and tests.

They look like ultrasound, dermoscopy or endoscopy and have their difficulties (speckle,
shadows, hairs, highlights, lesions of a few pixels, several or none, look-alikes), but they
are drawings: a score on them says nothing about patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from dinoseg.data.case import Case, Image, LabelMap
from dinoseg.data.images import write_image, write_mask
from dinoseg.data.phantoms.scenes.dermoscopy import draw_dermoscopy
from dinoseg.data.phantoms.scenes.endoscopy import draw_endoscopy
from dinoseg.data.phantoms.scenes.textures import Canvas, Drawing
from dinoseg.data.phantoms.scenes.ultrasound import draw_ultrasound
from dinoseg.errors import UsageError
from dinoseg.outputs import claim, refuse_filled, remove_ours, write_csv, write_text
from dinoseg.progress import Progress, Silent

PhantomKind = Literal["ultrasound", "dermoscopy", "endoscopy"]

MIN_SIDE = 32
_SCENES: Mapping[str, Callable[[Canvas], Drawing]] = {
    "ultrasound": draw_ultrasound,
    "dermoscopy": draw_dermoscopy,
    "endoscopy": draw_endoscopy,
}
_FRAMES_PER_SUBJECT = (1, 4)
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
_README = (
    "These pictures are drawn by a program (dinoseg phantoms: {kind}, seed {seed}).\n"
    "They show no patient, and a score on them says nothing about patients.\n"
)


def draw_phantom(kind: PhantomKind, *, size: tuple[int, int], seed: int) -> Case:
    """Draw one picture with its exact mask (0 background, 1 lesion).

    Args:
        kind: "ultrasound" (grey), "dermoscopy" or "endoscopy" (RGB).
        size: height and width in pixels, from 32 up.
        seed: the same seed gives the same picture.

    Raises:
        UsageError: an unknown kind, or a side below 32.
    """
    return _draw(
        kind, size, subject=(seed, 0), frame=(seed, 0, 0), case_id=f"{kind}_{seed}", group=f"subject_{seed}"
    )


def write_phantoms(
    root: Path,
    *,
    kind: PhantomKind,
    count: int,
    size: tuple[int, int] = (256, 320),
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a data set of drawn pictures: images/, masks/ (0 and 255), groups.csv, splits/, dataset.yaml.

    One to four pictures share a subject (its tone, its probe), which is their group; the splits
    are 60 / 20 / 20 % of the subjects.

    Args:
        root: folder to write; it must be empty or absent.
        kind: what to draw.
        count: number of pictures, from 5 up.
        size: height and width in pixels.
        seed: the same seed gives the same data set.
        overwrite: replace what an earlier call wrote there.
        progress: shows the drawing.

    Returns:
        `root`.

    Raises:
        UsageError: an unknown kind, a side below 32, or fewer than 5 pictures.
        OutputError: `root` is not empty, holds what no earlier call wrote, or cannot be written.
    """
    _check_request(kind, size)
    if count < 5:
        raise UsageError(f"{count} phantoms cannot be split; give 5 or more")
    _clear(root, overwrite=overwrite)
    groups = _assign_subjects(count, seed)
    ids = [f"{kind}_{number:04d}" for number in range(1, count + 1)]
    steps = (progress or Silent()).track(range(count), total=count, label=f"Drawing {kind} phantoms")
    for index in steps:
        case = _draw(
            kind,
            size,
            subject=(seed, 1, groups[index]),
            frame=(seed, 2, index),
            case_id=ids[index],
            group=f"subject_{groups[index]:03d}",
        )
        _write_case(root, case)
    _write_lists(root, ids, groups, seed)
    write_text(
        root / "dataset.yaml",
        "classes: {0: background, 1: lesion}\nvalues: {0: 0, 255: 1}\n",
    )
    write_text(root / "README.txt", _README.format(kind=kind, seed=seed))
    return root


def _draw(
    kind: str,
    size: tuple[int, int],
    *,
    subject: tuple[int, ...],
    frame: tuple[int, ...],
    case_id: str,
    group: str,
) -> Case:
    _check_request(kind, size)
    canvas = Canvas(size, np.random.default_rng(subject), np.random.default_rng(frame))
    drawing = _SCENES[kind](canvas)
    pixels = drawing.pixels[None] if drawing.pixels.ndim == 2 else drawing.pixels.transpose(2, 0, 1)
    image = Image(np.ascontiguousarray(pixels))  # (H, W) or (H, W, 3) -> (C, H, W)
    label = LabelMap(drawing.mask.astype(np.uint8))
    return Case(id=case_id, image=image, label=label, group=group, source=Path(f"{case_id}.png"))


def _check_request(kind: str, size: tuple[int, int]) -> None:
    if kind not in _SCENES:
        raise UsageError(f"unknown phantom {kind!r}; accepted are {', '.join(_SCENES)}")
    if min(size) < MIN_SIDE:
        raise UsageError(
            f"phantoms of {size[0]}×{size[1]} pixels are too small; give {MIN_SIDE} or more per side"
        )


def _clear(root: Path, *, overwrite: bool) -> None:
    refuse_filled(root, overwrite=overwrite)
    remove_ours(root)
    claim(root)


def _assign_subjects(count: int, seed: int) -> list[int]:
    generator = np.random.default_rng((seed, 3))
    groups: list[int] = []
    while len(groups) < count:
        low, high = _FRAMES_PER_SUBJECT
        # At least five subjects, so that each split gets one.
        frames = min(int(generator.integers(low, high + 1)), max(1, count // 5))
        groups += [groups[-1] + 1 if groups else 1] * frames
    return groups[:count]


def _write_case(root: Path, case: Case) -> None:
    write_image(root / "images" / f"{case.id}.png", case.image)
    if case.label is not None:
        visible = LabelMap(case.label.array * np.uint8(255))
        write_mask(root / "masks" / f"{case.id}.png", visible)


def _write_lists(root: Path, ids: list[str], groups: list[int], seed: int) -> None:
    rows = [{"case": id_, "group": f"subject_{group:03d}"} for id_, group in zip(ids, groups, strict=True)]
    write_csv(root / "groups.csv", rows)
    split_of = _split_subjects(groups, seed)
    for name in ("train", "val", "test"):
        chosen = [id_ for id_, group in zip(ids, groups, strict=True) if split_of[group] == name]
        write_text(root / "splits" / f"{name}.txt", "\n".join(chosen) + "\n")


def _split_subjects(groups: list[int], seed: int) -> dict[int, str]:
    """Subject -> split: each, in shuffled order, goes where most pictures are missing."""
    frames = Counter(groups)
    missing = {name: share * len(groups) for name, share in _SHARES.items()}
    split_of: dict[int, str] = {}
    for index in np.random.default_rng((seed, 4)).permutation(len(frames)):
        subject = sorted(frames)[int(index)]
        split_of[subject] = max(missing, key=lambda name: missing[name])
        missing[split_of[subject]] -= frames[subject]
    return split_of

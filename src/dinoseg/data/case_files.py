"""`CaseFiles`: one case as files; what every layout is turned into."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.formats.decoding import SUFFIXES

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        id: unique in its data set; the name of the image without its extension wherever possible.
        image: the image file.
        label: the mask file, or None where there is none (prediction).
        group: patient or video; equals `id` where nothing is known.
        split: "train", "val" or "test" as the layout says, or None.
    """

    id: str
    image: Path
    label: Path | None
    group: str
    split: str | None


def stem_of(path: Path) -> str:
    """The name without its image extension; composed characters, so that names from macOS match."""
    name = unicodedata.normalize("NFC", path.name)
    return Path(name).stem if path.suffix.lower() in SUFFIXES else name


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part)


def shorten(items: Iterable[str], *, limit: int = 3) -> str:
    """The first few items and how many more there are: "a; b; c; and 12 more"."""
    listed = list(items)
    more = [f"and {len(listed) - limit} more"] if len(listed) > limit else []
    return "; ".join([*listed[:limit], *more])

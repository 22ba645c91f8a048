"""`CaseFiles`: one case as files; what every layout is turned into."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dinoseg.data.images.decoding import SUFFIXES
from dinoseg.data.volumes.files import volume_stem, volume_suffix
from dinoseg.data.volumes.linked import LinkedVolume

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
        image: the image file; a volume counts as one case.
        label: the mask file, or None where there is none (prediction). HDF5 holds image and label in
            one file, which is then both.
        group: patient or video; equals `id` where nothing is known.
        split: "train", "val" or "test" as the layout says, or None.
        channels: all files of an image whose channels lie in one file each (`image` is the first), else ().
        channel_indices: which volumes of a 4D file are the channels, else ().
        label_parts: all masks of an image that has several which become one (`label` is the first), else ().
        series: the DICOM series that `image` (its folder) stands for, with a SEG or RTSTRUCT as label; else
            None.
    """

    id: str
    image: Path
    label: Path | None
    group: str
    split: str | None
    channels: tuple[Path, ...] = ()
    channel_indices: tuple[int, ...] = ()
    label_parts: tuple[Path, ...] = ()
    series: LinkedVolume | None = None

    @property
    def is_volume(self) -> bool:
        """Whether the image is a volume: a DICOM series, or by its extension."""
        return self.series is not None or bool(volume_suffix(self.image))

    @property
    def images(self) -> tuple[Path, ...]:
        """Every file of the image."""
        return self.series.files if self.series else self.channels or (self.image,)

    @property
    def labels(self) -> tuple[Path, ...]:
        """Every file of the label; none where there is no label."""
        return self.label_parts or ((self.label,) if self.label else ())

    @property
    def channel_count(self) -> int:
        """Channels of the image where it is a volume."""
        return 1 if self.series else max(len(self.images), len(self.channel_indices))


def stem_of(path: Path) -> str:
    """The name without the extension of an image or volume; composed characters, as macOS has others."""
    name = unicodedata.normalize("NFC", path.name)
    if path.suffix.lower() in SUFFIXES:
        return Path(name).stem
    return volume_stem(Path(name)).removesuffix(".npy")  # Synapse is handed around as case0001.npy.h5


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part)


def shorten(items: Iterable[str], *, limit: int = 3) -> str:
    """The first few items and how many more there are: "a; b; c; and 12 more"."""
    listed = list(items)
    more = [f"and {len(listed) - limit} more"] if len(listed) > limit else []
    return "; ".join([*listed[:limit], *more])

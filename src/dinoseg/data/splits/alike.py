"""Images that a backbone sees as nearly the same: what a hash cannot know, such as a mirrored copy.

Each image is a vector, the mean over the deepest map of the backbone. How near two images must be depends on
the backbone and the data, so the limit is measured: the cosine that nine of ten images have with their own
mirror image. Different images are rarely that near (benchmarks/leakage.py), frames of one video are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIRRORED = 16  # images that the limit is measured on
_SHARE = 10.0  # percent of them that are farther from their mirror image than the limit
_BLOCK = 1024

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class AlikePair:
    """Two cases in different parts, and the cosine of their features."""

    first: str
    second: str
    cosine: float


@dataclass(frozen=True)
class AlikeCases:
    """What was found.

    Attributes:
        limit: cosine from which on two images count as nearly the same.
        pairs: most alike first.
        parts: case id -> split, or group.
    """

    limit: float
    pairs: tuple[AlikePair, ...]
    parts: Mapping[str, str]

    def describe(self, *, most: int = 3) -> str:
        """One line, or "" where there is no pair."""
        if not self.pairs:
            return ""
        named = [
            f"{pair.first} ({self.parts[pair.first]}) and {pair.second} ({self.parts[pair.second]}), "
            f"{pair.cosine:.3f}"
            for pair in self.pairs[:most]
        ]
        more = [f"and {len(self.pairs) - most} more"] if len(self.pairs) > most else []
        pairs = "1 pair looks" if len(self.pairs) == 1 else f"{len(self.pairs)} pairs look"
        return (
            f"{pairs} nearly the same to the backbone (cosine of the features {self.limit:.3f} or more, as "
            f"of images and their mirror images): {'; '.join(named + more)}"
        )


def find_alike(
    vectors: Mapping[str, Vector], parts: Mapping[str, str], mirrored: Sequence[float]
) -> AlikeCases:
    """Pairs of different parts that are as near as an image and its mirror image.

    Args:
        vectors: case id -> (C,), the mean of the features.
        parts: case id -> split, or group; pairs within one part are not reported.
        mirrored: cosines of some images with their own mirror image; without any nothing is alike.
    """
    if not mirrored or len(vectors) < 2:
        return AlikeCases(1.0, (), parts)
    limit = float(np.percentile(mirrored, _SHARE))
    names = list(vectors)
    units = np.stack([to_unit(vectors[name]) for name in names])
    part = np.array([parts[name] for name in names])
    pairs = []
    for start in range(0, len(names), _BLOCK):
        cosines = units[start : start + _BLOCK] @ units.T
        rows, columns = np.nonzero(cosines >= limit)
        for row, column in zip((rows + start).tolist(), columns.tolist(), strict=True):
            if row < column and part[row] != part[column]:
                pairs.append(AlikePair(names[row], names[column], float(cosines[row - start, column])))
    return AlikeCases(limit, tuple(sorted(pairs, key=lambda pair: -pair.cosine)), parts)


def to_unit(vector: Vector) -> Vector:
    """The vector with length 1."""
    unit: Vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit

"""The eight symmetries of the square, under which a model may look at an image; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Symmetry:
    """A way to lay an image: its rows and columns swapped, then mirrored along some axes.

    Attributes:
        name: in words.
        transposed: whether rows and columns are swapped.
        mirrored: the axes that run backwards; -1: left and right, -2: top and bottom.
    """

    name: str
    transposed: bool = False
    mirrored: tuple[int, ...] = ()


#: A model that looks under 1, 2, 4 or 8 of them takes so many from the front.
SYMMETRIES: Sequence[Symmetry] = (
    Symmetry("as it is"),
    Symmetry("mirrored left and right", mirrored=(-1,)),
    Symmetry("mirrored top and bottom", mirrored=(-2,)),
    Symmetry("half turn", mirrored=(-2, -1)),
    Symmetry("transposed", transposed=True),
    Symmetry("quarter turn clockwise", transposed=True, mirrored=(-1,)),
    Symmetry("quarter turn counter-clockwise", transposed=True, mirrored=(-2,)),
    Symmetry("transposed along the other diagonal", transposed=True, mirrored=(-2, -1)),
)


def describe_symmetries(used: int) -> dict[str, Any]:
    """What they are, and that the first so many are used, for JSON: another program can do the same."""
    return {
        "used": used,
        "of": [
            {"name": each.name, "transposed": each.transposed, "mirrored": list(each.mirrored)}
            for each in SYMMETRIES
        ],
        "order": "rows and columns are swapped first, then axes mirrored; of the logits the other way round",
        "mean of": "probabilities",
    }

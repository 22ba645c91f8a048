"""What a batch of slices reads around each of them: which maps of the bank, and how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dinoseg.backbones.neighbours import list_places
from dinoseg.model.network import reach_of, stride_of
from dinoseg.model.settings import ModelSettings
from dinoseg.training.features.items import Items


@dataclass(frozen=True)
class Part:
    """A slice that is read for another one.

    Attributes:
        row: of the batch.
        step: which of the 2r steps around.
        position: of the slice, in its bank.
        weight: beside the other slice, where a step ends between two.
    """

    row: int
    step: int
    position: int
    weight: float


def list_parts(items: Items, positions: Sequence[int], settings: ModelSettings) -> list[Part]:
    """All that is read for some slices of volumes; nothing from beyond the ends of these."""
    parts = []
    for row, position in enumerate(positions):
        stride = stride_of(settings, items.spacing(position))
        for step, place in enumerate(list_places(reach_of(settings), stride)):
            inside = [pair for pair in place if _is_beside(items, position, position + pair[0])]
            parts += [Part(row, step, position + offset, weight) for offset, weight in inside]
    return parts


def _is_beside(items: Items, position: int, other: int) -> bool:
    stacks = items.stacks
    return 0 <= other < len(stacks) and stacks[other] == stacks[position]


def put_together(maps: Tensor, parts: Sequence[Part], *, rows: int, steps: int) -> Tensor:
    """Maps of the slices that were read as those of the steps around; zeros where none was.

    Args:
        maps: (N, C, h, w), one for each part.
        parts: N of them.
        rows: B, slices of the batch.
        steps: 2r.

    Returns:
        (B, 2r, C, h, w).
    """
    places = torch.tensor([part.row * steps + part.step for part in parts], dtype=torch.long)
    weights = torch.tensor([part.weight for part in parts], dtype=maps.dtype).view(-1, 1, 1, 1)
    around = maps.new_zeros(rows * steps, *maps.shape[1:]).index_add_(0, places, maps * weights)
    return around.view(rows, steps, *maps.shape[1:])

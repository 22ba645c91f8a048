"""Which views of a bank an epoch learns from, in which order and which batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dinoseg.processes import ALONE, Processes
from dinoseg.training.features.bank import Batch, Sample, ViewBank


def draw_epoch(
    bank: ViewBank,
    *,
    count: int | None = None,
    min_samples: int = 0,
    foreground_share: float = 0.0,
    seed: int,
    epoch: int,
) -> list[Sample]:
    """The samples of one epoch, in order, each in a random view.

    Args:
        bank: what is drawn from.
        count: so many samples, by as many passes over the images as that takes; the last is cut off.
        min_samples: without `count`: every image once, or as many times as reach so many samples.
        foreground_share: at least so many of the samples show a class: where too few do, those that do
            come more often, and the others in turn.
        seed: of the run.
        epoch: from 0; every epoch has its own order.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    passes = max(1, -(-(min_samples if count is None else count) // len(bank)))
    order = _draw_passes(torch.arange(len(bank)), passes * len(bank), generator)[:count]
    if foreground_share > 0 and 0 < bank.foreground.sum() < foreground_share * len(bank):
        order = _draw_foreground(bank.foreground, len(order), foreground_share, generator)
    views = torch.randint(bank.views, order.shape, generator=generator)
    return [Sample(int(position), int(view)) for position, view in zip(order, views, strict=True)]


def _draw_passes(positions: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of some positions: each in turn in a random order, again and again."""
    passes = -(-count // len(positions))
    turns = [positions[torch.randperm(len(positions), generator=generator)] for _ in range(passes)]
    return torch.cat(turns)[:count] if turns else positions[:0]


def _draw_foreground(shown: Tensor, count: int, share: float, generator: torch.Generator) -> Tensor:
    wanted = math.ceil(share * count)
    with_class = _draw_passes(shown.nonzero().flatten(), wanted, generator)
    without = _draw_passes((~shown).nonzero().flatten(), count - wanted, generator)
    order = torch.cat([with_class, without])
    return order[torch.randperm(count, generator=generator)]


class Batches:
    """Batches of a list of samples; what Lightning iterates over.

    Where several processes share them, each has its part of every batch; of a last one that is too small
    for all, some have a stand-in that counts for nothing.
    """

    def __init__(
        self, bank: ViewBank, samples: Sequence[Sample], batch_size: int, processes: Processes = ALONE
    ) -> None:
        self._bank = bank
        self._processes = processes
        self._chunks = [samples[start : start + batch_size] for start in range(0, len(samples), batch_size)]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Batch]:
        return map(self._take, self._chunks)

    def _take(self, chunk: Sequence[Sample]) -> Batch:
        own = self._processes.share(chunk)
        return replace(self._bank.batch(own or chunk[:1]), whole=len(chunk), counts=bool(own))

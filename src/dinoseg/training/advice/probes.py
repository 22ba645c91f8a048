"""Linear probes on nested parts of the training cases: what the last doubling of the labels brought."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.data.case import IGNORE_ID
from dinoseg.training.advice.cells import Cells, Map, collect_cells, read_map
from dinoseg.training.features.bank import ViewBank

PARTS = 4  # a quarter, a half and all of the cases
FEWEST_UNITS = 2 * PARTS  # cases: of one alone nothing is learned
DRAWS = 3
MOST_TRAINING, MOST_VALIDATION = 600, 100  # images or slices that are read again
BUDGET = 30_000  # cells, of which a probe learns
STEPS, RATE, DECAY = 100, 0.05, 1e-3
SIDE = 128  # px of the masks that are compared


@dataclass(frozen=True)
class Labels:
    """Validation Dice of linear probes on a quarter, a half and all of the training cases.

    Attributes:
        unit: what was halved: "cases", or "groups" where cases of one patient belong together.
        counts: how many of them each probe learned from.
        dice: by draw of the halves, for each count.
    """

    unit: str
    counts: tuple[int, ...]
    dice: tuple[tuple[float, ...], ...]

    @property
    def reached(self) -> float:
        """Dice of the probes on all cases."""
        return sum(row[-1] for row in self.dice) / len(self.dice)

    @property
    def gains(self) -> tuple[float, ...]:
        """What the last doubling brought, by draw."""
        return tuple(round(row[-1] - row[-2], 4) for row in self.dice)

    @property
    def gain(self) -> float:
        """What the last doubling brought, mean of the draws."""
        return sum(self.gains) / len(self.gains)

    @property
    def earlier_gain(self) -> float:
        """What the doubling before it brought, mean of the draws."""
        return sum(row[-2] - row[-3] for row in self.dice) / len(self.dice)

    @property
    def expected_gain(self) -> float | None:
        """What the next doubling would bring, if it is to the last as that was to the one before.

        At most as much as the last one. None where the one before brought nothing: that is no curve yet.
        """
        if self.earlier_gain <= 0:
            return None
        shrinking = self.gain / self.earlier_gain
        return max(0.0, self.gain) * min(1.0, max(0.0, shrinking))


def probe_labels(
    train_bank: ViewBank, val_bank: ViewBank, groups: Sequence[str], *, classes: int, seed: int
) -> Labels | None:
    """Train the probes; None where there are fewer than `FEWEST_UNITS` cases.

    Args:
        train_bank: whose features are there.
        val_bank: likewise.
        groups: of the training cases, in the order of the bank.
        classes: K, without the background.
        seed: of what is drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = spread(len(train_bank), MOST_TRAINING)
    subjects = sorted({train_bank.subject(position) for position in positions})
    unit, units = _find_units([groups[subject] for subject in subjects])
    count = max(units) + 1
    if count < FEWEST_UNITS:
        return None
    cells = collect_cells(train_bank, positions, classes=classes, budget=BUDGET, generator=generator)
    counts = (count // PARTS, count // 2, count)
    members = _draw_nested(counts, generator)  # (P, units)
    of_subject = torch.full((max(subjects) + 1,), -1)
    of_subject[subjects] = torch.tensor(units)
    with torch.enable_grad():
        probes = Probes(cells, members[:, of_subject[cells.owners]].float())
    chosen = set(_choose_validation(val_bank))  # every window of these, where images are seen in windows
    maps = (read_map(val_bank, sample) for sample in val_bank.list_samples() if sample.position in chosen)
    dice = probes.score(maps).view(DRAWS, len(counts))
    return Labels(unit, counts, tuple(tuple(round(value, 4) for value in row) for row in dice.tolist()))


class Probes:
    """Linear probes on the same cells, all trained at once, each on its own part of them.

    Binary cross-entropy with the share of a class in each cell, and a Dice term, over all cells in every
    step: nothing depends on an order.

    Args:
        cells: with features (N, C) and shares (N, K).
        weights: (P, N) of the cells for each probe, 0 or 1.
    """

    def __init__(self, cells: Cells, weights: Tensor) -> None:
        self._mean = cells.features.mean(dim=0)
        self._scale = cells.features.std(dim=0, correction=0).clamp(min=1e-6)
        self._classes = cells.shares.shape[1]
        seen = (cells.features - self._mean) / self._scale
        self._weight = torch.zeros(seen.shape[1], len(weights) * self._classes, requires_grad=True)
        self._bias = torch.zeros(len(weights) * self._classes, requires_grad=True)
        optimizer = torch.optim.AdamW([self._weight, self._bias], lr=RATE, weight_decay=DECAY)
        target = cells.shares[:, None].expand(-1, len(weights), -1)  # (N, P, K)
        shared = weights.T[..., None]  # (N, P, 1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = _judge(self._logits(seen).view(len(seen), -1, self._classes), target, shared)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def _logits(self, seen: Tensor) -> Tensor:
        return seen @ self._weight + self._bias

    @torch.no_grad()
    def score(self, maps: Iterable[Map]) -> Tensor:
        """Mean Dice over cases and classes of each probe, (P,), at about `SIDE` px."""
        found: dict[int, Tensor] = {}
        for seen in maps:
            overlap = self._overlap(seen)
            found[seen.subject] = found.get(seen.subject, torch.zeros_like(overlap)) + overlap
        common, total = torch.stack(list(found.values())).unbind(-1)  # each (cases, P, K)
        return torch.where(total > 0, 2 * common / total.clamp(min=1), 1.0).mean(dim=(0, 2))

    def _overlap(self, seen: Map) -> Tensor:
        """Pixels in common and of both masks, (P, K, 2)."""
        step = max(1, seen.label.shape[-1] // SIDE)
        label = seen.label[::step, ::step]
        channels, *grid = seen.features.shape
        flat = (seen.features.reshape(channels, -1).T - self._mean) / self._scale
        logits = self._logits(flat).T.reshape(1, -1, *grid)  # (1, P·K, h, w)
        logits = F.interpolate(logits, size=tuple(label.shape), mode="bilinear", align_corners=False)[0]
        logits = logits.view(-1, self._classes, *label.shape)  # (P, K, S, S)
        best, ids = logits.max(dim=1)
        mask = torch.where((best > 0) & (label != IGNORE_ID), ids + 1, 0)
        ours = torch.stack([mask == index for index in range(1, self._classes + 1)], dim=1)
        theirs = torch.stack([label == index for index in range(1, self._classes + 1)])
        common = (ours & theirs).sum(dim=(-2, -1))
        return torch.stack([common, ours.sum(dim=(-2, -1)) + theirs.sum(dim=(-2, -1))], dim=-1).float()


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` positions, evenly spread."""
    return list(range(count)) if count <= most else [index * count // most for index in range(most)]


def _judge(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Sum over probes of the mean cross-entropy and the Dice term of each; all (N, P, K) or (N, P, 1)."""
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    count = weights.sum(dim=0)  # (P, 1)
    chance = logits.sigmoid() * weights
    common = (chance * target).sum(dim=0)
    total = (chance + target * weights).sum(dim=0)
    missed = 1 - (2 * common + 1) / (total + 1)
    return ((plain * weights).sum(dim=0) / count.clamp(min=1) + missed).mean(dim=1).sum()


def _find_units(groups: Sequence[str]) -> tuple[str, list[int]]:
    """What is halved, and the number of each case's: groups where they are enough, else cases."""
    names = list(dict.fromkeys(groups))
    if len(names) == len(groups) or len(names) < FEWEST_UNITS:
        return "cases", list(range(len(groups)))
    return "groups", [names.index(name) for name in groups]


def _draw_nested(counts: Sequence[int], generator: torch.Generator) -> Tensor:
    """Which units each probe learns from, (draws · counts, units), bool: a draw's parts hold each other."""
    rows = []
    for _ in range(DRAWS):
        order = torch.randperm(counts[-1], generator=generator)
        for count in counts:
            row = torch.zeros(counts[-1], dtype=torch.bool)
            row[order[:count]] = True
            rows.append(row)
    return torch.stack(rows)


def _choose_validation(bank: ViewBank) -> list[int]:
    """Images evenly spread; of volumes whole ones, as many as fit and one at least."""
    subjects = [bank.subject(position) for position in range(len(bank))]
    if len(set(subjects)) == len(bank):
        return spread(len(bank), MOST_VALIDATION)
    last = subjects[min(3 * MOST_VALIDATION, len(bank)) - 1]
    whole = last if last and len(bank) > 3 * MOST_VALIDATION else last + 1
    return [position for position, subject in enumerate(subjects) if subject < whole]

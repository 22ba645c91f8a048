"""Whether validation Dice still rose when a training ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEWEST = 4  # validations in the last third, for a slope with an error
SURE = 2.0  # standard errors
SMALL = 0.002  # of Dice: less over a third of the epochs is no reason to go on


@dataclass(frozen=True)
class Trend:
    """The straight line through the validation Dice of the last third of the epochs.

    Attributes:
        first: epoch of the first validation of that third, from 1.
        last: epoch of the last one.
        change: of Dice along the line.
        error: standard error of `change`.
        rises: the change is above `SMALL` and above twice its error.
    """

    first: int
    last: int
    change: float
    error: float

    @property
    def rises(self) -> bool:
        """Whether Dice still rose, as far as these epochs can tell."""
        return self.change > max(SMALL, SURE * self.error)


def find_trend(rows: Sequence[Mapping[str, float]]) -> Trend | None:
    """The trend of a table of epochs; None where the last third has fewer than four validations.

    Args:
        rows: `epoch` (from 1) and `val_dice` (NaN where it was not validated) of every epoch.
    """
    if not rows:
        return None
    begin = rows[-1]["epoch"] * 2 / 3
    scored = [
        (row["epoch"], row["val_dice"])
        for row in rows
        if row["epoch"] > begin and not math.isnan(row["val_dice"])
    ]
    if len(scored) < FEWEST:
        return None
    epochs, dice = zip(*scored, strict=True)
    middle, mean = sum(epochs) / len(epochs), sum(dice) / len(dice)
    spread = sum((epoch - middle) ** 2 for epoch in epochs)
    slope = sum((epoch - middle) * (value - mean) for epoch, value in scored) / spread
    rest = sum((value - mean - slope * (epoch - middle)) ** 2 for epoch, value in scored)
    length = epochs[-1] - epochs[0]
    error = math.sqrt(rest / (len(scored) - 2) / spread) * length
    return Trend(int(epochs[0]), int(epochs[-1]), slope * length, error)

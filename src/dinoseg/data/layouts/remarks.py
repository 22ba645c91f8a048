"""`Remark`: what a person handed over and a data set makes no use of; told, never left out without a word."""

from __future__ import annotations

from dataclasses import dataclass

SIZE = "size"
"""The topic of what holds for every score: the images are not as they were taken."""


@dataclass(frozen=True)
class Remark:
    """One line about something that is there and is not used, or is used in a way that may surprise.

    Attributes:
        topic: one word to count and filter by, e.g. "unused", "groups", "orientation".
        message: one line that names it.
        matters: it may well spoil a training, so that training says it too.
    """

    topic: str
    message: str
    matters: bool = False

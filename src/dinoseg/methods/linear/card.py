"""The baseline."""

from __future__ import annotations

from typing import Literal

from dinoseg.config import DecoderSettings, TrainSettings
from dinoseg.methods.card import Card


class LinearSettings(DecoderSettings):
    """The baseline: one 1x1 convolution on the concatenated maps."""

    method: Literal["linear"] = "linear"


CARD = Card(
    name="linear",
    title="baseline: one 1x1 convolution",
    source="ours",
    settings=LinearSettings,
    recipe=TrainSettings(loss="cross_entropy", schedule="constant"),
    decoder="dinoseg.methods.linear.decoder:Linear",
)

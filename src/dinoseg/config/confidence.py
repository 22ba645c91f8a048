"""How a model's confidence was calibrated: numbers only, kept in its config.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from dinoseg.config.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]

FEWEST = 20
"""Validation cases for a calibration; of fewer a curve would be noise."""


class FeatureSettings(Settings):
    """Pooled backbone features of some training cases, which an input is compared with."""

    cases: tuple[Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")], ...] = Field(
        min_length=1, description="one each: a signed byte per channel of the last level, in hex"
    )
    limit: float = Field(
        gt=0, description="99th percentile over validation cases of 1 - cosine to the nearest"
    )

    @model_validator(mode="after")
    def _require_equal_lengths(self) -> FeatureSettings:
        if len({len(row) for row in self.cases}) > 1:
            raise ValueError("the cases have different numbers of channels")
        return self


class ConfidenceSettings(Settings):
    """From class probabilities to what they are worth, fitted on validation cases."""

    cases: int = Field(ge=FEWEST, description="that it was fitted on")
    temperature: float = Field(gt=0, description="log-probabilities are divided by it")
    soft_dice: tuple[Share, ...] = Field(description="of a class that was predicted, ascending")
    dice: tuple[Share, ...] = Field(description="that is expected at each; in between on a line")
    miss: tuple[float, float] = Field(
        description="(slope, intercept): log-odds of a miss over the soft Dice of a class"
    )
    empty_dice: Share = Field(description="expected where nothing of a class was predicted")
    empty_miss: Share = Field(description="probability of a miss there")
    features: FeatureSettings | None = Field(None, description="how an unlike input is known")

    @model_validator(mode="after")
    def _require_curve(self) -> ConfidenceSettings:
        rising = all(one < two for one, two in zip(self.soft_dice, self.soft_dice[1:], strict=False))
        if len(self.soft_dice) != len(self.dice) or not rising:
            raise ValueError("soft_dice and dice are one curve: as many of both, soft_dice ascending")
        return self

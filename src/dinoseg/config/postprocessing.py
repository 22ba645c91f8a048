"""What is done to masks after prediction; chosen on validation and stored with the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from dinoseg.config.settings import Settings

Dimensions = Literal[2, 3]
_UNITS = {("mm", 2): "mm²", ("mm", 3): "mm³", ("px", 2): "px", ("px", 3): "voxels"}


class ClassPostprocessing(Settings):
    """The steps for one class, in this order."""

    minimum_size: float = Field(0.0, ge=0, description="smaller components become background")
    largest_component: bool = Field(False, description="all components but the largest become background")
    fill_holes: bool = Field(False, description="enclosed background becomes the class")

    @property
    def steps(self) -> int:
        """How many of them do anything."""
        return (self.minimum_size > 0) + self.largest_component + self.fill_holes


class PostprocessingSettings(Settings):
    """The steps of every class, and what sizes are counted in."""

    dimensions: Dimensions = Field(description="2 for images, 3 for volumes; never used for the others")
    unit: Literal["mm", "px"] = Field(description="mm: sizes are areas in mm² or volumes in mm³; px: counts")
    classes: dict[int, ClassPostprocessing] = Field(description="class id -> its steps")

    @property
    def size_unit(self) -> str:
        """What `minimum_size` is in: mm², mm³, px or voxels."""
        return _UNITS[self.unit, self.dimensions]

    def describe(self, names: Mapping[int, str]) -> str:
        """The steps in words: "liver: largest component, holes filled; tumour: at least 30 mm³"."""
        listed = ((names.get(class_id, str(class_id)), step) for class_id, step in self.classes.items())
        parts = [f"{name}: {describe_steps(step, self.size_unit)}" for name, step in listed if step.steps]
        return "; ".join(parts) or "none"


def describe_steps(step: ClassPostprocessing, unit: str) -> str:
    """The steps of one class in words, or "nothing"."""
    parts = []
    if step.minimum_size > 0:
        parts.append(f"at least {step.minimum_size:g} {unit}")
    if step.largest_component:
        parts.append("largest component")
    if step.fill_holes:
        parts.append("holes filled")
    return ", ".join(parts) or "nothing"

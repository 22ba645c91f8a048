"""What the routes of teaching take and answer, as types."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dinoseg.config.training import DEFAULT_METHOD
from dinoseg.serving.answers import ClassAnswer

COLOUR = "^#[0-9a-fA-F]{6}$"


class PaintClass(BaseModel):
    """A class that can be painted; the background, 0, is always there."""

    id: int = Field(ge=1, le=32)
    name: str = Field(min_length=1, max_length=60)
    colour: str = Field(pattern=COLOUR, examples=["#e69f00"])


class ImageAnswer(BaseModel):
    """An image or volume of the project."""

    id: str
    name: str
    width: int
    height: int
    slices: int = Field(description="1 for an image")
    state: Literal["new", "stroked", "accepted"]
    strokes: int
    accepted: int = Field(description="slices with a label")
    features: Literal["no", "yes"]
    uncertainty: float | None = Field(description="0 to 1, of the least sure slice")
    round: int = Field(description="of its newest prediction; 0: there is none")
    problem: str | None = Field(description="why it cannot be used")


class FeaturesAnswer(BaseModel):
    """How far the features are."""

    done: int
    total: int
    eta_s: float | None


class EstimateAnswer(BaseModel):
    """How good the model probably is."""

    dice: float
    low: float
    high: float
    images: int
    advice: str


class ProjectAnswer(BaseModel):
    """The project as it is now."""

    name: str
    folder: str
    classes: list[ClassAnswer]
    images: list[ImageAnswer]
    features: FeaturesAnswer
    round: int
    estimate: EstimateAnswer | None
    seconds: float | None = Field(description="that the last round took")
    next: str | None = Field(description="image to label next")
    next_slice: int | None
    backbone: str


class ProjectEvent(BaseModel):
    """The project as it is now, with the images that changed since the event before."""

    type: Literal["project"] = "project"
    project: ProjectAnswer


class MetaAnswer(BaseModel):
    """How the values of an image are to be shown."""

    range: list[float] = Field(description="smallest and largest value, in stored units")
    window: list[float] = Field(
        description="what is shown as black and white where nothing else is asked for"
    )
    spacing: list[float] | None = Field(description="mm: [rows, columns, slices] of a volume")


class StrokeRequest(BaseModel):
    """A movement of a tool."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")

    client: str = Field(min_length=1, max_length=60, description="unique; the same again is the same stroke")
    slice: int = Field(0, ge=0, le=1_000_000)
    class_id: int = Field(alias="class", ge=0, le=32, description="0 is the background")
    tool: Literal["brush", "eraser", "polygon", "fill"]
    radius: float | None = Field(None, gt=0, le=2000, description="px, of brush and eraser")
    points: list[tuple[float, float]] = Field(
        default_factory=list, max_length=20_000, description="[x, y] in px; centres of pixels are at .5"
    )
    runs: list[tuple[int, int, int]] = Field(
        default_factory=list, max_length=200_000, description="of a fill: [y, x0, x1)"
    )


class StrokeAnswer(BaseModel):
    """A stroke that is on disk."""

    stroke: int
    round: int = Field(description="the newest; the stroke is part of a later one")


class StrokesAnswer(BaseModel):
    """How many strokes an image has."""

    strokes: int


class AcceptRequest(BaseModel):
    """What of an image is accepted."""

    model_config = ConfigDict(extra="forbid")

    slice: int | None = Field(None, ge=0, le=1_000_000, description="of a volume; null: all slices")


class ExportRequest(BaseModel):
    """A data set to be written."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["folder", "nnunet"] = "folder"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["first"])


class TrainRequest(BaseModel):
    """A training of a method on what is accepted."""

    model_config = ConfigDict(extra="forbid")

    method: str = Field(DEFAULT_METHOD, max_length=60)
    preset: Literal["default", "paper"] = "default"
    epochs: int | None = Field(None, ge=1, le=100_000)

"""What the server answers, as types: they are checked, and the OpenAPI document is made of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobKind = Literal["predict", "train", "export", "features"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})


class Problem(BaseModel):
    """Why something was refused."""

    detail: str = Field(
        description="one line: what was given, what is accepted, and what fixes it",
        examples=["the model 'liver' is unknown; models of this server: kvasir"],
    )


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Requests can be served."""

    ready: bool
    models: list[str]


class Limits(BaseModel):
    """How much a request may bring."""

    upload_bytes: int = Field(description="of a whole request")
    pixels: int = Field(description="of an image")
    voxels: int = Field(description="of a volume, all channels together")


class Info(BaseModel):
    """What this server is."""

    version: str
    models: list[str]
    teaching: bool
    limits: Limits


class ClassAnswer(BaseModel):
    """A class of a model; background, which is 0, is not listed."""

    id: int = Field(description="pixel value in masks")
    name: str
    colour: str = Field(pattern="^#[0-9a-f]{6}$", examples=["#00beff"])


class ModelAnswer(BaseModel):
    """A model that is loaded."""

    name: str
    method: str
    backbone: str
    classes: list[ClassAnswer]
    channels: int = Field(description="of a volume; 1 for images")
    size: list[int] = Field(description="[height, width] in px that images are resized to")
    context: int = Field(description="slices on either side that are read beside each; 0 for images")
    volumes: bool = Field(description="whether it takes volumes; else images")
    licence: str | None = Field(description="of the backbone's weights")


class ClassMeasure(ClassAnswer):
    """How much of an image or volume a class takes."""

    pixels: int = Field(description="pixels of an image, voxels of a volume")
    area_mm2: float | None = Field(None, description="of an image whose pixel size is known")
    volume_ml: float | None = Field(None, description="of a volume whose voxel size is known")
    share: float = Field(description="of all pixels, 0 to 1")


class PredictionAnswer(BaseModel):
    """What a model says about one image or volume."""

    kind: Literal["image", "volume"]
    name: str = Field(description="of the file that was sent")
    model: str
    width: int
    height: int
    slices: int = Field(description="1 for an image")
    spacing: list[float] | None = Field(description="mm: [slices, height, width] of a voxel")
    classes: list[ClassMeasure]
    confidence: dict[str, Any] | None = Field(description="expected Dice and more, as in predictions.json")
    outputs: list[str] = Field(description="names below /api/v1/jobs/ID/outputs/")
    warnings: list[str]


class ProgressAnswer(BaseModel):
    """How far a job is."""

    done: int
    total: int
    eta_s: float | None = Field(description="seconds that are left, as far as they can be told")


class JobAnswer(BaseModel):
    """A job: queued, running, or how it ended."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: JobKind
    state: JobState
    progress: ProgressAnswer | None = None
    message: str | None = None
    result: PredictionAnswer | dict[str, Any] | None = None
    error: str | None = None


class JobCreated(BaseModel):
    """A job was accepted; its state is at /api/v1/jobs/ID."""

    id: str

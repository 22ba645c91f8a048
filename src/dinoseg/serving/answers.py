"""What the server answers, as types: they are checked, and the OpenAPI document is made of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobKind = Literal["predict", "train", "export", "features"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})

_CLASS: dict[str, Any] = {"id": 1, "name": "polyp", "colour": "#00beff"}
_INFO: dict[str, Any] = {
    "version": "0.1.0",
    "models": ["kvasir"],
    "teaching": False,
    "methods": [{"name": "linear", "title": "baseline: one 1x1 convolution"}],
    "limits": {"upload_bytes": 1073741824, "pixels": 50000000, "voxels": 500000000},
}
_MODEL: dict[str, Any] = {
    "name": "kvasir",
    "method": "segdino-v2",
    "backbone": "dinov3_vits16",
    "classes": [_CLASS],
    "channels": 1,
    "size": [256, 256],
    "context": 0,
    "volumes": False,
    "licence": "dinov3-license",
}
_JOB: dict[str, Any] = {
    "id": "0123456789abcdef01234567",
    "kind": "predict",
    "state": "done",
    "progress": {"done": 1, "total": 1, "eta_s": 0.0},
    "message": None,
    "result": {
        "kind": "image",
        "name": "frame.jpg",
        "model": "kvasir",
        "width": 640,
        "height": 480,
        "slices": 1,
        "spacing": None,
        "classes": [{**_CLASS, "pixels": 30720, "area_mm2": None, "volume_ml": None, "share": 0.1}],
        "confidence": None,
        "outputs": ["mask.png", "overlay.png", "measures.json"],
        "warnings": [],
    },
    "error": None,
}


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


class MethodAnswer(BaseModel):
    """A method that can be trained."""

    name: str
    title: str


class Info(BaseModel):
    """What this server is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_INFO]})

    version: str
    models: list[str]
    teaching: bool
    methods: list[MethodAnswer] = Field(description="that a teaching project can be trained with")
    limits: Limits


class ClassAnswer(BaseModel):
    """A class of a model; background, which is 0, is not listed."""

    id: int = Field(description="pixel value in masks")
    name: str
    colour: str = Field(pattern="^#[0-9a-f]{6}$", examples=["#00beff"])


class ModelAnswer(BaseModel):
    """A model that is loaded."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MODEL]})

    name: str
    method: str
    backbone: str
    classes: list[ClassAnswer]
    channels: int = Field(description="of a volume; 1 for images")
    size: list[int] = Field(description="[height, width] in px that images are resized to")
    context: int = Field(description="slices on either side that are read beside each; 0 for images")
    volumes: bool = Field(description="whether it takes volumes; else images")
    licence: str | None = Field(None, description="of the backbone's weights")


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
    spacing: list[float] | None = Field(None, description="mm: [slices, height, width] of a voxel")
    classes: list[ClassMeasure]
    confidence: dict[str, Any] | None = Field(
        None, description="expected Dice and more, as in predictions.json"
    )
    outputs: list[str] = Field(description="names below /api/v1/jobs/ID/outputs/")
    warnings: list[str]


class ProgressAnswer(BaseModel):
    """How far a job is."""

    done: int
    total: int
    eta_s: float | None = Field(None, description="seconds that are left, as far as they can be told")


class JobAnswer(BaseModel):
    """A job: queued, running, or how it ended."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_JOB]})

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

"""A machine learning backend of Label Studio: it names this server, and gets brush labels for its tasks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from xml.etree import ElementTree

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from dinoseg.config import Inference
from dinoseg.data.sources.source import open_case
from dinoseg.errors import DinosegError
from dinoseg.inference.predictor import predict_cases
from dinoseg.inference.results.prediction import Prediction
from dinoseg.outputs import digest_json
from dinoseg.serving.answers import Health
from dinoseg.serving.brushes import encode_brush
from dinoseg.serving.job_routes import wait_for
from dinoseg.serving.jobs import Job, Reporter, hide_folder
from dinoseg.serving.models import Served
from dinoseg.serving.refusals import Refusal, list_refusals
from dinoseg.serving.scratch import remove_folder
from dinoseg.serving.service import Service, TheService
from dinoseg.serving.task_images import take_image
from dinoseg.serving.uploads import Upload, accept_source

router = APIRouter(tags=["Label Studio"])

ModelName = Annotated[str, InPath(description="name of the model, where the server has several")]
_MOST_TASKS = 1000
_REFUSED = list_refusals(404, 408, 413, 422, 429, 500, 503)


class Setup(BaseModel):
    """What Label Studio says of a project; what else it says is not used."""

    model_config = ConfigDict(extra="ignore")

    label_config: str = Field("", alias="schema", description="the labeling interface, XML")


class SetupAnswer(BaseModel):
    """Label Studio asks again for predictions where this changes."""

    model_version: str


class Task(BaseModel):
    """A task: what the labeling interface names by `$image`."""

    model_config = ConfigDict(extra="ignore")

    data: dict[str, Any]


class TasksToPredict(BaseModel):
    """Tasks of a project, and its labeling interface."""

    model_config = ConfigDict(extra="ignore")

    tasks: list[Task] = Field(max_length=_MOST_TASKS)
    label_config: str = ""


class TaskAnswer(BaseModel):
    """The brush labels of a task; none where its image could not be used, and why."""

    result: list[dict[str, Any]]
    score: float | None = Field(None, description="expected Dice")
    model_version: str
    error: str | None = None


class TasksAnswer(BaseModel):
    """An answer for each task, in order."""

    results: list[TaskAnswer]
    model_version: str


@dataclass(frozen=True)
class Brush:
    """The brush of a labeling interface.

    Attributes:
        name: of the tag that paints.
        image: of the tag that shows the image.
        key: of the image in the data of a task.
        labels: class id -> label as the interface spells it; classes without one are left out.
    """

    name: str
    image: str
    key: str
    labels: Mapping[int, str]


def read_brush(config: str, classes: Mapping[int, str]) -> Brush:
    """Find the brush in a labeling interface, and which label is which class, by name.

    Raises:
        Refusal: 422 where there is none, or no label is called like a class.
    """
    root = _parse(config)
    brush = next(root.iter("BrushLabels"), None)
    image = next((each for each in root.iter("Image") if brush is None or _shows(brush, each)), None)
    if brush is None or image is None:
        raise Refusal(
            422, "the labeling interface has no <BrushLabels> for an <Image>; masks are brush labels"
        )
    known = {str(label.get("value")).casefold(): str(label.get("value")) for label in brush.iter("Label")}
    labels = {index: known[name.casefold()] for index, name in classes.items() if name.casefold() in known}
    if not labels:
        wanted = ", ".join(name for index, name in classes.items() if index)
        raise Refusal(422, f"no label is called like a class of the model; name labels {wanted}")
    return Brush(
        str(brush.get("name")), str(image.get("name")), str(image.get("value", "")).lstrip("$"), labels
    )


def _shows(brush: ElementTree.Element, image: ElementTree.Element) -> bool:
    return brush.get("toName") == image.get("name")


def _parse(config: str) -> ElementTree.Element:
    if "<!" in config.replace("<!--", ""):
        raise Refusal(422, "the labeling interface declares a document type or entities; leave them out")
    try:
        return ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:
        raise Refusal(422, f"the labeling interface is no XML: {error}") from error


@router.get("/label-studio/{model}/health", responses=list_refusals(422))
def check_model(model: ModelName, service: TheService) -> Health:
    """Whether the model is there."""
    service.models.find(model)
    return Health()


@router.post("/setup", responses=_REFUSED)
def set_up(body: Setup, service: TheService) -> SetupAnswer:
    """Connect a project to the only model of this server."""
    return _set_up(body, service.models.find(None))


@router.post("/label-studio/{model}/setup", responses=_REFUSED)
def set_up_model(model: ModelName, body: Setup, service: TheService) -> SetupAnswer:
    """Connect a project to a model."""
    return _set_up(body, service.models.find(model))


def _set_up(body: Setup, served: Served) -> SetupAnswer:
    _refuse_volumes(served)
    if body.label_config:
        read_brush(body.label_config, served.network.settings.classes)
    return SetupAnswer(model_version=name_version(served))


def name_version(served: Served) -> str:
    """A name that changes with the weights."""
    return f"{served.name}-{digest_json(dict(served.network.describe()))[:8]}"


def _refuse_volumes(served: Served) -> None:
    if served.network.settings.preprocessing.for_volumes:
        raise Refusal(422, f"{served.name} was trained on volumes, and Label Studio shows images")


@router.post("/predict", responses=_REFUSED)
async def predict_tasks(body: TasksToPredict, service: TheService) -> TasksAnswer:
    """Segment the images of tasks with the only model of this server."""
    return await _predict(body, service, service.models.find(None))


@router.post("/label-studio/{model}/predict", responses=_REFUSED)
async def predict_tasks_by(model: ModelName, body: TasksToPredict, service: TheService) -> TasksAnswer:
    """Segment the images of tasks with a model."""
    return await _predict(body, service, service.models.find(model))


async def _predict(body: TasksToPredict, service: Service, served: Served) -> TasksAnswer:
    service.jobs.refuse_full()
    _refuse_volumes(served)
    brush = read_brush(body.label_config, served.network.settings.classes)
    job = await run_in_threadpool(_begin, service, served, brush, body.tasks)
    try:
        if not await wait_for(job, service.options.job_seconds):
            raise Refusal(503, "others were before these tasks for too long; try again", retry_after=60)
        return _answer(job, name_version(served))
    finally:
        service.jobs.cancel(job.id)


def _begin(service: Service, served: Served, brush: Brush, tasks: Sequence[Task]) -> Job:
    folder = service.scratch.make()
    try:
        uploads = [
            _take(service, served, task, brush, folder / str(index)) for index, task in enumerate(tasks)
        ]
        work = partial(_segment, served, brush, uploads, service.options.studies)
        return service.jobs.submit("predict", work, folder=folder)
    except BaseException:
        remove_folder(folder)
        raise


def _take(service: Service, served: Served, task: Task, brush: Brush, folder: Path) -> Upload | str:
    """The image of a task, or why there is none."""
    address = task.data.get(brush.key)
    try:
        if not isinstance(address, str):
            raise Refusal(422, f"the task has no {brush.key[:40]!r}, which the labeling interface shows")
        path, name = take_image(address, folder, service.options)
        return accept_source(path, name, network=served.network, how=Inference(), options=service.options)
    except Refusal as refusal:
        return str(refusal.detail)


def _segment(
    served: Served, brush: Brush, uploads: Sequence[Upload | str], studies: Path | None, reporter: Reporter
) -> Mapping[str, Any]:
    version, answers = name_version(served), []
    for done, upload in enumerate(uploads):
        reporter.report(done, len(uploads))
        if isinstance(upload, str):
            answers.append(TaskAnswer(result=[], model_version=version, error=upload))
            continue
        try:
            (found,) = predict_cases(served.network, [open_case(upload.source)])
            answers.append(describe_task(found, brush, version))
        except DinosegError as error:
            told = hide_folder(hide_folder(str(error), upload.source.parent), studies)
            answers.append(TaskAnswer(result=[], model_version=version, error=told))
    return {"results": [answer.model_dump() for answer in answers]}


def describe_task(found: Prediction, brush: Brush, version: str) -> TaskAnswer:
    """A prediction as Label Studio shows it: a brush label for each class that occurs."""
    height, width = found.mask.shape
    regions = [
        {
            "id": secrets.token_hex(5),
            "type": "brushlabels",
            "from_name": brush.name,
            "to_name": brush.image,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "format": "rle",
                "rle": encode_brush(found.mask == index),
                "brushlabels": [label],
            },
        }
        for index, label in brush.labels.items()
        if index and (found.mask == index).any()
    ]
    score = None if found.confidence is None else found.confidence.expected_dice
    return TaskAnswer(result=regions, score=score, model_version=version)


def _answer(job: Job, version: str) -> TasksAnswer:
    if job.answer.state != "done":
        raise Refusal(422, job.answer.error or f"the job was {job.answer.state}")
    result: Any = job.answer.result
    answers = [TaskAnswer(**each) for each in result["results"]]
    errors = [answer.error for answer in answers if answer.error]
    if errors and len(errors) == len(answers):
        raise Refusal(422, errors[0])
    return TasksAnswer(results=answers, model_version=version)

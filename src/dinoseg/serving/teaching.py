"""Routes of teaching: the project, its pictures, strokes and predictions, and what comes of them."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.errors import RunError, UsageError
from dinoseg.model.opening import load
from dinoseg.serving.answers import JobCreated
from dinoseg.serving.jobs import Reporter, Result
from dinoseg.serving.refusals import Refusal, list_refusals
from dinoseg.serving.service import Service, TheService
from dinoseg.serving.teach_answers import (
    AcceptRequest,
    ExportRequest,
    MetaAnswer,
    PaintClass,
    ProjectAnswer,
    ProjectEvent,
    StrokeAnswer,
    StrokeRequest,
    StrokesAnswer,
    TrainRequest,
)
from dinoseg.teaching.classes import ClassInUseError
from dinoseg.teaching.exporting import export
from dinoseg.teaching.full_training import TrainingPlan, train_fully
from dinoseg.teaching.project import Project
from dinoseg.teaching.records import ClassName
from dinoseg.teaching.strokes import Stroke
from dinoseg.teaching.subjects import Subject

_PAUSE = 0.2  # seconds between two events at least
_LOOK = 1.0  # seconds after which a listener that went away is noticed
_PICTURE: dict[str, Any] = {
    "description": "an 8-bit PNG",
    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
}
_PNG: dict[int | str, dict[str, Any]] = {**list_refusals(404, 422), 200: _PICTURE}

router = APIRouter(prefix="/api/v1/teach", tags=["teach"])


def find_project(service: TheService) -> Project:
    """The project of this server."""
    if service.teaching is None:
        raise Refusal(404, "this server teaches nothing; start dinoseg teach FOLDER")
    return service.teaching


TheProject = Annotated[Project, Depends(find_project)]
ImageId = Annotated[str, InPath(pattern="^[0-9a-f]{12}$", examples=["0123456789ab"])]
SliceIndex = Annotated[int, Query(alias="slice", ge=0, le=1_000_000)]


def find_subject(id: ImageId, project: TheProject) -> Subject:
    """The image of a path."""
    try:
        return project.find(id)
    except UsageError as error:
        raise Refusal(404, str(error)) from error


TheImage = Annotated[Subject, Depends(find_subject)]


@router.get("/project", responses=list_refusals(404))
def tell_project(project: TheProject) -> ProjectAnswer:
    """The project with all images."""
    return describe(project)


@router.put("/classes", responses={**list_refusals(404, 422), 409: {"description": "a class is in use"}})
def change_classes(classes: list[PaintClass], project: TheProject) -> ProjectAnswer:
    """Name, colour, add or take away classes; those that were painted stay."""
    wanted = [ClassName(each.id, each.name, each.colour.lower()) for each in classes]
    try:
        project.set_classes(wanted)
    except ClassInUseError as error:
        raise Refusal(409, str(error)) from error
    except UsageError as error:
        raise Refusal(422, str(error)) from error
    return describe(project)


@router.get("/images/{id}/meta", responses=list_refusals(404, 422))
def tell_meta(image: TheImage, project: TheProject) -> MetaAnswer:
    """Range and window of the values of an image, and the size of a voxel."""
    reader = project.reader
    spacing = reader.spacing(image)
    return MetaAnswer(
        range=[*reader.range(image)],
        window=[*reader.window(image)],
        spacing=None if spacing is None else [*spacing],
    )


@router.get("/images/{id}/picture", responses=_PNG, response_class=Response)
def give_picture(
    image: TheImage,
    project: TheProject,
    index: SliceIndex = 0,
    low: Annotated[float | None, Query(description="value shown as black, in stored units")] = None,
    high: Annotated[float | None, Query(description="value shown as white")] = None,
) -> Response:
    """A slice as it is shown, at its own size."""
    project.show(image.id, index)
    first, last = project.reader.window(image)
    first, last = first if low is None else low, last if high is None else high
    if not first < last:
        raise Refusal(422, f"the window {first:g} to {last:g} is empty; low is below high")
    values = project.reader.stored(image, index)
    shown = np.clip((values - first) * np.float32(255 / (last - first)), 0, 255)
    levels = np.rint(shown).astype(np.uint8)
    return send_png(levels[0] if len(levels) != 3 else levels.transpose(1, 2, 0))


@router.get("/images/{id}/labels", responses=_PNG, response_class=Response)
def give_labels(image: TheImage, project: TheProject, index: SliceIndex = 0) -> Response:
    """What is painted on a slice: class ids, 255 where there is no paint."""
    return send_png(project.canvas(image.id, index))


@router.get("/images/{id}/prediction", responses=_PNG, response_class=Response)
def give_prediction(image: TheImage, project: TheProject, index: SliceIndex = 0) -> Response:
    """Class ids of a slice: its label where it was accepted, else what the model says."""
    number = project.round  # before: a newer one may come meanwhile
    found = project.prediction(image.id, index)
    if found is None:
        raise Refusal(
            404, "there is no prediction yet; paint an object and background, and wait for the features"
        )
    return send_png(found, {"X-Round": str(number)})


@router.post("/images/{id}/strokes", status_code=201, responses=list_refusals(404, 422, 500))
def add_stroke(stroke: StrokeRequest, image: TheImage, project: TheProject) -> StrokeAnswer:
    """Keep a stroke; it is on disk when this answers, and learned soon after."""
    drawn = Stroke(
        tool=stroke.tool,
        class_id=stroke.class_id,
        slice=stroke.slice,
        radius=stroke.radius or 0.0,
        points=tuple(stroke.points),
        runs=tuple(stroke.runs),
    )
    return StrokeAnswer(stroke=project.add_stroke(image.id, stroke.client, drawn), round=project.round)


@router.post("/images/{id}/undo", responses=list_refusals(404, 422))
def undo(image: TheImage, project: TheProject) -> StrokesAnswer:
    """Take back the last stroke of an image."""
    return StrokesAnswer(strokes=project.undo(image.id))


@router.post("/images/{id}/redo", responses=list_refusals(404, 422))
def redo(image: TheImage, project: TheProject) -> StrokesAnswer:
    """Bring back the stroke that was undone last."""
    return StrokesAnswer(strokes=project.redo(image.id))


@router.post("/images/{id}/accept", responses=list_refusals(404, 422))
def accept(wanted: AcceptRequest, image: TheImage, project: TheProject) -> ProjectAnswer:
    """Take the prediction with the paint on top of it as the label of a slice, or of all."""
    project.accept(image.id, wanted.slice)
    return describe(project, only=image)


@router.post("/images/{id}/reopen", responses=list_refusals(404, 422))
def reopen(image: TheImage, project: TheProject) -> ProjectAnswer:
    """Take back what was accepted of an image; its strokes stay."""
    project.reopen(image.id)
    return describe(project, only=image)


@router.get("/events", response_class=EventSourceResponse, responses=list_refusals(404))
async def follow_project(
    request: Request, project: TheProject, service: TheService
) -> AsyncIterator[ProjectEvent]:
    """The project now and whenever it changes, as server-sent events."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    seen: int | None = None
    with project.changes.watched(lambda: loop.call_soon_threadsafe(changed.set)):
        while not (service.jobs.closing.is_set() or await request.is_disconnected()):
            changed.clear()
            version = project.changes.version
            if version != seen:
                yield ProjectEvent(project=await run_in_threadpool(describe, project, since=seen))
                seen = version
                await asyncio.sleep(_PAUSE)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK)


@router.post("/export", status_code=202, responses=list_refusals(404, 422, 429, 503))
def begin_export(wanted: ExportRequest, project: TheProject, service: TheService) -> JobCreated:
    """Write what is accepted as a data set that `dinoseg train` takes."""

    def work(reporter: Reporter) -> Result:
        written = export(project, wanted.name, layout=wanted.format, report=reporter.report)
        return {**asdict(written), "folder": str(written.folder), "name": wanted.name}

    return JobCreated(id=service.jobs.submit("export", work).id)


_ZIP: dict[str, Any] = {
    "description": "a zip of the data set",
    "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
}


@router.get(
    "/exports/{id}.zip", responses={**list_refusals(404, 422), 200: _ZIP}, response_class=FileResponse
)
def give_export(id: Annotated[str, InPath(pattern="^[0-9a-f]{24}$")], service: TheService) -> FileResponse:
    """The data set of an export as a zip."""
    job = service.jobs.find(id)
    result = job.answer.result
    if job.answer.kind != "export" or job.answer.state != "done" or not isinstance(result, dict):
        raise Refusal(404, "there is no export of this id that is done")
    if job.folder is None:
        job.folder = service.scratch.make()
    path = job.folder / f"{result['name']}.zip"
    if not path.is_file():
        shutil.make_archive(str(path.with_suffix("")), "zip", result["folder"])
    return FileResponse(path, media_type="application/zip", filename=path.name)


@router.post("/train", status_code=202, responses=list_refusals(404, 422, 503))
def begin_training(wanted: TrainRequest, project: TheProject, service: TheService) -> JobCreated:
    """Train a method on what is accepted, in a process of its own, and serve the model when it is done."""
    plan = TrainingPlan(wanted.method, wanted.preset, wanted.epochs)

    def work(reporter: Reporter) -> Result:
        try:
            run = train_fully(project, plan, report=reporter.report, is_cancelled=lambda: reporter.cancelled)
        except RunError:
            reporter.check()  # a training that was cancelled has not failed
            raise
        reporter.check()
        return serve_run(service, run)

    return JobCreated(id=service.jobs.submit("train", work, beside=True).id)


def serve_run(service: Service, run: Path) -> Result:
    """Load the model of a run and serve it with the others."""
    served = service.models.add(run.name, load(run))
    return {"run": str(run), "model": served.name}


def describe(project: Project, *, since: int | None = None, only: Subject | None = None) -> ProjectAnswer:
    """The project as it is now, with all images, those that changed, or one."""
    state = project.state(since=since).to_json()
    if only is not None:
        state["images"] = [each for each in state["images"] if each["id"] == only.id]
    return ProjectAnswer.model_validate(state)


def send_png(pixels: NDArray[np.uint8], headers: dict[str, str] | None = None) -> Response:
    """A picture (H, W) or (H, W, 3) as PNG, which nobody keeps."""
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=1)
    return Response(
        buffer.getvalue(), media_type="image/png", headers={"Cache-Control": "no-store", **(headers or {})}
    )

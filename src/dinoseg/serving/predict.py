"""The route of predictions: files in, a job out, or its result where it is quick."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic.json_schema import SkipJsonSchema

from dinoseg.config import Inference
from dinoseg.model.network import refuse_other_size
from dinoseg.serving.answers import JobAnswer, JobCreated
from dinoseg.serving.job_routes import FILES, send_output, wait_for
from dinoseg.serving.jobs import Job, Reporter, Result, Work
from dinoseg.serving.models import Served
from dinoseg.serving.options import WIDEST
from dinoseg.serving.refusals import Refusal, list_refusals
from dinoseg.serving.scratch import remove_folder
from dinoseg.serving.segmenting import Wanted, segment_upload
from dinoseg.serving.service import Service, TheService
from dinoseg.serving.uploads import take_upload

LONGEST_WAIT = 60.0  # seconds
Absent = SkipJsonSchema[None]  # a form cannot say null: a field is there, or left out

router = APIRouter(prefix="/api/v1", tags=["predict"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobAnswer,
        "content": {kind: each for kind, each in FILES.items() if kind != "application/json"},
        "description": "the finished job (with `wait`), or one of its files (with `output`)",
    },
    202: {"model": JobCreated, "description": "the job is queued, or runs"},
    **list_refusals(404, 408, 413, 422, 429, 500, 503, 507),
}


@router.post("/predict", status_code=202, responses=_ANSWERS, response_model=None)
async def predict(
    service: TheService,
    files: Annotated[
        list[UploadFile],
        File(min_length=1, description="an image, a volume, a zip of a DICOM series, or its files"),
    ],
    model: Annotated[str | Absent, Form(description="its name; may be left out where there is one")] = None,
    window: Annotated[
        int | Absent, Form(ge=1, le=WIDEST, description="side in px of sliding windows")
    ] = None,
    flips: Annotated[
        bool | Absent, Form(description="average over mirrored copies, or not; as the model does by itself")
    ] = None,
    series: Annotated[
        str | Absent, Form(description="UID of the DICOM series, where there are several")
    ] = None,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for the result")] = 0.0,
    output: Annotated[
        str | None, Query(description="answer this file of the result, such as mask.png")
    ] = None,
) -> Response:
    """Segment an image, a volume or a DICOM series."""
    service.jobs.refuse_full()
    served = service.models.find(model)
    how = Inference(window=window, flips=flips, series=series or None)
    refuse_other_size(served.network, how)
    given = [(file.filename or "upload", file.file) for file in files]
    job = await run_in_threadpool(_begin, service, served, Wanted(how, output), given)
    is_done = await wait_for(job, wait or (LONGEST_WAIT if output else 0.0)) if wait or output else False
    return _answer(job, output=output, is_done=is_done)


def _begin(service: Service, served: Served, wanted: Wanted, files: list[tuple[str, BinaryIO]]) -> Job:
    folder = service.scratch.make()
    try:
        upload = take_upload(files, folder, network=served.network, how=wanted.how, options=service.options)
        work = partial(_time, service, served, partial(segment_upload, served, upload, wanted, folder))
        return service.jobs.submit("predict", work, folder=folder)
    except BaseException:
        remove_folder(folder)
        raise


def _time(service: Service, served: Served, work: Work, reporter: Reporter) -> Result:
    started = time.perf_counter()
    result = work(reporter)
    service.metrics.predictions.labels(served.name).observe(time.perf_counter() - started)
    return result


def _answer(job: Job, *, output: str | None, is_done: bool) -> JSONResponse | FileResponse:
    if not is_done:
        where = {"Location": f"/api/v1/jobs/{job.id}"}
        return JSONResponse(JobCreated(id=job.id).model_dump(), 202, where)
    if output is None:
        return JSONResponse(job.answer.model_dump())
    if job.answer.state != "done":
        raise Refusal(422, job.answer.error or f"the job was {job.answer.state}")
    return send_output(job, output)

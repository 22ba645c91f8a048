"""Routes of jobs: their state, as it changes, cancelling, and the files that came of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse

from dinoseg.serving.answers import FINAL, JobAnswer
from dinoseg.serving.jobs import Job
from dinoseg.serving.refusals import Refusal, list_refusals
from dinoseg.serving.service import TheService

PAUSE = 0.1  # seconds between two events
#: How files of results are called, by their ending.
MEDIA = {
    ".png": "image/png",
    ".gz": "application/gzip",
    ".dcm": "application/dicom",
    ".json": "application/json",
    ".zip": "application/zip",
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
FILES: dict[str, Any] = {
    kind: {"schema": {}} if kind == "application/json" else _BYTES for kind in MEDIA.values()
}

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])

JobId = Annotated[str, InPath(pattern="^[0-9a-f]{24}$", examples=["0123456789abcdef01234567"])]


def find_job(id: JobId, service: TheService) -> Job:
    """The job of a path."""
    return service.jobs.find(id)


TheJob = Annotated[Job, Depends(find_job)]


@router.get("/{id}", responses=list_refusals(404, 422))
def tell_job(job: TheJob) -> JobAnswer:
    """The state of a job."""
    return job.answer


@router.get("/{id}/events", response_class=EventSourceResponse, responses=list_refusals(404, 422))
async def follow_job(job: TheJob) -> AsyncIterator[JobAnswer]:
    """The state of a job whenever it changes, as server-sent events; ends with the job."""
    async for answer in watch(job):
        yield answer


@router.delete("/{id}", responses=list_refusals(404, 422))
def cancel_job(job: TheJob, service: TheService) -> JobAnswer:
    """Cancel a job that waits or runs; forget a finished one. Its files are removed."""
    return service.jobs.cancel(job.id).answer


@router.get(
    "/{id}/outputs/{name}",
    response_class=FileResponse,
    responses={**list_refusals(404, 422), 200: {"description": "the file", "content": FILES}},
)
def give_output(job: TheJob, name: str) -> FileResponse:
    """A file that came of a job; its result lists the names."""
    return send_output(job, name)


def send_output(job: Job, name: str) -> FileResponse:
    """The answer with a file of a job.

    Raises:
        Refusal: 404 where there is none, 409 where the job is not done.
    """
    path = find_output(job, name)
    return FileResponse(
        path, media_type=MEDIA[path.suffix], filename=path.name, content_disposition_type="inline"
    )


def find_output(job: Job, name: str) -> Path:
    """The path of a file that the result of a job names.

    Raises:
        Refusal: 404.
    """
    result = job.answer.result
    named = result.get("outputs", []) if isinstance(result, dict) else getattr(result, "outputs", [])
    path = None if job.folder is None else job.folder / "outputs" / name
    if path is None or name not in named or not path.is_file():
        raise Refusal(404, f"the job has no file {name[:80]!r}; it has {', '.join(named) or 'none'}")
    return path


async def watch(job: Job) -> AsyncIterator[JobAnswer]:
    """The answer of a job now and whenever it changes, until it is final."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    with job.watched(lambda: loop.call_soon_threadsafe(changed.set)):
        while True:
            changed.clear()
            answer = job.answer
            yield answer
            if answer.state in FINAL:
                return
            await changed.wait()
            await asyncio.sleep(PAUSE)


async def wait_for(job: Job, seconds: float) -> bool:
    """Whether a job ended in so many seconds."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    async def end() -> None:
        while not job.is_final:
            changed.clear()
            if not job.is_final:
                await changed.wait()

    with job.watched(lambda: loop.call_soon_threadsafe(changed.set)):
        try:
            await asyncio.wait_for(end(), seconds)
        except asyncio.TimeoutError:  # another class before Python 3.11
            return False
    return True

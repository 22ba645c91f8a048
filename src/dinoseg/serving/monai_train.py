"""Training by MONAI Label's protocol: a method on what is accepted in a project, as the page does it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import ValidationError

from dinoseg.config.training import DEFAULT_METHOD
from dinoseg.methods import METHODS
from dinoseg.serving.jobs import Job
from dinoseg.serving.refusals import Refusal, list_refusals, word_invalid
from dinoseg.serving.service import Service, TheService
from dinoseg.serving.teach_answers import TrainRequest

router = APIRouter(prefix="/train", tags=["MONAI Label"])

_STATES = {
    "queued": "SUBMITTED",
    "running": "RUNNING",
    "done": "DONE",
    "failed": "ERROR",
    "cancelled": "CANCELED",
}
_RUNNING = ("queued", "running")

Wanted = Annotated[dict[str, Any] | None, Body(description="`preset` and `max_epochs`; else ignored")]
_REFUSED = list_refusals(404, 422, 429, 503)


def list_trainers(service: Service) -> dict[str, Any]:
    """Methods that can be trained; none where no project is open."""
    if service.teaching is None:
        return {}
    config = {"preset": ["default", "paper"], "max_epochs": 0}  # viewers take the first of a list
    return {name: {"description": card.title, "config": config} for name, card in METHODS.items()}


def measure_trainings(service: Service) -> dict[str, Any]:
    """Epochs of the training that runs, as viewers draw their bar from."""
    job = find_training(service)
    progress = None if job is None or job.is_final else job.answer.progress
    if progress is None:
        return {}
    return {"training": {"epoch": progress.done, "total_epochs": progress.total, "best_metric": 0}}


def find_training(service: Service) -> Job | None:
    """The newest training that is known."""
    return next((job for job in reversed(service.jobs.list()) if job.answer.kind == "train"), None)


def describe_training(job: Job) -> dict[str, Any]:
    """As MONAI Label describes a task; viewers show the last of the details."""
    answer = job.answer
    told = answer.error or answer.message or answer.state
    return {"id": answer.id, "status": _STATES[answer.state], "details": [told], "result": answer.result}


@router.get("/", responses=_REFUSED)
def tell_training(
    service: TheService,
    check_if_running: Annotated[bool, Query(description="404 where it does not run")] = False,
) -> dict[str, Any]:
    """The newest training."""
    job = find_training(service)
    if job is None or (check_if_running and job.answer.state not in _RUNNING):
        raise Refusal(404, "no training runs" if check_if_running else "there was no training")
    return describe_training(job)


@router.post("/", responses=_REFUSED)
def begin_any(service: TheService, wanted: Wanted = None) -> dict[str, Any]:
    """Train the usual method."""
    return begin(service, DEFAULT_METHOD, wanted)


@router.post("/{model}", responses=_REFUSED)
def begin_one(service: TheService, model: str, wanted: Wanted = None) -> dict[str, Any]:
    """Train a method."""
    return begin(service, model, wanted)


def begin(service: Service, method: str, wanted: dict[str, Any] | None) -> dict[str, Any]:
    """Start a training unless one runs.

    Raises:
        Refusal: 404 where no project is open, 422 for an unknown method or setting, 429 where one runs.
    """
    if service.teaching is None:
        raise Refusal(404, "this server trains nothing; start dinoseg teach FOLDER")
    if method not in METHODS:
        raise Refusal(422, f"the method {method[:60]!r} is unknown; there are {', '.join(METHODS)}")
    running = find_training(service)
    if running is not None and not running.is_final:
        raise Refusal(429, "a training runs; DELETE /train/ stops it", retry_after=60)
    from dinoseg.serving.teaching import begin_training  # loads torch

    given = wanted or {}
    try:
        request = TrainRequest(
            method=method, preset=given.get("preset", "default"), epochs=given.get("max_epochs") or None
        )
    except ValidationError as error:
        raise Refusal(422, word_invalid(error.errors())) from error
    return describe_training(service.jobs.find(begin_training(request, service.teaching, service).id))


@router.delete("/", responses=_REFUSED)
def stop(service: TheService) -> dict[str, Any]:
    """Stop the training that runs; what it wrote stays."""
    job = find_training(service)
    if job is None or job.is_final:
        raise Refusal(404, "no training runs")
    return describe_training(service.jobs.cancel(job.id))

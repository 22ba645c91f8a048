"""Routes about the server itself: pages, health, readiness, metrics, and what it serves."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response

from dinoseg import __version__
from dinoseg.methods import METHODS
from dinoseg.serving.answers import Health, Info, Limits, MethodAnswer, ModelAnswer, Readiness
from dinoseg.serving.metrics import CONTENT_TYPE
from dinoseg.serving.refusals import Refusal, list_refusals
from dinoseg.serving.service import TheService

PAGE = Path(__file__).parent / "page"
router = APIRouter()


@router.get("/", include_in_schema=False)
def show_page(service: TheService) -> Response:
    """The page for one image; that of the teaching project where there is no model."""
    if service.teaching and not len(service.models):
        return RedirectResponse("/teach", 303)
    return FileResponse(PAGE / "index.html")


@router.get("/teach", include_in_schema=False)
def show_teaching(service: TheService) -> Response:
    """The page of the teaching project."""
    if not service.teaching:
        raise Refusal(404, "this server teaches nothing; start dinoseg teach FOLDER")
    return FileResponse(PAGE / "teach.html")


@router.get("/health", tags=["server"], responses=list_refusals())
def tell_health() -> Health:
    """Answer: the process is there."""
    return Health()


@router.get("/ready", tags=["server"], responses=list_refusals(503))
def tell_readiness(service: TheService) -> Readiness:
    """Whether requests can be served: something is loaded, and the compute thread is there."""
    if not service.jobs.is_running:
        raise Refusal(503, "the server is ending, or its compute thread is gone; start it again")
    if not len(service.models) and not service.teaching:
        raise Refusal(503, "no model is loaded")
    return Readiness(ready=True, models=service.models.names)


@router.get("/metrics", tags=["server"], response_class=PlainTextResponse, responses=list_refusals())
def tell_metrics(service: TheService) -> Response:
    """What was counted, in the text format of Prometheus."""
    return Response(service.metrics.write(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/api/v1/info", tags=["server"], responses=list_refusals())
def tell_info(service: TheService) -> Info:
    """Version, models, methods and limits."""
    options = service.options
    limits = Limits(upload_bytes=options.upload_bytes, pixels=options.pixels, voxels=options.voxels)
    return Info(
        version=__version__,
        models=service.models.names,
        teaching=service.teaching is not None,
        methods=[MethodAnswer(name=card.name, title=card.title) for card in METHODS.values()],
        limits=limits,
    )


@router.get("/api/v1/models", tags=["predict"], responses=list_refusals())
def list_models(service: TheService) -> list[ModelAnswer]:
    """The models that are loaded, with their classes."""
    return [served.describe() for served in service.models]

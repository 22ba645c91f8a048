"""`create_app`: models, and perhaps a teaching project, as an application of ASGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

from dinoseg import __version__
from dinoseg.serving import (
    general,
    job_routes,
    label_studio,
    monai_datastore,
    monai_label,
    monai_train,
    predict,
)
from dinoseg.serving.bodies import Bodies
from dinoseg.serving.jobs import Jobs
from dinoseg.serving.metrics import Counting, Metrics
from dinoseg.serving.models import Models
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import add_handlers
from dinoseg.serving.scratch import Scratch
from dinoseg.serving.security import Guard
from dinoseg.serving.service import Service
from dinoseg.serving.studies import Datastore, Studies
from dinoseg.serving.viewer_sessions import Sessions

if TYPE_CHECKING:
    from dinoseg.teaching.project import Project

_BEARER = HTTPBearer(auto_error=False)  # for the OpenAPI document: the guard has seen the token already
_SUMMARY = "Medical image segmentation on frozen DINO backbones. Not a medical device."
# Nothing is sent anywhere, also where variables of the environment ask FastAPI to.
_SILENT: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    models: Models | None = None, teaching: Project | None = None, options: ServeOptions | None = None
) -> FastAPI:
    """Make the application of a server; its compute thread and private folder end with its lifespan.

    Args:
        models: to predict with.
        teaching: a project that is taught on the page.
        options: who may speak to it, and how much of anything it takes.

    Raises:
        OutputError: the folder for temporary files cannot be made.
        LayoutError: the folder of the studies is none.
    """
    options, models = options or ServeOptions(), models or Models()
    jobs, scratch = Jobs(options), Scratch()
    metrics = Metrics(jobs, models)
    app = FastAPI(
        title="dinoseg",
        summary=_SUMMARY,
        version=__version__,
        docs_url=None,  # its page is fetched from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        telemetry=_SILENT,
        generate_unique_id_function=lambda route: route.name,
        dependencies=[Depends(_BEARER)] if options.token else [],
        lifespan=_ending(jobs, scratch),
    )
    app.state.service = Service(
        models,
        teaching,
        jobs,
        scratch,
        options,
        metrics,
        Sessions(scratch),
        _open_datastore(options, teaching),
    )
    routers = (general, predict, job_routes, monai_label, monai_datastore, monai_train, label_studio)
    for router in (each.router for each in routers):
        app.include_router(router)
    if teaching is not None:
        from dinoseg.serving.teaching import router as teaching_router  # loads torch

        app.include_router(teaching_router)
    app.mount("/static", StaticFiles(directory=general.PAGE), name="static")
    add_handlers(app)
    # The last one added is the first to see a request.
    app.add_middleware(Bodies, options=options)
    app.add_middleware(Guard, options=options)
    app.add_middleware(Counting, metrics=metrics)
    return app


def _open_datastore(options: ServeOptions, teaching: Project | None) -> Datastore | None:
    if teaching is None:
        return None if options.studies is None else Studies(options.studies)
    from dinoseg.serving.taught import Taught  # loads torch

    return Taught(teaching)


def _ending(jobs: Jobs, scratch: Scratch) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def live(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            jobs.close()
            scratch.remove()

    return live

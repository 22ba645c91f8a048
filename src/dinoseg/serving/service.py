"""`Service`: what the routes of a server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from dinoseg.serving.jobs import Jobs
from dinoseg.serving.models import Models
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.scratch import Scratch

if TYPE_CHECKING:
    from dinoseg.serving.metrics import Metrics
    from dinoseg.teaching.project import Project


@dataclass(frozen=True)
class Service:
    """What the routes of a server share.

    Attributes:
        models: what is predicted with; may be empty.
        teaching: the folder that is being taught, if any.
        jobs: what is being computed.
        scratch: where files are meanwhile.
        options: the limits.
        metrics: what is counted.
    """

    models: Models
    teaching: Project | None
    jobs: Jobs
    scratch: Scratch
    options: ServeOptions
    metrics: Metrics


def find_service(request: Request) -> Service:
    """The service of the app that a request came to."""
    return cast(Service, request.app.state.service)


#: A parameter of a route.
TheService = Annotated[Service, Depends(find_service)]

"""`Service`: what the routes of a server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from dinoseg.serving.jobs import Jobs
from dinoseg.serving.models import Models
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.refusals import Refusal
from dinoseg.serving.scratch import Scratch
from dinoseg.serving.studies import Datastore
from dinoseg.serving.viewer_sessions import Sessions

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
        sessions: images that viewers sent.
        datastore: images that viewers open; None where no folder was named.
    """

    models: Models
    teaching: Project | None
    jobs: Jobs
    scratch: Scratch
    options: ServeOptions
    metrics: Metrics
    sessions: Sessions
    datastore: Datastore | None = None

    def require_datastore(self) -> Datastore:
        """The datastore.

        Raises:
            Refusal: 404 where there is none.
        """
        if self.datastore is None:
            raise Refusal(404, "this server has no images; start it with --studies FOLDER")
        return self.datastore


def find_service(request: Request) -> Service:
    """The service of the app that a request came to."""
    return cast(Service, request.app.state.service)


#: A parameter of a route.
TheService = Annotated[Service, Depends(find_service)]

"""How errors leave the server: `{"detail": "one line"}` with the status that fits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dinoseg.errors import ConfigError, DataError, DinosegError, DiskFullError, UsageError
from dinoseg.serving.answers import Problem

LOG = logging.getLogger("dinoseg.serving")
_CLIENTS = (DataError, UsageError)

#: What any route may answer besides what it is for, for the OpenAPI document.
REFUSED: Mapping[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": Problem.model_json_schema()}}}
    for status, text in {
        400: "the request cannot be read",
        401: "the token is missing or wrong",
        403: "a page of another origin asked",
        404: "there is no such thing, or no more",
        409: "something else is there already",
        408: "the request came too slowly",
        413: "the request is too large",
        421: "the server has another name",
        422: "a value or a file is not accepted",
        431: "the headers are too large",
        429: "too much is waiting; try again after the seconds of Retry-After",
        500: "the server failed; its log says more",
        503: "the server has nothing to answer with",
        507: "the disk of the server is full",
    }.items()
}


def list_refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses, and those that any request may get."""
    return {status: REFUSED[status] for status in (400, 401, 403, 421, 431, *statuses)}


_NOWHERE = "nothing is at this address; the page is at /, what programs may ask at /api/v1/openapi.json"


class Refusal(HTTPException):
    """A request that is not served, with its status and one line: what was given, accepted, and the fix."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        after = {} if retry_after is None else {"Retry-After": str(retry_after)}
        super().__init__(status, detail, {**after, **(headers or {})})


def refuse(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer of an error."""
    return JSONResponse(
        {"detail": " ".join(detail.split())}, status, None if headers is None else {**headers}
    )


def status_of(error: DinosegError) -> int:
    """422 where the request is to blame, 507 where the disk is full, else 500."""
    if isinstance(error, DiskFullError):
        return int(HTTPStatus.INSUFFICIENT_STORAGE)
    blames_client = isinstance(error, _CLIENTS) and not isinstance(error, ConfigError)
    return int(HTTPStatus.UNPROCESSABLE_ENTITY if blames_client else HTTPStatus.INTERNAL_SERVER_ERROR)


def word_unexpected(error: BaseException) -> str:
    """The line for a failure that nobody foresaw; its traceback goes to the log."""
    LOG.error("unexpected %s", type(error).__name__, exc_info=error)
    return f"unexpected {type(error).__name__}; the log of the server says more"


def add_handlers(app: FastAPI) -> None:
    """Let every error of the app become one line."""

    async def tell_http(_: Request, error: Exception) -> JSONResponse:
        found = error if isinstance(error, HTTPException) else HTTPException(500)
        is_routing = found.status_code == 404 and not isinstance(found, Refusal)
        return refuse(found.status_code, _NOWHERE if is_routing else str(found.detail), found.headers)

    async def tell_ours(_: Request, error: Exception) -> JSONResponse:
        status = status_of(error) if isinstance(error, DinosegError) else 500
        return refuse(status, str(error))

    async def tell_invalid(_: Request, error: Exception) -> JSONResponse:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        return refuse(422, word_invalid(found))

    async def tell_unexpected(_: Request, error: Exception) -> JSONResponse:
        return refuse(500, word_unexpected(error))

    app.add_exception_handler(HTTPException, tell_http)
    app.add_exception_handler(DinosegError, tell_ours)
    app.add_exception_handler(RequestValidationError, tell_invalid)
    app.add_exception_handler(Exception, tell_unexpected)


def word_invalid(errors: Sequence[Any]) -> str:
    """What is wrong with the values of a request, the first three of them."""
    lines = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in errors[:3]]
    return "; ".join(lines) or "the request is not as described in /api/v1/openapi.json"

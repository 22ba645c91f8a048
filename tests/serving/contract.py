"""The OpenAPI document of an application as a contract: schemathesis asks what it allows, and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import schemathesis
import schemathesis.checks
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

#: Whether an image can be read is not in a schema, and cases that were changed are not as generated.
EXCLUDED = ("positive_data_acceptance",)
EXCLUDED_WHEN_CHANGED = (*EXCLUDED, "negative_data_rejection")
DOCUMENT = "/api/v1/openapi.json"
SERVER = "testserver"  # how schemathesis calls an application that it asks directly

Change = Callable[[Any], None]


def check_operations(
    app: FastAPI,
    *,
    examples: int,
    change: Change | None = None,
    only: str | tuple[str, ...] = "",
    without: tuple[str, ...] = (),
) -> dict[str, Counter[int]]:
    """Ask every operation, with what its schema allows and with what it forbids.

    Args:
        app: answers to the name `SERVER`.
        examples: of each operation, in each of the two ways.
        change: changes a case before it is sent, so that it is about something that exists.
        only: beginning of the paths that are asked, or several.
        without: ends of paths that are not, because they do not end or begin what takes minutes.

    Returns:
        The statuses that each operation gave.

    Raises:
        Exception: of schemathesis: a 5xx, a status or content that is not documented, or a wrong value that
            was accepted.
    """
    schema = schemathesis.openapi.from_asgi(DOCUMENT, app)
    found: dict[str, Counter[int]] = {}
    for each in schema.get_all_operations():
        operation = each.ok()
        if operation.path.startswith(only) and not operation.path.endswith(without or ("\0",)):
            found[operation.label] = Counter(
                status
                for mode in _list_modes(operation)
                for status in _ask(operation, mode, examples, change)
            )
    return found


def _ask(operation: Any, mode: GenerationMode, examples: int, change: Change | None) -> list[int]:
    changed = change is not None and mode is GenerationMode.POSITIVE
    names = EXCLUDED_WHEN_CHANGED if changed else EXCLUDED
    excluded = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ in names]
    statuses: list[int] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if change is not None and mode is GenerationMode.POSITIVE:
            change(case)
        answer = case.call()
        statuses.append(answer.status_code)
        case.validate_response(answer, excluded_checks=excluded)

    try:
        ask()
    except Unsatisfiable:
        if mode is GenerationMode.POSITIVE:
            raise
        # Its values are texts: there is none that its schema forbids.
    return statuses


def _list_modes(operation: Any) -> list[GenerationMode]:
    """What is allowed; and what is not, where the operation takes anything at all."""
    takes = [*operation.path_parameters, *operation.query, *operation.body]
    return [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if takes else [])]

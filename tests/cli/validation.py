"""Whether a verb printed what its schema promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from dinoseg.cli.schemas import ERROR, read_schema
from tests.cli.commands import list_commands


@cache
def _validator(verb: str) -> Draft202012Validator:
    return Draft202012Validator(read_schema(verb))


@cache
def _verbs() -> frozenset[str]:
    return frozenset(list_commands())


def find_verb(words: Sequence[object]) -> str:
    """The longest name of a command that a command line begins with; "" where there is none."""
    first = [str(word) for word in words[:2]]
    return next((name for name in (" ".join(first), " ".join(first[:1])) if name in _verbs()), "")


def find_problem(verb: str, value: Any) -> str | None:
    """What is wrong with the object that a verb printed, and where; None if nothing is."""
    failed = isinstance(value, dict) and "error" in value and "exit_code" in value
    error = best_match(_validator(ERROR if failed else verb).iter_errors(value))
    return None if error is None else f"{verb}: {error.json_path}: {error.message}"

"""Options of a verb, said once: one object that holds them, or single ones of it by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from dinoseg.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

_NOTHING: Mapping[str, str] = MappingProxyType({})


def choose_options(
    kind: type[T], how: T | None, options: Mapping[str, Any], *, elsewhere: Mapping[str, str] = _NOTHING
) -> T:
    """The options of a call: `how`, or the defaults of `kind`, with single ones replaced by name.

    Args:
        kind: a dataclass whose fields are the options; it checks them when made.
        how: what was given as a whole.
        options: what was given by name.
        elsewhere: names that are no options of this verb -> where they belong, the end of a sentence.

    Raises:
        UsageError: `how` is of another kind, a name is unknown or belongs elsewhere, or a value is
            not accepted.
    """
    if how is not None and not isinstance(how, kind):
        raise UsageError(f"how takes {kind.__name__}(...), given {type(how).__name__}")
    known = [field.name for field in fields(kind)]
    for name in options:
        if name in elsewhere:
            raise UsageError(f"{name} {elsewhere[name]}")
        if name not in known:
            raise UsageError(f"{name} is no option{_guess(name, known)}; accepted are {', '.join(known)}")
    return kind(**options) if how is None else replace(how, **options)


def _guess(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f", did you mean {close[0]}?" if close else ""

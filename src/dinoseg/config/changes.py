"""Settings changed by dotted keys, read from YAML and written to it; one line for whatever is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from dinoseg.config.settings import Settings
from dinoseg.errors import ConfigError

EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # YAML 1.1 reads 1e-4 as text
_TAGGED, _TAGS = "intensity", {"window", "percentiles", "range"}
S = TypeVar("S", bound=Settings)


def override(settings: S, changes: Mapping[str, Any]) -> S:
    """Return `settings` with dotted keys changed, checked again.

    Args:
        settings: any settings object.
        changes: dotted key -> value, e.g. {"train.lr": 1e-4}; `None` clears an optional one.

    Raises:
        ConfigError: a key is unknown or a value is not accepted.
    """
    values = settings.model_dump()
    known = _list_keys(values)
    for key, value in changes.items():
        *parents, last = key.split(".")
        target: Any = values
        for parent in parents:
            if target.get(parent, "") is None:
                target[parent] = {}
            target = target.get(parent)
            if not isinstance(target, dict):
                raise ConfigError(_describe_unknown(key, known) + "; `dinoseg info settings` lists all")
        target[last] = value
    return validate(type(settings), values, known)


def validate(kind: type[S], values: Any, known: Sequence[str] = ()) -> S:
    """Settings of the given kind from plain values.

    Args:
        kind: the class of the settings.
        values: key -> value.
        known: dotted keys, of which one is suggested where a key is unknown.

    Raises:
        ConfigError: a key is unknown, or a value is not accepted.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(item, known) for item in error.errors()[:5])
        raise ConfigError(f"{problems}; `dinoseg info settings` lists what is accepted") from error


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of an error, ": did you mean …?", where one of the known words is nearly this one, else ""."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f": did you mean {close[0]!r}?" if close else ""


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` words of the command line into a dictionary; values are read as YAML."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, given {assignment!r}; for example --set train.lr=1e-4")
        changes[key] = _parse_value(value)
    return changes


def to_yaml(settings: Settings) -> str:
    """The settings as YAML text that `from_yaml` reads back unchanged."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def from_yaml(kind: type[S], text: str) -> S:
    """Read settings of the given kind from YAML text.

    Raises:
        ConfigError: the text is no YAML, a key is unknown, or a value is not accepted.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the settings are not valid YAML: {' '.join(str(error).split())}") from error
    return validate(kind, values)


def _parse_value(text: str) -> Any:
    if EXPONENT.fullmatch(text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _describe(item: Any, known: Sequence[str]) -> str:
    # Kinds of intensities are no part of the key that a person writes.
    loc = [str(part) for part in item["loc"]]
    parts = [
        part for before, part in zip(["", *loc], loc, strict=False) if before != _TAGGED or part not in _TAGS
    ]
    where = ".".join(parts) or "settings"
    if item["type"] == "extra_forbidden":
        return _describe_unknown(where, known)
    reason = item["msg"].removeprefix("Value error, ")
    given = "" if isinstance(item["input"], dict) else f" (given {item['input']!r})"
    return f"setting {where!r}: {reason}{given}"


def _describe_unknown(key: str, known: Sequence[str]) -> str:
    # `epochs` for `train.epochs` is the commonest mistake, a letter the next.
    same = [name for name in known if name.split(".")[-1] == key.split(".")[-1] and name != key]
    hint = f": did you mean {same[0]!r}?" if same else suggest(key, known)
    return f"setting {key!r} is unknown{hint}"


def _list_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of all settings that are there; the classes' ids are none."""
    keys = []
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "classes":
            keys += _list_keys(value, f"{prefix}{key}.")
        else:
            keys.append(f"{prefix}{key}")
    return keys

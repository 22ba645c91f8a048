"""Every setting that `--set` accepts, read from the settings classes themselves."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from dinoseg.config import DecoderSettings, Settings, parse_assignments
from dinoseg.errors import UsageError
from dinoseg.methods import METHODS
from dinoseg.methods.card import Card
from dinoseg.methods.presets import preset
from dinoseg.model.settings import RunSettings

DECODER = "model.decoder."
# Those that have an option of their own, and those that the data decide.
NOT_SETTABLE = frozenset(
    {"data", "preset", "splits", "shots", "shots_from", "shot_unit", "init", "train.seed"}
    | {"model.backbone.name", "model.decoder.method", "model.classes"}
    | {"model.preprocessing.channels", "model.preprocessing.slice_spacing"}
    | {"model.preprocessing.window"}  # that of train.window
)


@dataclass(frozen=True)
class Setting:
    """One line of `dinoseg info settings`.

    Attributes:
        key: dotted, as written after `--set`.
        accepted: type, or the accepted words.
        default: value where nothing is set.
        description: what it is; empty where the key says it.
        method: the only one that has it; None for a setting of every method.
        schema: JSON Schema of the value: type, range or words.
    """

    key: str
    accepted: str
    default: Any
    description: str
    method: str | None
    schema: Mapping[str, Any]


def list_settings() -> list[Setting]:
    """All settings of a training run that can be changed, with the defaults of the preset `default`."""
    values = {"train": preset("default", "linear")}
    return [setting for setting in _walk(RunSettings, "", values) if setting.key not in NOT_SETTABLE]


def list_decoder_settings(card: Card) -> list[Setting]:
    """The settings of a method's decoder."""
    return [setting for setting in _walk(card.settings, DECODER, {}) if setting.key not in NOT_SETTABLE]


def collect_changes(assignments: Sequence[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from `--set` and from options that stand for a setting.

    Args:
        assignments: `KEY=VALUE` words.
        options: setting -> value; `None` where the option was not given.

    Raises:
        ConfigError: a word is no assignment.
        UsageError: a setting is given both ways.
    """
    changes = parse_assignments(assignments or [])
    given = {key: value for key, value in options.items() if value is not None}
    twice = sorted(given.keys() & changes.keys())
    if twice:
        raise UsageError(f"{twice[0]} is given with --set and with an option of its own; leave one out")
    return {**changes, **given}


def _walk(kind: type[Settings], prefix: str, values: Mapping[str, Any]) -> Iterator[Setting]:
    # A decoder's settings hold for one method only, which the description says.
    method = kind.model_fields["method"].default if "method" in kind.model_fields else None
    for name, field in kind.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        value = values.get(name, default)
        nested = list(_settings_classes(field.annotation))
        for settings in nested:
            inside = dict(value) if isinstance(value, Settings) else {}
            yield from _walk(settings, f"{prefix}{name}.", inside)
        if not nested:
            text = ": ".join(part for part in (method, field.description) if part)
            accepted, schema = _describe(field.annotation), _schema(field)
            yield Setting(f"{prefix}{name}", accepted, value, text, method, schema)


def _settings_classes(annotation: Any) -> Iterator[type[Settings]]:
    if annotation is DecoderSettings:  # stands for those of any method
        yield from (card.settings for card in METHODS.values())
    elif isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _settings_classes(argument)


def _schema(field: FieldInfo) -> Mapping[str, Any]:
    limited: Any = field.annotation
    for limit in field.metadata:
        limited = Annotated[limited, limit]
    return TypeAdapter(limited).json_schema()


def _describe(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _describe(arguments[0])
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(item) for item in arguments)
    if origin is tuple:
        return "list of " + _describe(arguments[0])
    if origin is dict:
        return "{name: " + _describe(arguments[1]) + "}"
    if annotation is type(None):
        return "null"
    words = {int: "whole number", float: "number", bool: "true, false"}
    return words.get(annotation) or getattr(annotation, "__name__", str(annotation)).lower()

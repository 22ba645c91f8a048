"""The commands of the program with their arguments and options, read from the program itself."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

Type = Literal["boolean", "integer", "number", "path", "string"]
TYPES: dict[Any, Type] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    Path: "path",
    str: "string",
}


@dataclass(frozen=True)
class Parameter:
    """An argument or option of a verb.

    Attributes:
        name: what it is called; of an option without dashes.
        flags: how an option is written; empty for an argument.
        type: of one value.
        choices: the accepted words; None where any value of the type is.
        minimum: smallest accepted value; None where none is named.
        maximum: largest accepted value; None where none is named.
        default: taken if not given; None where the verb decides or it is required.
        required: it must be given.
        repeated: it may be given several times.
        metavar: its place holder in the usage line; None for those that have none.
        help: what it does.
    """

    name: str
    flags: tuple[str, ...]
    type: Type
    choices: tuple[str, ...] | None
    minimum: float | None
    maximum: float | None
    default: Any
    required: bool
    repeated: bool
    metavar: str | None
    help: str


@dataclass(frozen=True)
class Verb:
    """A command.

    Attributes:
        name: the words after `dinoseg`.
        help: what it does; the last line is an example.
        arguments: in their order.
        options: in the order of the help.
    """

    name: str
    help: str
    arguments: tuple[Parameter, ...]
    options: tuple[Parameter, ...]


def list_verbs(program: Any) -> list[Verb]:
    """Every command that does something, in the order of the help.

    Args:
        program: the group of commands that typer made; newer releases of typer carry their own click, so
            that its type has no one name.
    """
    return [_describe_verb(name, command) for name, command in _list_commands(program, "")]


def _list_commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _list_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _describe_verb(name: str, command: Any) -> Verb:
    hints = typing.get_type_hints(inspect.unwrap(command.callback), include_extras=True)
    found = [_describe(item, hints) for item in command.params if item.name in hints]
    return Verb(
        name=name,
        help=inspect.cleandoc(command.help or ""),
        arguments=tuple(item for item in found if not item.flags),
        options=tuple(item for item in found if item.flags),
    )


def _describe(item: Any, hints: Mapping[str, Any]) -> Parameter:
    annotation, limits = hints[item.name], None
    if typing.get_origin(annotation) is Annotated:
        annotation, limits = typing.get_args(annotation)[:2]
    value, repeated = _find_value(annotation)
    words = typing.get_args(value) if typing.get_origin(value) is Literal else None
    flags = (*item.opts, *item.secondary_opts) if item.param_type_name == "option" else ()
    return Parameter(
        name=flags[0].lstrip("-") if flags else item.name,
        flags=flags,
        type="string" if words else TYPES[value],
        choices=words,
        minimum=getattr(limits, "min", None),
        maximum=getattr(limits, "max", None),
        default=item.default,
        required=item.required,
        repeated=repeated,
        metavar=item.metavar,
        help=getattr(item, "help", None) or "",
    )


def _find_value(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, without None, and whether there may be several."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is list:
        return typing.get_args(annotation)[0], True
    return annotation, False
